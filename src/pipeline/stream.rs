//! The two ends of a query's event channel.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures_util::{Stream, StreamExt};
use tokio::{
    sync::{mpsc, mpsc::error::TrySendError, oneshot},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    domain::{Answer, PolicyEntry, QueryEvent, QueryId, RecordedText},
    error::{Ended, Error},
    policy::Turn,
};

/// Bytes of text that are joined into one event when the client lags.
const MAX_JOINED: usize = 16 << 10;

/// A query that failed, and what its policies had to say.
#[derive(Debug)]
pub struct Failure {
    pub error: Error,
    pub entries: Vec<PolicyEntry>,
}

type Last = Result<QueryEvent, Failure>;

/// What has left the channel for the client. What waits in it, a client that goes away has never had.
#[derive(Default)]
struct Handed {
    events: AtomicUsize,
    /// Characters of text.
    characters: AtomicUsize,
}

/// The sending end. Bounded: a slow client slows the model.
pub(super) struct EventSink {
    events: mpsc::Sender<QueryEvent>,
    last: oneshot::Sender<Last>,
    /// Whether the client waits for the whole answer: until then it is handed nothing.
    folds: Arc<AtomicBool>,
    handed: Arc<Handed>,
    /// Characters of text that were sent.
    characters: usize,
    first_event: Option<Instant>,
    first_token: Option<Instant>,
    /// The beginning of the text, when it is to be recorded.
    kept: Option<Kept>,
}

/// The beginning of a text that comes in pieces.
struct Kept {
    text: String,
    /// Characters that it may still take.
    room: usize,
}

/// What an event of text adds.
#[derive(Default)]
struct Noted {
    characters: usize,
    /// What there is room for.
    kept: String,
}

/// The events of one query: References, Delta…, then `Completed` or one failure. Dropping it cancels
/// the query.
pub struct QueryStream {
    query_id: QueryId,
    peeked: Option<QueryEvent>,
    events: mpsc::Receiver<QueryEvent>,
    last: Option<oneshot::Receiver<Last>>,
    folds: Arc<AtomicBool>,
    handed: Arc<Handed>,
    _cancel: DropGuard,
}

pub(super) fn channel(
    query_id: QueryId,
    capacity: usize,
    keeps_text: bool,
    client: CancellationToken,
) -> (EventSink, QueryStream) {
    let (events, inbox) = mpsc::channel(capacity.max(1));
    let (last, last_inbox) = oneshot::channel();
    let folds = Arc::new(AtomicBool::new(false));
    let handed = Arc::new(Handed::default());
    let sink = EventSink {
        events,
        last,
        folds: Arc::clone(&folds),
        handed: Arc::clone(&handed),
        characters: 0,
        first_event: None,
        first_token: None,
        kept: keeps_text.then(|| Kept { text: String::new(), room: RecordedText::MAX_CHARS }),
    };
    let _cancel = client.drop_guard();
    (
        sink,
        QueryStream { query_id, peeked: None, events: inbox, last: Some(last_inbox), folds, handed, _cancel },
    )
}

impl EventSink {
    /// Waits for room.
    pub(super) async fn send(&mut self, event: QueryEvent) -> Result<(), Error> {
        let sent = self.noted(&event);
        self.events.send(event).await.map_err(|_| Error::Ended(Ended::ClientGone))?;
        self.note_sent(sent);
        Ok(())
    }

    /// Sends without waiting; an event for which there is no room comes back.
    pub(super) fn send_now(&mut self, event: QueryEvent) -> Option<QueryEvent> {
        let sent = self.noted(&event);
        match self.events.try_send(event) {
            Ok(()) => self.note_sent(sent),
            Err(TrySendError::Full(event) | TrySendError::Closed(event)) => return Some(event),
        }
        None
    }

    /// What is to be noted of an event once it is sent.
    fn noted(&self, event: &QueryEvent) -> Noted {
        let QueryEvent::Delta(text) = event else { return Noted::default() };
        let room = self.kept.as_ref().map_or(0, |kept| kept.room);
        Noted { characters: text.chars().count(), kept: RecordedText::head(text, room).to_owned() }
    }

    fn note_sent(&mut self, sent: Noted) {
        self.characters += sent.characters;
        self.first_event.get_or_insert_with(Instant::now);
        if sent.characters > 0 {
            self.first_token.get_or_insert_with(Instant::now);
        }
        if let Some(kept) = &mut self.kept {
            kept.room -= sent.kept.chars().count();
            kept.text.push_str(&sent.kept);
        }
    }

    /// Has a slot of its own, so it never waits, not even for a client that has stopped reading.
    pub(super) fn finish(self, last: Last) {
        // A client that is gone does not hear it.
        let _ = self.last.send(last);
    }

    /// Notes what the client has been handed.
    pub(super) fn tell(&self, turn: &mut Turn) {
        let streams = !self.folds.load(Ordering::Relaxed);
        // Who is still there will have what waits.
        let (events, characters) = match self.events.is_closed() {
            true => {
                (self.handed.events.load(Ordering::Relaxed), self.handed.characters.load(Ordering::Relaxed))
            }
            false => (usize::from(self.first_event.is_some()), self.characters),
        };
        turn.delivered = streams && events > 0;
        turn.text_delivered = streams && characters > 0;
        turn.characters_delivered = if streams { characters } else { 0 };
    }

    /// The text that the client was handed, as far as it is kept: nothing of an answer that was to be handed over
    /// whole, and is not whole.
    pub(super) fn told(&self, whole: bool) -> Option<String> {
        let kept = self.kept.as_ref().filter(|_| whole || !self.folds.load(Ordering::Relaxed))?;
        // Of one who has gone, what waited was not handed over.
        let handed = match !whole && self.events.is_closed() {
            true => self.handed.characters.load(Ordering::Relaxed),
            false => self.characters,
        };
        (handed > 0).then(|| RecordedText::head(&kept.text, handed).to_owned())
    }

    pub(super) fn first_event(&self) -> Option<Instant> {
        self.first_event
    }

    /// When the first piece of text was handed over.
    pub(super) fn first_token(&self) -> Option<Instant> {
        self.first_token
    }
}

impl Handed {
    fn note(&self, text: &str) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.characters.fetch_add(text.chars().count(), Ordering::Relaxed);
    }
}

impl QueryStream {
    pub fn query_id(&self) -> QueryId {
        self.query_id
    }

    /// Waits for the first event, so that a query that fails before it fails before any header.
    ///
    /// # Errors
    /// The query's failure.
    pub async fn opened(mut self) -> Result<Self, Failure> {
        self.peeked = self.next().await.transpose()?;
        Ok(self)
    }

    /// Waits for the whole answer.
    ///
    /// # Errors
    /// The query's failure; what had been answered until then is lost.
    pub async fn answer(mut self) -> Result<Answer, Failure> {
        self.folds.store(true, Ordering::Relaxed);
        let (mut references, mut text) = (None, String::new());
        while let Some(event) = self.next().await {
            match event? {
                QueryEvent::References(found) => references = Some(found),
                QueryEvent::Delta(delta) => text.push_str(&delta),
                QueryEvent::Completed(end) => return Ok(Answer { references, text, ..*end }),
            }
        }
        Err(vanished())
    }

    /// Joins what has piled up behind `delta`: a client that lags gets fewer and larger events, which
    /// its HTTP/2 stack charges it less for.
    fn joined(&mut self, mut delta: String) -> QueryEvent {
        while delta.len() < MAX_JOINED {
            match self.events.try_recv() {
                Ok(QueryEvent::Delta(more)) => {
                    self.handed.note(&more);
                    delta.push_str(&more);
                }
                Ok(other) => {
                    self.peeked = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        QueryEvent::Delta(delta)
    }
}

impl Stream for QueryStream {
    type Item = Result<QueryEvent, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(event) = self.peeked.take() {
            return Poll::Ready(Some(Ok(event)));
        }
        match ready!(self.events.poll_recv(cx)) {
            Some(QueryEvent::Delta(delta)) => {
                self.handed.note(&delta);
                return Poll::Ready(Some(Ok(self.joined(delta))));
            }
            Some(event) => {
                self.handed.note("");
                return Poll::Ready(Some(Ok(event)));
            }
            None => {}
        }
        let Some(last) = self.last.as_mut() else { return Poll::Ready(None) };
        let last = ready!(Pin::new(last).poll(cx));
        self.last = None;
        Poll::Ready(Some(last.unwrap_or_else(|_| Err(vanished()))))
    }
}

fn vanished() -> Failure {
    Failure { error: Error::internal("the query's task ended without a last word"), entries: Vec::new() }
}
