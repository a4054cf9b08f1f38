//! Planted secrets and prompts are found nowhere: not in logs at TRACE, not in errors or answers, not
//! in the database.

use sea_orm::ConnectionTrait;
use serde_json::json;
use syft_endpoints::proto::{self, GetEndpointRequest, GetModelRequest, ListModelsRequest, QueryRequest};

use crate::support::{
    database::Database,
    on_both,
    process::Process,
    space::{ADMIN_KEY, asking, structure},
    upstream::{Upstream, answer_of, status},
};

const API_KEY: &str = "canary-model-key-4711";
const PROMPT: &str = "canary-prompt-4712";
const ANSWER: &str = "canary-answer-4713";
const PROVIDER: &str = "canary-provider-says-4714";
const EMAIL: &str = "canary-owner-4715@example.org";
const EXTRA: &str = "canary-extra-4716";
const TOKEN: &str = "canary-transaction-4717";

on_both! {
async fn nothing_secret_is_left_anywhere(database: Database) {
    let upstream = Upstream::start(vec![
        answer_of(&[ANSWER]),
        status("401 Unauthorized", "", PROVIDER),
        status("200 OK", "content-type: text/event-stream\r\n", &format!("data: {{\"x\": {PROVIDER}\n\n")),
        status("500 Oops", "retry-after: 0\r\n", PROVIDER),
    ])
    .await;
    let file = database.folder.path().join("config.toml");
    std::fs::write(&file, format!("[identity]\nowner_email = \"{EMAIL}\"\n")).unwrap();
    let mut process =
        Process::start(&database, &["--log-level", "trace", "--config", file.to_str().unwrap()]);
    let mut clients = process.admin().await;
    let configuration = json!({"base_url": format!("http://{}/v1", upstream.address), "api_key": API_KEY});
    let model = clients.model("gpt", "openai", configuration).await;
    clients.endpoint("ask", None, Some(&model)).await;
    clients.policy("ask", "access", json!({"denied_users": ["eve@x"]})).await;

    let mut seen = String::new();
    for slug in ["ask", "ask", "ask", "ask", "nowhere"] {
        let mut query = asking(PROMPT);
        query.extras = Some(structure(json!({"user": EXTRA})));
        query.transaction_token = Some(TOKEN.to_owned());
        let request = QueryRequest { slug: slug.to_owned(), query: Some(query), request_id: None };
        match clients.endpoints.query(request).await {
            Ok(answer) => assert_eq!(answer.into_inner().summary.unwrap().content, ANSWER),
            Err(status) => seen.push_str(&format!("{status:?}")),
        }
    }
    let bad = proto::Query { limit: Some(0), ..asking(PROMPT) };
    let request =
        QueryRequest { slug: PROMPT.to_owned(), query: Some(bad), request_id: Some(PROMPT.to_owned()) };
    seen.push_str(&format!("{:?}", clients.endpoints.query(request).await.unwrap_err()));
    let wrong = json!({"api_key": 1, "base_url": API_KEY});
    let wrong = proto::Model {
        name: "bad".to_owned(),
        dtype: "openai".to_owned(),
        configuration: Some(structure(wrong)),
        ..proto::Model::default()
    };
    let refused =
        clients.models.create_model(proto::CreateModelRequest { model: Some(wrong) }).await.unwrap_err();
    seen.push_str(&format!("{refused:?}"));
    let got = clients.models.get_model(GetModelRequest { name: "gpt".to_owned() }).await.unwrap();
    let listed = clients.models.list_models(ListModelsRequest::default()).await.unwrap();
    let detail = clients.endpoints.get_endpoint(GetEndpointRequest { slug: "ask".to_owned() }).await.unwrap();
    seen.push_str(&format!("{got:?} {listed:?} {detail:?}"));
    assert!(seen.contains("[redacted]"), "the configuration is not shown at all: the check sees nothing");
    process.signal("-TERM");
    assert!(process.ended().await.success());

    let log = std::fs::read_dir(database.folder.path())
        .unwrap()
        .flatten()
        .find(|file| file.path().extension().is_some_and(|extension| extension == "log"));
    let log = std::fs::read_to_string(log.unwrap().path()).unwrap();
    assert!(log.contains("query failed"), "nothing was logged: the check sees nothing\n{log}");
    let stored = everything_stored(&database).await;
    assert!(stored.contains("MODEL_REJECTED"), "no query was recorded: the check sees nothing");
    for (what, text) in [("an answer or error", &seen), ("the log", &log), ("the database", &stored)] {
        for secret in [API_KEY, PROMPT, ANSWER, PROVIDER, EXTRA, TOKEN, ADMIN_KEY] {
            assert!(!text.contains(secret), "{secret} is in {what}");
        }
    }
    assert!(!log.contains(EMAIL) && !seen.contains(EMAIL));
}
}

/// All that the database keeps, as text.
pub(crate) async fn everything_stored(database: &Database) -> String {
    if let Some(path) = database.url.strip_prefix("sqlite://") {
        let files = ["", "-wal"].map(|suffix| std::fs::read(format!("{path}{suffix}")).unwrap_or_default());
        return String::from_utf8_lossy(&files.concat()).into_owned();
    }
    let raw = database.raw().await;
    let all = "SELECT query_to_xml('SELECT * FROM ' || quote_ident(table_name), true, true, '')::text AS rows \
               FROM information_schema.tables WHERE table_schema = 'public'";
    let rows =
        raw.query_all_raw(sea_orm::Statement::from_string(raw.get_database_backend(), all)).await.unwrap();
    rows.iter().map(|row| row.try_get::<String>("", "rows").unwrap()).collect()
}
