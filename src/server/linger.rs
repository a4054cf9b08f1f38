//! The end of a connection whose peer is still sending. To close it then is to reset it, and a reset takes
//! with it what the peer has not read: the very answer that says why we do not want the rest.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Duration, Sleep, sleep},
};

/// How long what still comes is thrown away.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that are thrown away at most.
const MOST: usize = 16 << 20;

/// A connection that says its last word first and closes when the peer has, or soon.
pub(super) struct Lingering<S> {
    stream: S,
    /// Set once our side is closed.
    end: Option<Pin<Box<Sleep>>>,
    left: usize,
}

impl<S> Lingering<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, end: None, left: MOST }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, end, left } = &mut *self;
        if end.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        }
        let end = end.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        let mut space = [MaybeUninit::uninit(); 4 << 10];
        while *left > 0 && end.as_mut().poll(cx).is_pending() {
            let mut thrown_away = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut thrown_away)) {
                Ok(()) if !thrown_away.filled().is_empty() => {
                    *left = left.saturating_sub(thrown_away.filled().len());
                }
                // The peer has closed as well, or is gone.
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::Instant,
    };

    use super::{Lingering, MOST, PATIENCE};

    #[tokio::test(start_paused = true)]
    async fn a_peer_has_so_long_to_read_the_last_word() {
        let (mut peer, ours) = duplex(64);
        let mut ours = Lingering::new(ours);
        ours.write_all(b"no").await.unwrap();
        let begun = Instant::now();
        let (ended, ()) = tokio::join!(ours.shutdown(), async {
            let mut word = String::new();
            peer.read_to_string(&mut word).await.unwrap();
            assert_eq!((word.as_str(), begun.elapsed().as_secs()), ("no", 0));
        });
        ended.unwrap();
        assert_eq!(begun.elapsed(), PATIENCE, "the peer has not closed");
        let (peer, ours) = duplex(64);
        drop(peer);
        Lingering::new(ours).shutdown().await.unwrap();
        assert_eq!(begun.elapsed(), PATIENCE, "the peer has closed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_may_send_so_much_after_it() {
        let (mut peer, ours) = duplex(1 << 20);
        let mut ours = Lingering::new(ours);
        let begun = Instant::now();
        let (ended, sent) = tokio::join!(
            async {
                let ended = ours.shutdown().await;
                drop(ours);
                ended
            },
            async {
                let mut sent = 0;
                while peer.write_all(&[0; 1 << 10]).await.is_ok() {
                    sent += 1 << 10;
                }
                sent
            }
        );
        ended.unwrap();
        assert!((MOST..=MOST + (2 << 20)).contains(&sent), "{sent}");
        assert!(begun.elapsed() < PATIENCE);
    }
}
