//! What a peer sends beside its calls: a connection that says nothing, or that only asks, is closed.
//!
//! HTTP/2 has frames that cost their sender little and the receiver an answer: PING, SETTINGS,
//! PRIORITY, WINDOW_UPDATE. h2 answers any number of them. This wrapper reads the headers of frames as
//! they pass, in both directions, and keeps a budget.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Duration, Instant, Sleep, sleep_until},
};

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
/// Control frames that each DATA or HEADERS frame of ours allows: a client that measures its bandwidth
/// answers each of them with a PING and two WINDOW_UPDATEs.
const EARNED: u32 = 10;
/// Time in which a budget that is used up comes back.
const REFILL: Duration = Duration::from_secs(10);
/// Bytes of one control frame that cost as much as a frame.
const BYTES_PER_COST: usize = 64;

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Closed {
    /// It did not say in time what it speaks.
    #[error("no handshake in time")]
    Silent,
    /// It sent too many control frames.
    #[error("too many control frames")]
    Flooded,
}

/// A connection whose frames are watched.
pub(super) struct Watched<S> {
    stream: S,
    opening: Opening,
    /// When the opening must be over.
    deadline: Pin<Box<Sleep>>,
    inbound: Frames,
    outbound: Frames,
    budget: Budget,
    closed: Arc<OnceLock<Closed>>,
}

/// How far a peer has said what it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// So many bytes of HTTP/2's preface.
    Preface(usize),
    /// The preface, and not yet the SETTINGS that must follow it.
    Settings,
    Http2,
    /// Anything else; HTTP/1 has a clock of its own.
    Http1,
}

/// Where one direction is in its sequence of frames.
#[derive(Default)]
struct Frames {
    header: [u8; 9],
    /// Bytes of the header that have passed.
    seen: usize,
    /// Bytes of the payload that have not.
    payload: usize,
}

struct Budget {
    size: u32,
    left: u32,
    at: Instant,
}

impl<S> Watched<S> {
    /// The peer must have said by `deadline` what it speaks, and may send `budget` control frames ahead.
    pub(super) fn new(stream: S, deadline: Instant, budget: u32) -> Self {
        Self {
            stream,
            opening: Opening::Preface(0),
            deadline: Box::pin(sleep_until(deadline)),
            inbound: Frames::default(),
            outbound: Frames::default(),
            budget: Budget { size: budget, left: budget, at: Instant::now() },
            closed: Arc::default(),
        }
    }

    /// Says why we have ended the connection, once we have: HTTP/2's own errors keep no cause.
    pub(super) fn verdict(&self) -> Arc<OnceLock<Closed>> {
        Arc::clone(&self.closed)
    }

    fn close(&self, why: Closed) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionAborted, *self.closed.get_or_init(|| why))
    }

    fn received(&mut self, mut bytes: &[u8]) -> Result<(), Closed> {
        while let (Opening::Preface(matched), Some((&first, rest))) = (self.opening, bytes.split_first()) {
            self.opening = match first == PREFACE[matched] {
                true if matched + 1 == PREFACE.len() => Opening::Settings,
                true => Opening::Preface(matched + 1),
                false => Opening::Http1,
            };
            bytes = rest;
        }
        if !matches!(self.opening, Opening::Settings | Opening::Http2) {
            return Ok(());
        }
        let (budget, opening) = (&mut self.budget, &mut self.opening);
        let mut within = true;
        self.inbound.pass(bytes, |kind, length| {
            *opening = Opening::Http2;
            // Resets have a guard of their own in h2.
            if !matches!(kind, DATA | HEADERS | RST_STREAM | CONTINUATION) {
                within &= budget.spend(length);
            }
        });
        if within { Ok(()) } else { Err(Closed::Flooded) }
    }

    fn sent(&mut self, bytes: &[u8]) {
        if self.opening == Opening::Http2 || self.opening == Opening::Settings {
            let budget = &mut self.budget;
            self.outbound.pass(bytes, |kind, _| {
                if matches!(kind, DATA | HEADERS) {
                    budget.earn();
                }
            });
        }
    }
}

impl Frames {
    /// Reports the kind and length of each frame whose header is complete.
    fn pass(&mut self, mut bytes: &[u8], mut frame: impl FnMut(u8, usize)) {
        while !bytes.is_empty() {
            let skipped = self.payload.min(bytes.len());
            self.payload -= skipped;
            bytes = &bytes[skipped..];
            let taken = (self.header.len() - self.seen).min(bytes.len());
            self.header[self.seen..self.seen + taken].copy_from_slice(&bytes[..taken]);
            self.seen += taken;
            bytes = &bytes[taken..];
            if self.seen == self.header.len() {
                let [a, b, c, kind, ..] = self.header;
                self.payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.seen = 0;
                frame(kind, self.payload);
            }
        }
    }
}

impl Budget {
    /// Whether there was enough for a frame of that length.
    fn spend(&mut self, length: usize) -> bool {
        let cost = u32::try_from(1 + length / BYTES_PER_COST).unwrap_or(u32::MAX);
        if self.left < cost {
            self.refill();
        }
        let enough = self.left >= cost;
        self.left = self.left.saturating_sub(cost);
        enough
    }

    fn earn(&mut self) {
        self.left = self.left.saturating_add(EARNED).min(self.size);
    }

    fn refill(&mut self) {
        let passed = self.at.elapsed().as_millis().min(REFILL.as_millis());
        let back = u128::from(self.size) * passed / REFILL.as_millis();
        if back > 0 {
            self.left = self.left.saturating_add(u32::try_from(back).unwrap_or(u32::MAX)).min(self.size);
            self.at = Instant::now();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(why) = self.closed.get().copied() {
            return Poll::Ready(Err(self.close(why)));
        }
        let opening = matches!(self.opening, Opening::Preface(_) | Opening::Settings);
        if opening && self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(self.close(Closed::Silent)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let received = self.received(&buf.filled()[before..]);
        Poll::Ready(received.map_err(|why| self.close(why)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.sent(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
        let mut left = written;
        for buf in bufs {
            let part = left.min(buf.len());
            self.sent(&buf[..part]);
            left -= part;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::{Duration, Instant},
    };

    use super::{Closed, Frames, PREFACE, Watched};

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        let mut frame = vec![size[1], size[2], size[3], kind, 0, 0, 0, 0, 0];
        frame.resize(9 + length, 0);
        frame
    }

    /// Sends these bytes to a watched connection and reads until its end or a second of silence.
    async fn read_all(bytes: Vec<u8>, budget: u32) -> Result<usize, Closed> {
        let (mut peer, ours) = duplex(1 << 20);
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut watched = Watched::new(ours, deadline, budget);
        peer.write_all(&bytes).await.unwrap();
        let (mut buf, mut total) = ([0; 777], 0);
        loop {
            match tokio::time::timeout(Duration::from_secs(60), watched.read(&mut buf)).await {
                Err(_) => return Ok(total),
                Ok(Ok(read)) => total += read,
                Ok(Err(_)) => return Err(*watched.verdict().get().unwrap()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_control_frames_ends_a_connection() {
        let opened = [PREFACE.to_vec(), frame(4, 0)].concat();
        let pings = |n: usize| [opened.clone(), frame(6, 8).repeat(n)].concat();
        assert_eq!(read_all(pings(99), 100).await, Ok(pings(99).len()));
        assert_eq!(read_all(pings(100), 100).await, Err(Closed::Flooded));
        // A large frame costs as much as it makes us do.
        let large = [opened.clone(), frame(4, 64 * 60), frame(4, 64 * 60)].concat();
        assert_eq!(read_all(large, 100).await, Err(Closed::Flooded));
        let calls = [opened, [frame(1, 50), frame(0, 500), frame(3, 4)].concat().repeat(1000)].concat();
        assert_eq!(read_all(calls.clone(), 1).await, Ok(calls.len()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_or_only_half_of_it_is_closed() {
        for opening in [&b""[..], b"P", &PREFACE[..23], PREFACE, &[PREFACE, &[0; 8][..]].concat()] {
            assert_eq!(read_all(opening.to_vec(), 100).await, Err(Closed::Silent), "{opening:?}");
        }
        assert_eq!(read_all(b"GET / HTTP/1.1\r\n".to_vec(), 100).await, Ok(16));
    }

    #[tokio::test(start_paused = true)]
    async fn time_and_what_we_send_allow_more() {
        let (mut peer, ours) = duplex(1 << 20);
        let mut watched = Watched::new(ours, Instant::now() + Duration::from_secs(10), 100);
        let mut buf = vec![0; 1 << 16];
        peer.write_all(&[PREFACE.to_vec(), frame(4, 0), frame(6, 8).repeat(90)].concat()).await.unwrap();
        assert!(watched.read(&mut buf).await.unwrap() > 0);
        tokio::time::advance(Duration::from_secs(5)).await;
        // 9 are left and 50 have come back.
        peer.write_all(&frame(6, 8).repeat(59)).await.unwrap();
        assert!(watched.read(&mut buf).await.unwrap() > 0);
        watched.write_all(&frame(0, 10).repeat(3)).await.unwrap();
        peer.write_all(&frame(6, 8).repeat(30)).await.unwrap();
        assert!(watched.read(&mut buf).await.unwrap() > 0);
        peer.write_all(&frame(6, 8)).await.unwrap();
        assert!(watched.read(&mut buf).await.is_err());
    }

    proptest! {
        #[test]
        fn frames_are_found_however_the_bytes_are_cut(
            frames in prop::collection::vec((0_u8..12, 0_usize..300), 0..40),
            cuts in prop::collection::vec(1_usize..50, 1..40),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(kind, length)| frame(*kind, *length)).collect();
            let (mut scanner, mut found) = (Frames::default(), Vec::new());
            let (mut rest, mut cut) = (&bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, later) = rest.split_at((*cut.next().unwrap()).min(rest.len()));
                scanner.pass(piece, |kind, length| found.push((kind, length)));
                rest = later;
            }
            prop_assert_eq!(found, frames);
        }
    }
}
