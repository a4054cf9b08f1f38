//! What callers read of a payment, over gRPC and over REST, as SyftHub reads it.

use serde_json::json;
use syft_endpoints::proto::{self, PreviewQueryRequest, QueryRequest};
use tonic::Code;

use super::{PAYER, UNIT};
use crate::support::{
    bank::Bank,
    database::Database,
    eventually, on_both,
    rest::{self, Rest},
    space::{Space, asking, reason},
    upstream::Upstream,
};

fn paying(token: Option<String>) -> QueryRequest {
    let query = proto::Query { transaction_token: token, ..asking("what?") };
    QueryRequest { slug: "ask".to_owned(), query: Some(query), request_id: None }
}

on_both! {
    async fn a_payment_is_shown_and_a_missing_one_is_asked_for(database: Database) {
        let (bank, upstream) = (Bank::start().await, Upstream::says(&["a"]).await);
        let space = Space::configured(database, &[("identity.owner_email", PAYER)]).await;
        let mut clients = space.admin().await;
        clients.asks("ask", upstream.address).await;
        clients.policy("ask", "accounting", bank.charging(json!({"price": 1.5}))).await;

        let answer = clients.endpoints.query(paying(Some(bank.token(PAYER)))).await.unwrap().into_inner();
        assert_eq!(answer.cost.unwrap(), proto::Cost { nano_units: 3 * UNIT / 2, currency: "USD".to_owned() });
        let entry = answer.policy_metadata.unwrap().entries.remove(0);
        let (cost, made) = (entry.cost.unwrap(), entry.transaction.unwrap());
        assert_eq!((entry.kind.as_str(), entry.status.as_str()), ("payment", "charged"));
        assert_eq!((cost.nano_units, made.rail.as_str()), (3 * UNIT / 2, "accounting"));
        assert_eq!((made.id, made.reference), {
            let made = bank.transactions().remove(0);
            (made.id, made.app_name)
        });

        let refused = clients.endpoints.query(paying(None)).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "POLICY_VIOLATION"));

        let (rest, mut question) = (Rest::admin(&space), rest::question());
        let refused = rest.query("ask", question.clone()).await.expect(403);
        let words = "Policy 'accounting' blocked request: Transaction token is required. Please add it to the request.";
        assert_eq!(refused["detail"], words);
        assert_eq!(refused["policy_metadata"]["outcome"], "access_denied");
        let entry = &refused["policy_metadata"]["entries"][0];
        assert_eq!((&entry["kind"], &entry["status"]), (&json!("payment"), &json!("rejected")));
        assert_eq!(entry["reason_code"], "PAYMENT_REQUIRED");
        assert_eq!(entry["details"], json!({"amount": "1.5", "currency": "USD"}));

        question["transaction_token"] = json!(bank.token(PAYER));
        let answer = rest.query("ask", question).await.expect(200);
        assert_eq!((&answer["cost"], &answer["currency"]), (&json!(1.5), &json!("USD")));
        assert_eq!(answer["summary"]["cost"], 1.5);
        let entry = &answer["policy_metadata"]["entries"][0];
        assert_eq!((&entry["amount"], &entry["currency"], &entry["status"]), (&json!(1.5), &json!("USD"), &json!("charged")));
        assert_eq!(entry["transaction"]["rail"], "accounting");
        assert_eq!(entry["transaction"]["reference"], bank.transactions()[1].app_name);
        eventually("both are paid", async || bank.earned() == 3 * UNIT).await;

        // The owner may look without paying.
        let preview = PreviewQueryRequest { slug: "ask".to_owned(), query: Some(asking("what?")) };
        clients.endpoints.preview_query(preview).await.unwrap();

        // An account that is ours no more is the owner's business.
        bank.change_password();
        let refused = clients.endpoints.query(paying(Some(bank.token(PAYER)))).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "CONFIGURATION_INVALID"));
        assert_eq!(bank.transactions().len(), 2);
        bank.audit();
    }
}
