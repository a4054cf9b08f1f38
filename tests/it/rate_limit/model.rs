//! The counters against the definition, whatever is asked in whatever order: a brute-force model remembers
//! every admission and counts those in the window.

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::*;

/// Seconds. Time moves by hundreds, so the moments of this test itself decide nothing.
const WINDOW: u64 = 1_050;

#[derive(Debug, Clone)]
enum Step {
    /// Hundreds of seconds pass.
    Pass(u64),
    /// So many ask at once; then so many of those admitted give back.
    Ask(usize, usize),
    /// Another limit from now on.
    Limit(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..=12_u64).prop_map(Step::Pass),
        5 => (1..=6_usize, 0..=3_usize).prop_map(|(asking, back)| Step::Ask(asking, back)),
        1 => (1..=5_u32).prop_map(Step::Limit),
    ]
}

/// A policy of its own, on a database that others use too.
async fn play(
    counters: &RateCounters,
    raw: &DatabaseConnection,
    steps: &[Step],
) -> Result<(), TestCaseError> {
    let (policy, other) = (PolicyId::new(), PolicyId::new());
    let (mut limit, mut now, mut admitted) = (3, 0, Vec::<u64>::new());
    for step in steps {
        match step {
            Step::Pass(hundreds) => {
                time_passes(raw, hundreds * 100).await;
                now += hundreds * 100;
            }
            Step::Limit(changed) => limit = *changed,
            Step::Ask(asking, back) => {
                let window = Window { length: Duration::from_secs(WINDOW), ..window(policy, limit) };
                let asked = (0..*asking).map(|_| counters.admit(vec![window.clone()]));
                let answers = futures_util::future::join_all(asked).await;
                let taken: Vec<_> = answers
                    .into_iter()
                    .filter_map(|answer| match answer.unwrap() {
                        Admission::Granted(slots) => Some(slots),
                        Admission::Refused { .. } => None,
                    })
                    .collect();
                let recent = admitted.iter().filter(|at| now - **at < WINDOW).count();
                let room = (limit as usize).saturating_sub(recent);
                prop_assert_eq!(taken.len(), room.min(*asking), "{} of {} in the window", recent, limit);
                let kept = taken.len() - taken.len().min(*back);
                admitted.extend(std::iter::repeat_n(now, kept));
                for slots in taken.into_iter().skip(kept) {
                    counters.give_back(slots).await;
                }
                // Answered behind what was given back.
                counters.admit(vec![super::window(other, 999_999)]).await.unwrap();
            }
        }
    }
    Ok(())
}

on_both! {
    async fn every_history_agrees_with_the_definition(database: Database) {
        let counters = RateCounters::start(&database.store().await);
        let raw = database.raw().await;
        let runtime = tokio::runtime::Handle::current();
        let checked = tokio::task::spawn_blocking(move || {
            let config = Config { cases: 24, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
            TestRunner::new(config).run(&prop::collection::vec(step(), 1..25), |steps| {
                runtime.block_on(play(&counters, &raw, &steps))
            })
        });
        checked.await.unwrap().unwrap();
    }
}
