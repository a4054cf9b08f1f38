//! A streamed answer as server-sent events, written so that every reader of SyftHub's understands them:
//! one event is one line `data: `, pieces of text come once, and what follows them has no key that a
//! reader would take for text.
//!
//! Readers do not hear of an event `error`: they skip it. A failure therefore breaks the body off as well,
//! which all of them notice.

use std::{
    io::Write,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use serde::Serialize;
use tokio::time::{Instant, Sleep, sleep};
use tonic::Status;

use super::answer::Completed;
use crate::{
    gateway::problem,
    proto::{self, StreamQueryResponse, stream_query_response::Event},
};

/// Silence after which a comment is sent, so that nobody between takes the connection for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// From the time when the last words may leave to the break, which loses what the connection still holds.
const FAREWELL: Duration = Duration::from_millis(100);
/// Says nothing.
pub const COMMENT: &[u8] = b": keep-alive\n\n";
/// Bytes that are collected at most while more is ready.
const CHUNK: usize = 16 << 10;

/// The body of a streamed answer. Dropping it cancels the query.
pub(super) struct Events<S> {
    answer: S,
    /// Kept for the last event.
    references: Option<proto::References>,
    /// When to say something though there is nothing to say.
    alarm: Pin<Box<Sleep>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Streaming,
    /// The failure is told.
    Failed,
    /// So is a comment after it. Over HTTP/2, hyper takes it from us when the reader has made room for all
    /// that came before, and asks for more only then.
    Waited,
    /// The last words are on their way.
    Leaving,
    Ended,
}

/// What a body ends with that does not end well.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(super) struct BrokenOff;

/// A piece of text.
#[derive(Serialize)]
struct Piece<'a> {
    content: &'a str,
}

impl<S: Stream<Item = Result<StreamQueryResponse, Status>> + Unpin> Events<S> {
    pub(super) fn new(answer: S) -> Self {
        Self { answer, references: None, alarm: Box::pin(sleep(HEARTBEAT)), state: State::Streaming }
    }

    /// Writes what is ready. `false`: more is to come.
    fn collect(&mut self, cx: &mut Context<'_>, chunk: &mut BytesMut) -> bool {
        while chunk.len() < CHUNK {
            let Poll::Ready(next) = Pin::new(&mut self.answer).poll_next(cx) else { return false };
            match next {
                Some(Ok(message)) => self.write(message, chunk),
                Some(Err(status)) => {
                    write_failure(&status, chunk);
                    self.state = State::Failed;
                    return true;
                }
                None => {
                    self.state = State::Ended;
                    return true;
                }
            }
        }
        false
    }

    fn write(&mut self, message: StreamQueryResponse, chunk: &mut BytesMut) {
        match message.event {
            Some(Event::References(references)) => self.references = Some(references),
            Some(Event::Delta(delta)) => write_data(&Piece { content: &delta.content }, chunk),
            Some(Event::Completed(end)) => {
                write_data(&Completed::new(end, self.references.take()), chunk);
                chunk.extend_from_slice(b"data: [DONE]\n\n");
            }
            None => {}
        }
    }
}

impl<S: Stream<Item = Result<StreamQueryResponse, Status>> + Unpin> Stream for Events<S> {
    type Item = Result<Bytes, BrokenOff>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.state {
            State::Streaming => {}
            State::Failed => {
                self.state = State::Waited;
                return Poll::Ready(Some(Ok(Bytes::from_static(COMMENT))));
            }
            State::Waited => {
                self.alarm.as_mut().reset(Instant::now() + FAREWELL);
                self.state = State::Leaving;
                return self.poll_next(cx);
            }
            State::Leaving => {
                ready!(self.alarm.as_mut().poll(cx));
                self.state = State::Ended;
                return Poll::Ready(Some(Err(BrokenOff)));
            }
            State::Ended => return Poll::Ready(None),
        }
        let mut chunk = BytesMut::new();
        let ended = self.collect(cx, &mut chunk);
        if !chunk.is_empty() {
            self.alarm.as_mut().reset(Instant::now() + HEARTBEAT);
            return Poll::Ready(Some(Ok(chunk.freeze())));
        }
        if ended {
            return self.poll_next(cx);
        }
        ready!(self.alarm.as_mut().poll(cx));
        self.alarm.as_mut().reset(Instant::now() + HEARTBEAT);
        Poll::Ready(Some(Ok(Bytes::from_static(COMMENT))))
    }
}

/// Writes an event that says what went wrong.
pub fn write_failure(status: &Status, chunk: &mut BytesMut) {
    chunk.extend_from_slice(b"event: error\n");
    write_data(&problem::body(status), chunk);
}

/// Writes an event: one line. JSON escapes line feeds; readers in Python break lines at three other characters as well.
pub fn write_data(value: &impl Serialize, chunk: &mut BytesMut) {
    chunk.extend_from_slice(b"data: ");
    let mut lines = OneLine(chunk);
    // Writing to memory cannot fail, nor can values of ours.
    let _ = serde_json::to_writer(&mut lines, value);
    chunk.extend_from_slice(b"\n\n");
}

/// Writes JSON without any character that somebody takes for the end of a line.
struct OneLine<'a>(&'a mut BytesMut);

impl Write for OneLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    /// serde_json never splits a character.
    fn write_all(&mut self, mut bytes: &[u8]) -> std::io::Result<()> {
        while let Some(at) = bytes.iter().position(|byte| matches!(byte, 0xc2 | 0xe2)) {
            let (before, rest) = bytes.split_at(at);
            self.0.extend_from_slice(before);
            let (escaped, length): (&[u8], usize) = match rest {
                [0xc2, 0x85, ..] => (b"\\u0085", 2),
                [0xe2, 0x80, 0xa8, ..] => (b"\\u2028", 3),
                [0xe2, 0x80, 0xa9, ..] => (b"\\u2029", 3),
                _ => (&rest[..1], 1),
            };
            self.0.extend_from_slice(escaped);
            bytes = &rest[length..];
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use tokio::time::Instant;
    use tonic::Status;

    use super::{COMMENT, Events, FAREWELL, HEARTBEAT};
    use crate::proto::{Delta, StreamQueryResponse, stream_query_response::Event};

    fn delta(content: &str) -> Result<StreamQueryResponse, Status> {
        Ok(StreamQueryResponse { event: Some(Event::Delta(Delta { content: content.to_owned() })) })
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_with_comments() {
        let answer = stream::iter([delta("a")]).chain(stream::pending());
        let (mut events, started) = (Events::new(answer), Instant::now());
        assert_eq!(events.next().await.unwrap().unwrap(), "data: {\"content\":\"a\"}\n\n");
        assert_eq!(started.elapsed().as_secs(), 0);
        for comments in 1..=3 {
            assert_eq!(events.next().await.unwrap().unwrap(), ": keep-alive\n\n");
            assert_eq!(started.elapsed().as_secs(), HEARTBEAT.as_secs() * comments);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn last_words_have_time_to_leave() {
        let answer = stream::iter([delta("a"), Err(Status::unavailable("is gone")), delta("never")]);
        let mut events = Events::new(answer);
        let words = events.next().await.unwrap().unwrap();
        assert!(words.ends_with(b"event: error\ndata: {\"detail\":\"is gone\"}\n\n"), "{words:?}");
        assert_eq!(events.next().await.unwrap().unwrap(), COMMENT);
        // The comment has been sent when more is asked for, however long that took.
        tokio::time::sleep(FAREWELL * 10).await;
        let said = Instant::now();
        assert!(events.next().await.unwrap().is_err());
        assert_eq!(said.elapsed().as_millis(), FAREWELL.as_millis());
        assert!(events.next().await.is_none());
    }

    #[tokio::test]
    async fn what_is_ready_leaves_together() {
        let answer = stream::iter([delta("a"), delta("b")]).chain(stream::pending());
        let both = Events::new(answer).next().await.unwrap().unwrap();
        assert_eq!(both, "data: {\"content\":\"a\"}\n\ndata: {\"content\":\"b\"}\n\n");
    }
}
