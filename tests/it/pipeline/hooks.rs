//! In what order policies are asked and settled.

use std::sync::{Arc, Mutex};

use syft_endpoints::{
    error::Error,
    pipeline::Config,
    policy::{Phase, Policy},
};

use crate::support::rig::{Deed, Log, Probe, Rig, Says, call, plan};

const PHASES: [(&str, Phase); 4] = [
    ("payment", Phase::Payment),
    ("content", Phase::Content),
    ("rate", Phase::RateLimit),
    ("access", Phase::Access),
];

fn policies(log: &Log, post_refuses: &str) -> Vec<Arc<dyn Policy>> {
    PHASES
        .into_iter()
        .map(|(name, phase)| {
            let post = if name == post_refuses { Deed::Refuse } else { Deed::Nothing };
            Arc::new(Probe { phase, post, ..Probe::new(name, log) }) as Arc<dyn Policy>
        })
        .collect()
}

#[tokio::test]
async fn policies_are_asked_by_phase_and_payment_settles_last() {
    let log = Arc::new(Mutex::default());
    let rig = Rig::new(Config::default(), plan(Some(Arc::new(Says(&["hi"]))), policies(&log, "")));
    rig.ask().answer().await.unwrap();
    let expected = [
        "pre access",
        "pre rate",
        "pre content",
        "pre payment",
        "post content completed",
        "post rate completed",
        "post access completed",
        "post payment completed",
    ];
    assert_eq!(*log.lock().unwrap(), expected);
}

#[tokio::test]
async fn an_answer_that_is_refused_after_it_was_made_is_not_paid_for() {
    let log = Arc::new(Mutex::default());
    let rig = Rig::new(Config::default(), plan(Some(Arc::new(Says(&["hi"]))), policies(&log, "content")));
    let failure = rig.ask().answer().await.unwrap_err();
    assert!(matches!(failure.error, Error::Refused(_)), "{failure:?}");
    assert_eq!(failure.entries.len(), 1);
    assert!(log.lock().unwrap().contains(&"post payment refused".to_owned()));
}

#[tokio::test]
async fn a_preview_passes_limits_and_payment() {
    let log = Arc::new(Mutex::default());
    let mut plan = plan(Some(Arc::new(Says(&["hi"]))), policies(&log, ""));
    plan.published = false;
    let rig = Rig::new(Config::default(), plan);
    let unpublished = rig.ask().answer().await.unwrap_err();
    assert!(matches!(unpublished.error, Error::EndpointNotPublished));
    let mut preview = call("x");
    preview.preview = true;
    rig.pipeline.run(preview).unwrap().answer().await.unwrap();
    let expected = ["pre access", "pre content", "post content completed", "post access completed"];
    assert_eq!(*log.lock().unwrap(), expected);
}
