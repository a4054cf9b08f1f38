//! What policies would decide about a question that nobody has asked.

use std::sync::Arc;

use super::{Catalog, check_type, policies::named_endpoint};
use crate::{
    domain::{
        Caller, Configuration, EndpointId, Policy, PolicyId, Query, QueryId, Scope, Tenant,
        rules::{self, Check},
    },
    error::{Error, Refusal, Rule, Violation},
    policy::{Foresight, Turn, Verdict, conflicts},
    telemetry::TraceContext,
};

/// Policies given at most.
const MAX_POLICIES: usize = 100;
/// Policies of an endpoint that are asked at most.
const MAX_STORED: u64 = 10_000;

/// Whom to ask, about what.
pub struct EvaluationDraft {
    pub endpoint_slug: String,
    pub endpoint_id: String,
    /// Types and configurations, instead of those of an endpoint.
    pub policies: Vec<(String, Configuration)>,
    pub email: String,
    pub query: Query,
    /// What could not even be read.
    pub problems: Vec<Violation>,
}

/// What policies would decide.
pub struct Evaluation {
    pub together: Decision,
    pub verdicts: Vec<Decided>,
}

/// What the policies of one type would decide.
pub struct Decided {
    pub policy_type: &'static str,
    pub decision: Decision,
    /// Why, when it is refused.
    pub refusal: Option<Box<Refusal>>,
}

/// What all policies decide together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Decision {
    Admitted,
    Undecided,
    Refused,
}

impl Catalog {
    /// Asks policies what they would decide, without counting or charging.
    ///
    /// # Errors
    /// `Invalid`, `EndpointNotFound`, `ConfigurationInvalid`, `StoreUnavailable`.
    pub async fn evaluate_policies(
        &self,
        tenant: &Tenant,
        mut draft: EvaluationDraft,
    ) -> Result<Evaluation, Error> {
        let mut check = Check::of(std::mem::take(&mut draft.problems));
        check.take(rules::text("email", &draft.email, 320));
        let endpoint = named_endpoint(&mut check, &draft.endpoint_slug, &draft.endpoint_id);
        self.check_given(&mut check, &draft);
        check.finish()?;
        let policies = match endpoint {
            Some(endpoint) => self.store.policies(tenant.id, Some(&endpoint), None, MAX_STORED).await?,
            None => draft.policies.into_iter().map(given).collect(),
        };
        let id = QueryId::new();
        let caller = Caller::new(tenant.clone(), &draft.email, vec![Scope::Query]);
        let mut turn = Turn::new(id, caller, Arc::new(draft.query), false, TraceContext::root(id.0));
        // As if nothing were found: what a search would put before the question is not foreseen.
        turn.prompt_bytes = Some(0);
        let verdicts = self.policies.build(&policies)?.foresee(&mut turn).await?;
        let verdicts: Vec<Decided> = verdicts.into_iter().map(Decided::from).collect();
        let together = verdicts.iter().map(|decided| decided.decision).max();
        Ok(Evaluation { together: together.unwrap_or(Decision::Admitted), verdicts })
    }

    /// Policies are given when no endpoint is named, and only then.
    fn check_given(&self, check: &mut Check, draft: &EvaluationDraft) {
        let named = !draft.endpoint_slug.is_empty() || !draft.endpoint_id.is_empty();
        match (named, draft.policies.len()) {
            (true, 0) | (false, 1..=MAX_POLICIES) => {}
            (true, _) => check.fail("policies", Rule::OneOf, "cannot be given together with an endpoint"),
            (false, 0) => {
                check.fail("endpoint_slug", Rule::Missing, "is required, or endpoint_id, or policies")
            }
            (false, _) => {
                let message = format!("must be at most {MAX_POLICIES}");
                check.fail("policies", Rule::TooLong(MAX_POLICIES), message);
            }
        }
        let mut seen: Vec<Policy> = Vec::new();
        for (i, (policy_type, configuration)) in draft.policies.iter().enumerate().take(MAX_POLICIES) {
            let mut of_type = Check::default();
            check_type(&mut of_type, self.policies.specs(), ("policy_type", policy_type), configuration);
            let field = format!("policies.{i}");
            if let Err(broken) = of_type.finish() {
                check.absorb(&field, broken);
                continue;
            }
            let policy = given((policy_type.clone(), configuration.clone()));
            let conflicts = conflicts(&policy, &seen);
            seen.push(policy);
            if !conflicts.is_empty() {
                // What comes behind may be as large, and need not be compiled.
                check.absorb(&field, conflicts);
                break;
            }
        }
    }
}

impl From<Verdict> for Decided {
    fn from(Verdict { policy_type, foresight }: Verdict) -> Self {
        let (decision, refusal) = match foresight {
            Foresight::Admits => (Decision::Admitted, None),
            Foresight::Unknown => (Decision::Undecided, None),
            Foresight::Refuses(refusal) => (Decision::Refused, Some(refusal)),
        };
        Self { policy_type, decision, refusal }
    }
}

/// As if it were stored.
fn given((policy_type, configuration): (String, Configuration)) -> Policy {
    let at = time::OffsetDateTime::UNIX_EPOCH;
    Policy {
        id: PolicyId::new(),
        endpoint_id: EndpointId::new(),
        endpoint_slug: String::new(),
        name: policy_type.clone(),
        policy_type,
        configuration,
        created_at: at,
        updated_at: at,
    }
}
