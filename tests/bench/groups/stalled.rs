//! Whether streams survive that a client with tonic's default settings reads nothing for a while. Two
//! kinds of stall: the readers of the streams pause while the connection goes on, as when a consumer is
//! busy; and the whole process stands still.

use std::{
    thread,
    time::{Duration, Instant},
};

use syft_endpoints::proto::endpoint_service_client::EndpointServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::{
    Bench, Fault,
    client::{Caller, next},
    report::Findings,
    script::Script,
    space::{SLUG, Space},
    token::{Tally, Watch},
};

const STREAMS: usize = 64;
const STALL: Duration = Duration::from_millis(2_500);
/// From the first stream to the stall.
const BEFORE: Duration = Duration::from_secs(1);
/// How long the upstream writes, if nobody holds it up.
const LASTS: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stall {
    Readers,
    Process,
}

#[derive(Default)]
struct Survived {
    lost: usize,
    why: Option<String>,
    tally: Tally,
}

pub async fn run(bench: &Bench) -> Result<Findings, Fault> {
    let space = Space::start(bench, "stalled", &[]).await?;
    let caller = space.callers(SLUG, 1).await?.remove(0);
    let (mut findings, mut lost) = (Findings::default(), Vec::new());
    for every in [Duration::from_millis(10), Duration::from_millis(1)] {
        let tokens = usize::try_from(LASTS.as_millis() / every.as_millis())?;
        let slug = format!("every-{}-ms", every.as_millis());
        space.endpoint(&slug, Script::paced(tokens, every)).await?;
        for stall in [Stall::Readers, Stall::Process] {
            let (caller, url) = (caller.at(&slug), space.service.url());
            // On a runtime of its own, so that it can stand still.
            let survived = tokio::task::spawn_blocking(move || client(&caller, url, tokens, stall)).await??;
            findings.tally += survived.tally;
            lost.push(survived.lost as f64);
            let who = if stall == Stall::Readers { "readers" } else { "process" };
            let name = format!("{who} stalled, a token every {} ms", every.as_millis());
            findings.note(&name, survived.why.unwrap_or_else(|| "none lost".to_owned()));
        }
    }
    findings.key("stalled_reader_lost", lost.iter().sum(), lost);
    Ok(findings)
}

fn client(caller: &Caller, url: String, tokens: usize, stall: Stall) -> Result<Survived, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // As a newcomer would connect.
        let channel = Channel::from_shared(url)?.connect().await?;
        let caller = Caller { client: EndpointServiceClient::new(channel), ..caller.clone() };
        let (mut streams, from) = (JoinSet::new(), Instant::now() + BEFORE);
        for _ in 0..STREAMS {
            let caller = caller.clone();
            let pause = (stall == Stall::Readers).then_some(from);
            streams.spawn(async move { read(&caller, tokens, pause).await });
        }
        if stall == Stall::Process {
            tokio::time::sleep_until(from.into()).await;
            stand_still();
        }
        let mut survived = Survived::default();
        while let Some(ended) = streams.join_next().await {
            match ended? {
                Ok(tally) => survived.tally += tally,
                Err(fault) => {
                    survived.lost += 1;
                    survived.why.get_or_insert_with(|| fault.to_string());
                }
            }
        }
        Ok(survived)
    })
}

/// Reads a whole answer, with a pause at `pause`.
async fn read(caller: &Caller, tokens: usize, mut pause: Option<Instant>) -> Result<Tally, Fault> {
    let mut watch = Watch::new(tokens);
    let mut events = caller.open(0).await?;
    while next(&mut events, &mut watch).await? {
        if let Some(from) = pause.take_if(|from| *from <= Instant::now()) {
            tokio::time::sleep_until((from + STALL).into()).await;
        }
    }
    Ok(watch.end())
}

/// Blocks the thread, and with it all that runs on it.
fn stand_still() {
    let until = Instant::now() + STALL;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}
