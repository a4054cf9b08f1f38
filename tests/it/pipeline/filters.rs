//! What leaves passes the filters, and waits for policies that withhold.

use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use syft_endpoints::{
    domain::{QueryEvent, References},
    error::{Error, Refusal},
    pipeline::{Config, Plan},
    policy::{AnswerFilter, Policy},
};

use crate::support::rig::{Deed, Log, OneDocument, Probe, Rig, Says, plan, refusal};

/// Holds one character back, and writes everything in capitals.
#[derive(Default)]
struct Capitals {
    held: String,
}

impl AnswerFilter for Capitals {
    fn references(&mut self, references: &mut References) -> Result<(), Refusal> {
        for document in &mut references.documents {
            document.content = document.content.to_uppercase();
        }
        Ok(())
    }

    fn delta(&mut self, text: String) -> Result<String, Refusal> {
        if text.contains('!') {
            return Err(refusal("capitals"));
        }
        self.held.push_str(&text.to_uppercase());
        let last = self.held.pop().map(String::from).unwrap_or_default();
        Ok(std::mem::replace(&mut self.held, last))
    }

    fn finish(&mut self) -> Result<String, Refusal> {
        Ok(std::mem::take(&mut self.held))
    }
}

/// Puts a star after every piece it sees.
struct Stars;

impl AnswerFilter for Stars {
    fn delta(&mut self, text: String) -> Result<String, Refusal> {
        Ok(if text.is_empty() { text } else { text + "*" })
    }
}

/// Makes every document too large for an answer.
struct Grows;

impl AnswerFilter for Grows {
    fn references(&mut self, references: &mut References) -> Result<(), Refusal> {
        references.documents[0].content = "x".repeat(4 << 20);
        Ok(())
    }

    fn delta(&mut self, text: String) -> Result<String, Refusal> {
        Ok(text)
    }
}

fn filtered(log: &Log, words: &'static [&'static str]) -> Plan {
    let capitals = Probe { filter: Some(|| Box::new(Capitals::default())), ..Probe::new("capitals", log) };
    let stars = Probe { filter: Some(|| Box::new(Stars)), ..Probe::new("stars", log) };
    let plan =
        plan(Some(Arc::new(Says(words))), vec![Arc::new(capitals) as Arc<dyn Policy>, Arc::new(stars)]);
    Plan { dataset: Some(Arc::new(OneDocument { yields: 0 })), ..plan }
}

#[tokio::test]
async fn filters_see_references_pieces_and_the_end_in_phase_order() {
    let log = Arc::new(Mutex::default());
    let rig = Rig::new(Config::default(), filtered(&log, &["ab", "c", "d"]));
    let answer = rig.ask().answer().await.unwrap();
    assert_eq!(answer.references.unwrap().documents[0].content, "TEXT");
    assert_eq!(answer.text, "A*B*C*D*");
}

#[tokio::test]
async fn references_that_a_filter_made_too_large_are_cut() {
    let log = Arc::new(Mutex::default());
    let grows = Probe { filter: Some(|| Box::new(Grows)), ..Probe::new("grows", &log) };
    let plan = plan(None, vec![Arc::new(grows) as Arc<dyn Policy>]);
    let rig =
        Rig::new(Config::default(), Plan { dataset: Some(Arc::new(OneDocument { yields: 0 })), ..plan });
    assert!(rig.ask().answer().await.unwrap().references.unwrap().documents.is_empty());
}

#[tokio::test]
async fn a_filter_that_refuses_ends_the_query() {
    let log = Arc::new(Mutex::default());
    let mut rig = Rig::new(Config::default(), filtered(&log, &["ab", "!"]));
    let failure = rig.ask().answer().await.unwrap_err();
    assert!(matches!(failure.error, Error::Refused(_)), "{failure:?}");
    assert_eq!(failure.entries[0].policy_type, "capitals");
    assert_eq!(rig.outcome(), "refused");
}

#[tokio::test]
async fn withheld_text_leaves_only_when_it_is_approved() {
    for (post, approved) in [(Deed::Nothing, true), (Deed::Refuse, false)] {
        let log = Arc::new(Mutex::default());
        let policy = Probe { withholds: true, post, ..Probe::new("a", &log) };
        let rig =
            Rig::new(Config::default(), plan(Some(Arc::new(Says(&["se", "cret"]))), vec![Arc::new(policy)]));
        let events: Vec<_> = rig.ask().collect().await;
        let texts: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Ok(QueryEvent::Delta(text)) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(texts, if approved { vec!["secret"] } else { vec![] });
        assert_eq!(events.last().unwrap().is_ok(), approved);
    }
}

#[tokio::test]
async fn withheld_text_leaves_in_pieces_that_every_client_takes() {
    // A character may stand across the end of a piece.
    let text: &'static str = Box::leak("aéé".repeat(700_000).into_boxed_str());
    let words: &'static [&'static str] = Box::leak(vec![text].into_boxed_slice());
    for buffered_events in [1, 16] {
        let log = Arc::new(Mutex::default());
        let policy = Probe { withholds: true, ..Probe::new("a", &log) };
        let plan = plan(Some(Arc::new(Says(words))), vec![Arc::new(policy)]);
        let rig = Rig::new(Config { buffered_events, ..Config::default() }, plan);
        let events: Vec<_> = rig.ask().collect().await;
        let pieces: Vec<_> = events
            .iter()
            .filter_map(|event| match event.as_ref().unwrap() {
                QueryEvent::Delta(text) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        let largest = pieces.iter().map(|piece| piece.len()).max().unwrap();
        assert!(largest <= (256 << 10) && pieces.concat() == text, "{largest}");
    }
}
