//! Datasets of type `pgvector`, on a real server with pgvector.

use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};
use syft_endpoints::{
    proto::from_struct,
    upstream::{self, PrivateAddresses, Upstream},
};
use tokio_util::task::TaskTracker;
use tonic::Code;

use crate::{
    canary::everything_stored,
    support::{
        database::Database,
        embedder::{DIMENSIONS, Embedder, vector},
        engines::real::{DOCUMENTS, PgVector, assert_alike, expected, with},
        eventually, on_both,
        space::Space,
    },
};

const QUESTION: &str = "the copyright of photographs";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_have_one_similarity_by_every_distance() {
    let (space, embedder, table) = (Space::sqlite().await, Embedder::start().await, PgVector::full().await);
    let mut clients = space.admin().await;
    for distance in ["cosine", "inner_product", "l2"] {
        let metadata = json!({"metadata_column": "about", "metadata_columns": ["kind", "id"]});
        let config = with(with(table.config(&embedder), json!({ "distance": distance })), metadata);
        clients.dataset_of(distance, "pgvector", config).await.unwrap();
        let found = clients.find(distance, QUESTION, (0.0, 100)).await.unwrap();
        assert_alike(&found, &expected(QUESTION, 0.0));
        assert_eq!(found[0].content, DOCUMENTS[1].1);
        let metadata = Value::Object(from_struct(found[0].metadata.clone().unwrap()).unwrap());
        assert_eq!(metadata["kind"], "law");
        assert_eq!(metadata["id"], "b");
        assert_eq!(metadata["length"].as_f64(), Some(24.0));
        let similar = expected(QUESTION, 0.55);
        assert_alike(&clients.find(distance, QUESTION, (0.55, 100)).await.unwrap(), &similar);
        assert_alike(
            &clients.find(distance, QUESTION, (0.0, 2)).await.unwrap(),
            &expected(QUESTION, 0.0)[..2],
        );
    }
}

/// An HNSW index looks at 40 candidates unless it is told otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_finds_as_many_as_are_asked_for() {
    let (space, embedder, table) = (Space::sqlite().await, Embedder::start().await, PgVector::full().await);
    let mut clients = space.admin().await;
    for i in 0..200 {
        // No two alike: the index keeps those as one.
        let text = format!("w{i} x{} y{} z{}", i * 7, i * 13, i * i);
        table.add("docs", (&format!("f{i}"), &text, "filler"), &vector(&text, DIMENSIONS)).await;
    }
    table.run("CREATE INDEX ON docs USING hnsw (embedding vector_cosine_ops)").await;
    // Not even a scan of all could find more than the index lets it.
    table.run("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET enable_seqscan = off', current_database()); END $$")
        .await;
    clients.dataset_of("docs", "pgvector", table.config(&embedder)).await.unwrap();
    let found = clients.find("docs", QUESTION, (0.0, 120)).await.unwrap();
    assert_eq!((found.len(), found[0].document_id.as_str()), (120, "b"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_and_vectors_are_fused_by_rank() {
    let (space, embedder, table) = (Space::sqlite().await, Embedder::start().await, PgVector::full().await);
    let mut clients = space.admin().await;
    // Far from the question by its vector, and the only one with the word `kennels`, whose stem is `kennel`.
    table.add("docs", ("k", "a kennel", "pets"), &vector("nothing alike whatsoever", DIMENSIONS)).await;
    let config = with(table.config(&embedder), json!({"text_search": {"language": "english"}}));
    clients.dataset_of("docs", "pgvector", config).await.unwrap();
    let found = clients.find("docs", "kennels", (0.5, 5)).await.unwrap();
    let ids: Vec<_> = found.iter().map(|document| document.document_id.as_str()).collect();
    assert_eq!(ids[0], "k", "found by both and the only one by words: {found:?}");
    assert!(found[0].similarity_score > 0.9, "{found:?}");
    assert!(found.windows(2).all(|pair| pair[0].similarity_score >= pair[1].similarity_score));
    // Nobody has the words: the vectors alone count, as without text search.
    let asked = "photographs whatever unheardof";
    let found = clients.find("docs", asked, (0.55, 1)).await.unwrap();
    assert_alike(&found, &expected(asked, 0.55)[..1]);
    // Syntax of searches that is no syntax is a text like others.
    for odd in ["\"", "-", "or or", "a & | ! b:*", "'; DROP TABLE docs; --", "👍"] {
        clients.find("docs", odd, (0.0, 5)).await.unwrap();
    }
    assert_eq!(count(&table, "docs").await, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_leaves_out_what_does_not_fit() {
    let (space, embedder, table) = (Space::sqlite().await, Embedder::start().await, PgVector::full().await);
    let mut clients = space.admin().await;
    let kind = "pets'; DROP TABLE docs; --";
    table
        .run(&format!(
            "UPDATE docs SET about = jsonb_build_object('kind', '{}') WHERE id = 'c'",
            kind.replace('\'', "''")
        ))
        .await;
    let filter = json!({"metadata_column": "about", "filter": {"kind": kind}});
    for text_search in [json!({}), json!({"text_search": {}})] {
        let name = format!("docs-{}", text_search.as_object().unwrap().len());
        let config = with(with(table.config(&embedder), filter.clone()), text_search);
        clients.dataset_of(&name, "pgvector", config).await.unwrap();
        let found = clients.find(&name, QUESTION, (0.0, 5)).await.unwrap();
        assert_eq!(found.iter().map(|document| document.document_id.as_str()).collect::<Vec<_>>(), ["c"]);
    }
    let config = with(table.config(&embedder), json!({"filter": {}}));
    assert_eq!(
        clients.dataset_of("bad", "pgvector", config).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_names_whatever_is_in_them() {
    let (space, embedder, table) = (Space::sqlite().await, Embedder::start().await, PgVector::full().await);
    let mut clients = space.admin().await;
    let odd = r#"a"; DROP TABLE docs; -- $1 'ä"#;
    let quoted = odd.replace('"', "\"\"");
    table
        .run(&format!(
            "CREATE SCHEMA \"{quoted}\"; CREATE TABLE \"{quoted}\".\"{quoted}\" AS \
         SELECT id AS \"i\"\"d\", content AS \"{quoted}\", embedding AS \"Em bedding\" FROM docs"
        ))
        .await;
    let names = json!({
        "schema": odd, "table": odd, "id_column": "i\"d", "content_column": odd,
        "embedding_column": "Em bedding", "metadata_columns": [odd],
    });
    clients.dataset_of("odd", "pgvector", with(table.config(&embedder), names)).await.unwrap();
    let found = clients.find("odd", QUESTION, (0.0, 100)).await.unwrap();
    assert_alike(&found, &expected(QUESTION, 0.0));
    assert_eq!(from_struct(found[0].metadata.clone().unwrap()).unwrap()[odd], DOCUMENTS[1].1);
    assert_eq!(count(&table, "docs").await, 5);
    let bad = json!([{"table": ""}, {"table": "ä".repeat(32)}, {"id_column": "a\nb"}, {"metadata_columns": ["\t"]},
        {"text_search": {"language": "x'); --"}}, {"url": "postgres://u:p4ssw0rd@host/d?host=/tmp"}]);
    for change in bad.as_array().unwrap() {
        let config = with(table.config(&embedder), change.clone());
        let refused = clients.dataset_of("bad", "pgvector", config).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{change}");
        assert!(!format!("{refused:?}").contains("p4ssw0rd"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_says_what_is_wrong_and_nothing_of_the_url() {
    let (space, embedder, table) = (Space::sqlite().await, Embedder::start().await, PgVector::full().await);
    let mut clients = space.admin().await;
    let config = table.config(&embedder);
    assert_eq!(clients.examined("pgvector", config.clone()).await, "");
    let text_search = json!({"text_search": {}, "metadata_column": "about"});
    assert_eq!(clients.examined("pgvector", with(config.clone(), text_search)).await, "");
    let role = format!("r{}", uuid::Uuid::now_v7().simple());
    table
        .run(&format!(
            "CREATE ROLE {role} LOGIN; CREATE VIEW short AS SELECT id, content, embedding::text FROM docs"
        ))
        .await;
    table
        .run(
            "CREATE TABLE small (id text, content text, embedding vector(3)); \
               INSERT INTO small VALUES ('a', 'b', '[1,2,3]')",
        )
        .await;
    let bare = PgVector::full().await;
    bare.run("DROP EXTENSION vector CASCADE; ALTER TABLE docs ADD COLUMN embedding text").await;
    let (server, database) = table.url.rsplit_once('/').unwrap();
    let address = server.rsplit_once('@').unwrap().1;
    let url = |user: &str, database: &str| format!("postgres://{user}:p4ssw0rd-4720@{address}/{database}");
    let cases = [
        (json!({"url": "postgres://u:p4ssw0rd-4720@127.0.0.1:1/d"}), "it cannot be reached"),
        (json!({"url": "postgres://u:p4ssw0rd-4720@169.254.169.254/d"}), "its address is not allowed"),
        (
            json!({"url": "postgres://u:p4ssw0rd-4720@[::ffff:169.254.169.254]/d"}),
            "its address is not allowed",
        ),
        (json!({"url": "postgres://u:p4ssw0rd-4720@2852039166/d"}), "its address is not allowed"),
        (json!({"url": url("nobody-4720", database)}), "its credential was refused"),
        (json!({"url": url("postgres", "nowhere")}), "its database does not exist"),
        (json!({"url": url(&role, database)}), "its role may not read the table"),
        (json!({"url": bare.url}), "the database has no pgvector"),
        (json!({"url": format!("{}?sslmode=require", table.url)}), "its TLS is not as"),
        (json!({"table": "nothing"}), "its table does not exist"),
        (json!({"content_column": "nothing"}), "a column that is configured does not exist"),
        (json!({"table": "short"}), "a column has another type than it should"),
        (json!({"table": "small"}), "its vectors have other dimensions"),
        (json!({"text_search": {"language": "klingon"}}), "not the text search configuration"),
    ];
    for (change, expected) in cases {
        let message = clients.examined("pgvector", with(config.clone(), change)).await;
        assert!(message.contains(expected), "{message}: {expected}");
        for hidden in ["p4ssw0rd", "nobody-4720", address] {
            assert!(!message.contains(hidden), "{message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_write_nothing_and_end_in_time() {
    let (space, embedder, table) = (Space::sqlite().await, Embedder::start().await, PgVector::full().await);
    let mut clients = space.admin().await;
    table
        .run(
            "CREATE TABLE seen (at timestamptz); \
        CREATE FUNCTION spy(text) RETURNS text LANGUAGE sql AS 'INSERT INTO seen VALUES (now()); SELECT $1'; \
        CREATE VIEW spied AS SELECT id, spy(content) AS content, embedding FROM docs; \
        CREATE VIEW slow AS SELECT id, content || pg_sleep(60) AS content, embedding FROM docs",
        )
        .await;
    clients
        .dataset_of("spied", "pgvector", with(table.config(&embedder), json!({"table": "spied"})))
        .await
        .unwrap();
    let refused = clients.find("spied", QUESTION, (0.0, 5)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert_eq!(count(&table, "seen").await, 0);
    let slow =
        with(table.config(&embedder), json!({"table": "slow", "timeout_ms": 100, "max_connections": 1}));
    clients.dataset_of("slow", "pgvector", slow).await.unwrap();
    for _ in 0..2 {
        let late = clients.find("slow", QUESTION, (0.0, 5)).await.unwrap_err();
        assert!(late.code() == Code::Unavailable && late.message().contains("in time"), "{late:?}");
    }
}

/// Every change of the catalog makes new plans, which open their datasets anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_outlive_plans_and_end_with_the_dataset() {
    let (space, embedder, table) = (Space::sqlite().await, Embedder::start().await, PgVector::full().await);
    let mut clients = space.admin().await;
    let dataset = clients.dataset_of("docs", "pgvector", table.config(&embedder)).await.unwrap();
    clients.endpoint("ask", Some(&dataset), None).await;
    for i in 0..4 {
        clients.query("ask").await.unwrap();
        clients.dataset(&format!("other-{i}")).await;
        clients.find("docs", QUESTION, (0.0, 5)).await.unwrap();
    }
    // One, and another where the first had not been put back yet.
    assert!(connections(&table).await <= 2, "every opening has connections of its own");
    // A connection that the server has closed is noticed, and another is made.
    table
        .run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name = 'syft-endpoints'",
        )
        .await;
    clients.query("ask").await.unwrap();
    drop(clients);
    space.stop().await;
    eventually("its connections are closed", async || connections(&table).await == 0).await;
}

/// The only connection is in the middle of a statement that takes a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_that_is_dropped_gives_its_connection_back() {
    let (space, embedder, table) = (Space::sqlite().await, Embedder::start().await, PgVector::full().await);
    let mut clients = space.admin().await;
    table
        .run(
            "CREATE TABLE gate (shut bool); INSERT INTO gate VALUES (true); \
             CREATE VIEW gated AS SELECT id, content || CASE WHEN EXISTS (SELECT FROM gate) \
             THEN pg_sleep(60)::text ELSE '' END AS content, embedding FROM docs",
        )
        .await;
    let config = json!({"table": "gated", "timeout_ms": 60000, "max_connections": 1});
    let dataset =
        clients.dataset_of("docs", "pgvector", with(table.config(&embedder), config)).await.unwrap();
    clients.endpoint("ask", Some(&dataset), None).await;
    let mut gone = clients.clone();
    let query = TaskTracker::new().spawn(async move { gone.query("ask").await });
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND application_name = 'syft-endpoints' AND wait_event = 'PgSleep'";
    eventually("the search sleeps", async || number(&table, sleeping).await == 1).await;
    query.abort();
    table.run("DELETE FROM gate").await;
    let found = clients.query("ask").await.unwrap().references.unwrap().documents;
    assert_alike(&found, &expected("What is the copyright term?", 0.1));
}

#[tokio::test]
async fn the_guard_stands_before_other_protocols_too() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let called = Upstream::new(upstream::Config::default()).unwrap();
    for host in ["127.0.0.1", "localhost", "2130706433"] {
        assert_eq!(called.reach(host, address.port()).await.unwrap(), address, "{host}");
    }
    let private_addresses = PrivateAddresses::Refuse;
    let refusing =
        Upstream::new(upstream::Config { private_addresses, ..upstream::Config::default() }).unwrap();
    for host in ["127.0.0.1", "localhost", "2130706433", "[::1]", "[::ffff:127.0.0.1]"] {
        let refused = refusing.reach(host, address.port()).await.unwrap_err();
        assert!(refused.to_string().contains("address is not allowed"), "{host}: {refused}");
    }
    let unknown = called.reach("no-such-host.invalid", 5432).await.unwrap_err();
    assert!(unknown.to_string().contains("its host is not known"), "{unknown}");
}

on_both! {
    async fn the_url_is_sealed_and_struck_out(database: Database) {
        let (space, embedder) = (Space::start(database).await, Embedder::start().await);
        let (mut clients, table) = (space.admin().await, PgVector::full().await);
        let url = table.url.replace("postgres@", "postgres:p4ssw0rd-4721@");
        let config = with(table.config(&embedder), json!({ "url": url }));
        let dataset = clients.dataset_of("docs", "pgvector", config).await.unwrap();
        assert_eq!(format!("{dataset:?}").matches("[redacted]").count(), 2, "{dataset:?}");
        assert!(!clients.find("docs", QUESTION, (0.0, 5)).await.unwrap().is_empty());
        let stored = everything_stored(&space.stop().await).await;
        assert!(!format!("{dataset:?}{stored}").contains("p4ssw0rd-4721"));
    }
}

async fn number(table: &PgVector, query: &str) -> i64 {
    let row = table.raw.query_one_raw(Statement::from_string(DbBackend::Postgres, query)).await.unwrap();
    row.unwrap().try_get_by_index(0).unwrap()
}

async fn count(table: &PgVector, name: &str) -> i64 {
    number(table, &format!("SELECT count(*) FROM {name}")).await
}

/// How many this service has to the table's database.
async fn connections(table: &PgVector) -> i64 {
    let all = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'syft-endpoints'";
    number(table, all).await
}
