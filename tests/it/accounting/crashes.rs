//! kill -9 after every step of a charge. Whoever comes next finishes it: what was decided is done, what was not is
//! given back. And nothing of it is left where it can be read.

use serde_json::{Value, json};
use syft_endpoints::proto::{Query, StreamQueryRequest};

use super::{PAYER, UNIT, an_hour_passes, confirmed, count, settled};
use crate::{
    canary::everything_stored,
    support::{
        bank::{
            Bank,
            Fault::{self, DoneAndHeld, Held},
            PASSWORD,
        },
        database::Database,
        on_both,
        process::Process,
        space::asking,
        upstream::{Step, Upstream, answer_of, delta, head, send, status},
    },
};

/// A moment at which a process dies.
struct Moment {
    name: &'static str,
    endpoint: &'static str,
    /// What holds the query there: a call of the bank, or the model.
    held: Option<(&'static str, Fault)>,
    /// Whether the bank's call was done, or would have been.
    is_paid: bool,
}

const MOMENTS: [Moment; 12] = [
    // The intent is written, and nobody knows of it.
    Moment { name: "create 1", endpoint: "call", held: Some(("create", Held)), is_paid: false },
    // The bank has reserved; its answer is lost.
    Moment { name: "create 2", endpoint: "call", held: Some(("create", DoneAndHeld)), is_paid: false },
    // Reserved and named; the model is at it.
    Moment { name: "answer", endpoint: "slow", held: None, is_paid: false },
    // Decided.
    Moment { name: "confirm 1", endpoint: "call", held: Some(("confirm", Held)), is_paid: true },
    // Confirmed; that it was is not noted.
    Moment { name: "confirm 2", endpoint: "call", held: Some(("confirm", DoneAndHeld)), is_paid: true },
    Moment { name: "cancel 1", endpoint: "bad", held: Some(("cancel", Held)), is_paid: false },
    Moment { name: "cancel 2", endpoint: "bad", held: Some(("cancel", DoneAndHeld)), is_paid: false },
    // The same with prices per token: text that waits is not paid for before the bank has it.
    Moment { name: "token 1", endpoint: "paid", held: Some(("create", DoneAndHeld)), is_paid: false },
    Moment { name: "token 2", endpoint: "paid", held: Some(("confirm", Held)), is_paid: true },
    // Text that has been read is owed if the bank knows of it.
    Moment { name: "token 3", endpoint: "streamed", held: Some(("create", Held)), is_paid: false },
    Moment { name: "token 4", endpoint: "streamed", held: Some(("create", DoneAndHeld)), is_paid: true },
    Moment { name: "token 5", endpoint: "streamed", held: Some(("confirm", DoneAndHeld)), is_paid: true },
];

/// Endpoints, and what they ask at what price. Every answer has five tokens.
async fn endpoints(process: &Process, bank: &Bank) -> Vec<Upstream> {
    let per_token = |delivery: &str| json!({"pricing_mode": "per_token", "input_price": 0, "output_price": 0.2, "delivery": delivery});
    let hangs = vec![head(), send(&delta("a")), Step::Hang];
    let kinds: [(&str, Vec<Step>, Value); 5] = [
        ("call", answer_of(&["a"]), json!({"price": 1})),
        ("slow", hangs, json!({"price": 1, "api": "transactions"})),
        ("bad", status("401 Unauthorized", "", ""), json!({"price": 1, "api": "transactions"})),
        ("paid", answer_of(&["a"]), per_token("paid")),
        ("streamed", answer_of(&["a"]), per_token("streamed")),
    ];
    let (mut clients, mut upstreams) = (process.admin().await, Vec::new());
    for (slug, script, pricing) in kinds {
        let upstream = Upstream::start(vec![script]).await;
        clients.asks(slug, upstream.address).await;
        clients.policy(slug, "accounting", bank.charging(pricing)).await;
        upstreams.push(upstream);
    }
    upstreams
}

/// Asks, and waits until the query has come to its moment.
async fn reach(moment: &Moment, process: &Process, bank: &Bank) {
    let mut clients = process.admin().await;
    let query = Query { transaction_token: Some(bank.token(PAYER)), ..asking("what?") };
    let request =
        StreamQueryRequest { slug: moment.endpoint.to_owned(), query: Some(query), request_id: None };
    let asked = async {
        let Ok(answer) = clients.endpoints.stream_query(request).await else { return };
        let mut answer = answer.into_inner();
        if moment.held.is_none() {
            answer.message().await.unwrap();
            return;
        }
        while let Ok(Some(_)) = answer.message().await {}
    };
    match moment.held {
        None => asked.await,
        Some((call, fault)) => {
            bank.fault(call, fault);
            tokio::select! {
                () = bank.holds() => {}
                () = asked => panic!("{}: the query has ended", moment.name),
            }
        }
    }
}

on_both! {
    async fn a_killed_process_leaves_nothing_reserved_and_nothing_paid_twice(database: Database) {
        let bank = Bank::start().await;
        let file = database.folder.path().join("config.toml");
        std::fs::write(&file, format!("[identity]\nowner_email = \"{PAYER}\"\n")).unwrap();
        let arguments = ["--log-level", "trace", "--config", file.to_str().unwrap()];
        let mut process = Process::start(&database, &arguments);
        let _upstreams = endpoints(&process, &bank).await;
        let mut earned = 0;
        for moment in &MOMENTS {
            reach(moment, &process, &bank).await;
            process.kill();
            assert_eq!(count(&database, "state = 'open'").await, 1, "{}", moment.name);
            // Nobody is left who could decide it; the next one cannot know that yet.
            an_hour_passes(&database).await;
            process = Process::start(&database, &arguments);
            earned += if moment.is_paid { UNIT } else { 0 };
            println!("{}", moment.name);
            settled(&bank, &database).await;
            assert_eq!((bank.earned(), confirmed(&database).await), (earned, earned), "{}", moment.name);
        }
        assert_eq!(bank.calls("create"), MOMENTS.len());
        process.signal("-TERM");
        assert!(process.ended().await.success());

        let files = std::fs::read_dir(database.folder.path()).unwrap().flatten();
        let logs = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "log"));
        let logs: String = logs.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect();
        let stored = everything_stored(&database).await;
        assert!(logs.contains("stopped"), "nothing was logged: the check sees nothing");
        assert!(stored.contains(PAYER), "nothing was stored: the check sees nothing");
        for (what, text) in [("a log", &logs), ("the database", &stored)] {
            for secret in [PASSWORD, "canary-token-4732"] {
                assert!(!text.contains(secret), "{secret} is in {what}");
            }
        }
        assert!(!logs.contains(PAYER) && !logs.contains(crate::support::bank::OWNER), "an e-mail address is in a log");
    }
}
