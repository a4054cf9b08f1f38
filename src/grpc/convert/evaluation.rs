//! What policies would decide.

use super::{object, query::parse_query};
use crate::{
    catalog::{Decided, Decision, Evaluation, EvaluationDraft},
    domain::rules::Check,
    error::Error,
    proto::{self, PolicyDecision, to_struct},
};

pub(in crate::grpc) fn evaluation_draft(
    request: proto::EvaluatePoliciesRequest,
) -> Result<EvaluationDraft, Error> {
    let mut check = Check::default();
    let policies = request.policies.into_iter().enumerate().map(|(i, policy)| {
        let configuration = object(&format!("policies.{i}.configuration"), policy.configuration);
        (policy.policy_type, check.take(configuration).unwrap_or_default())
    });
    let policies = policies.collect();
    Ok(EvaluationDraft {
        endpoint_slug: request.endpoint_slug,
        endpoint_id: request.endpoint_id,
        policies,
        email: request.email,
        query: parse_query(request.query)?,
        problems: check.finish().err().unwrap_or_default(),
    })
}

pub(in crate::grpc) fn evaluation(evaluation: Evaluation) -> proto::EvaluatePoliciesResponse {
    proto::EvaluatePoliciesResponse {
        decision: decision(evaluation.together).into(),
        verdicts: evaluation.verdicts.into_iter().map(verdict).collect(),
    }
}

fn verdict(decided: Decided) -> proto::PolicyVerdict {
    let of = proto::PolicyVerdict {
        policy_type: decided.policy_type.to_owned(),
        decision: decision(decided.decision).into(),
        ..proto::PolicyVerdict::default()
    };
    match decided.refusal {
        Some(refusal) => proto::PolicyVerdict {
            reason_code: refusal.code.to_owned(),
            reason: refusal.message,
            details: Some(to_struct(refusal.details)),
            ..of
        },
        None => of,
    }
}

fn decision(decision: Decision) -> PolicyDecision {
    match decision {
        Decision::Admitted => PolicyDecision::Admitted,
        Decision::Refused => PolicyDecision::Refused,
        Decision::Undecided => PolicyDecision::Undecided,
    }
}
