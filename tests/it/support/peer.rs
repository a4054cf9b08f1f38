//! A peer that speaks HTTP/2 byte by byte, as no client would.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;

pub struct Peer {
    stream: TcpStream,
}

pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![size[1], size[2], size[3], kind, 0, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

impl Peer {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap() }
    }

    /// A connection on which a client could begin calls.
    pub async fn open(address: SocketAddr) -> Self {
        let mut peer = Self::connect(address).await;
        peer.send(&[PREFACE, &frame(SETTINGS, &[])].concat()).await;
        peer
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends frames until the server has closed the connection; how many were sent. Fails when it bears
    /// more than `most`.
    pub async fn flood(mut self, frame: &[u8], most: usize) -> usize {
        let mut answers = [0; 16 << 10];
        for sent in (0..most).step_by(100) {
            if self.stream.write_all(&frame.repeat(100)).await.is_err() {
                return sent;
            }
            // Answers are taken, so that the server is never held up by us.
            while let Ok(Ok(read)) = timeout(Duration::ZERO, self.stream.read(&mut answers)).await {
                if read == 0 {
                    return sent;
                }
            }
        }
        // The last of it may still be on its way.
        assert!(self.closed_within(Duration::from_secs(5)).await.is_some(), "the server bears it");
        most
    }

    /// How long it took until the server closed the connection; `None` when it did not.
    pub async fn closed_within(&mut self, limit: Duration) -> Option<Duration> {
        let (started, mut answers) = (Instant::now(), [0; 4096]);
        let closed = async { while matches!(self.stream.read(&mut answers).await, Ok(1..)) {} };
        timeout(limit, closed).await.ok().map(|()| started.elapsed())
    }
}
