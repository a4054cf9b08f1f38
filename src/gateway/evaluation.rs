//! `/policies/evaluate`.

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    problem::Problem,
    resources::object,
    route::{Call, Route},
};
use crate::proto::{self, Policy, PolicyDecision, query::Messages, to_struct};

/// Whom to ask, about what. Either `endpoint_id` or `policies` is given. Unknown fields are passed over.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("anyOf" = [
    {"required": ["endpoint_id"], "properties": {
        "endpoint_id": {"type": "string"}, "policies": {"enum": [null, []]},
    }},
    {"required": ["policies"], "properties": {
        "policies": {"type": "array", "minItems": 1, "maxItems": 100}, "endpoint_id": {"type": "null"},
    }},
]))]
struct EvaluatePoliciesRequest {
    /// The endpoint whose policies are asked.
    #[serde(default)]
    endpoint_id: Option<Uuid>,
    /// Policies that need not be stored.
    #[serde(default)]
    policies: Option<Vec<GivenPolicy>>,
    /// E-mail address of the caller.
    #[schemars(length(min = 1, max = 320))]
    email: String,
    /// The question.
    #[schemars(length(min = 1))]
    messages: String,
}

/// A policy that need not be stored.
#[derive(Deserialize, JsonSchema)]
struct GivenPolicy {
    /// One of the types.
    policy_type: String,
    /// As the type's schema says.
    configuration: Map<String, Value>,
}

/// What the policies decide.
#[derive(Serialize, JsonSchema)]
struct EvaluationResponse {
    /// What they decide together.
    decision: Decision,
    /// What each type decides, in the order in which they are asked.
    policies: Vec<PolicyVerdict>,
}

/// What the policies of one type decide.
#[derive(Serialize, JsonSchema)]
struct PolicyVerdict {
    policy_type: String,
    decision: Decision,
    /// For refusals, a code for programs.
    reason_code: Option<String>,
    /// For refusals, the reason in words.
    reason: Option<String>,
    /// Numbers behind the decision.
    details: Map<String, Value>,
}

/// `undecided`: it cannot be told without counting or charging.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(title = "PolicyDecision")]
enum Decision {
    Admitted,
    Refused,
    Undecided,
}

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::reading(Method::POST, "/api/v1/policies/evaluate", evaluate)
            .says("Tells what policies would decide about a question, without counting or charging")
            .fails(&[400, 404]),
    ]
}

async fn evaluate(call: Call, asked: EvaluatePoliciesRequest) -> Result<EvaluationResponse, Problem> {
    let given = asked.policies.unwrap_or_default().into_iter().map(|policy| Policy {
        policy_type: policy.policy_type,
        configuration: Some(to_struct(policy.configuration)),
        ..Policy::default()
    });
    let request = proto::EvaluatePoliciesRequest {
        endpoint_id: asked.endpoint_id.map(|id| id.to_string()).unwrap_or_default(),
        policies: given.collect(),
        email: asked.email,
        query: Some(proto::Query {
            messages: Some(Messages::Text(asked.messages)),
            ..proto::Query::default()
        }),
        ..proto::EvaluatePoliciesRequest::default()
    };
    let evaluated = call.gateway.policies().evaluate_policies(call.asks(request)).await?.into_inner();
    let decision = evaluated.decision().into();
    let policies = evaluated.verdicts.into_iter().map(PolicyVerdict::from).collect();
    Ok(EvaluationResponse { decision, policies })
}

impl From<proto::PolicyVerdict> for PolicyVerdict {
    fn from(verdict: proto::PolicyVerdict) -> Self {
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            decision: verdict.decision().into(),
            reason_code: said(&verdict.reason_code),
            reason: said(&verdict.reason),
            policy_type: verdict.policy_type,
            details: object(verdict.details),
        }
    }
}

impl From<PolicyDecision> for Decision {
    fn from(decision: PolicyDecision) -> Self {
        match decision {
            PolicyDecision::Admitted => Self::Admitted,
            PolicyDecision::Refused => Self::Refused,
            PolicyDecision::Undecided | PolicyDecision::Unspecified => Self::Undecided,
        }
    }
}
