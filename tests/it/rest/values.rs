//! Values that JSON can say and protobuf cannot.

use serde_json::{Value, json};

use crate::support::{
    database::Database,
    rest::{Rest, question},
    space::Space,
    upstream::Upstream,
};

fn nested(levels: usize, open: fn(Value) -> Value) -> Value {
    (1..levels).fold(json!({"x": 1}), |inner, _| open(inner))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_are_nested_too_deeply_are_told_as_such() {
    let upstream = Upstream::says(&["a"]).await;
    let (space, _upstream) = super::legal(Database::sqlite(), upstream).await;
    let rest = Rest::admin(&space);
    let object: fn(Value) -> Value = |inner| json!({"x": inner});
    let list: fn(Value) -> Value = |inner| json!({"x": [inner]});
    let ask = async |extras: Value| {
        let mut asked = question();
        asked["extras"] = extras;
        rest.query("chat", asked).await
    };
    for (levels, open) in [(30, object), (15, list)] {
        assert_eq!(ask(nested(levels, open)).await.status, 200, "{levels}");
    }
    for (levels, open) in [(31, object), (16, list), (35, object), (120, object), (60, list)] {
        let told = ask(nested(levels, open)).await.expect(422);
        let told = &told["detail"][0];
        assert_eq!(told["loc"], json!(["body", "extras"]), "{told}");
        assert_eq!(told["msg"], "Value error, is nested too deeply: 30 levels are taken", "{told}");
    }
    let new = json!({"name": "x", "dtype": "openai", "configuration": nested(40, object)});
    let told = rest.post("/api/v1/models", new).await.expect(422);
    assert_eq!(told["detail"][0]["loc"], json!(["body", "configuration"]), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_grow_too_large_are_told_as_such() {
    let space = Space::configured(Database::sqlite(), &[("grpc.max_request_bytes", "10000")]).await;
    let upstream = Upstream::says(&["a"]).await;
    space.admin().await.asks("ask", upstream.address).await;
    let mut asked = question();
    asked["extras"] = json!({"x": vec![1; 3000]});
    assert!(asked.to_string().len() < 10_000);
    let told = Rest::admin(&space).query("ask", asked).await.expect(413);
    assert_eq!(told, json!({"detail": "The values of the body are larger than one request may be"}));
}
