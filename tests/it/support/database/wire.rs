//! A wire to a database server that can lose what it carries without anybody noticing.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Database;

/// Carries bytes to a server and back.
pub struct Wire {
    /// How often everything that was connected has been lost.
    losses: watch::Sender<u32>,
    stop: CancellationToken,
}

impl Wire {
    /// A wire to the server of `database`, which is reached over it from now on.
    pub async fn to(database: &mut Database) -> Self {
        let server = database.url.split(['@', '/']).nth(3).unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        database.url = database.url.replace(&server, &address.to_string());
        let wire = Self { losses: watch::Sender::new(0), stop: CancellationToken::new() };
        let (losses, stop, carrying) = (wire.losses.clone(), wire.stop.clone(), TaskTracker::new());
        carrying.clone().spawn(async move {
            while let Some(Ok((client, _))) = stop.run_until_cancelled(listener.accept()).await {
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = TcpStream::connect(&server).await.unwrap().into_split();
                for (from, to) in [(from_client, to_server), (from_server, to_client)] {
                    let (lost, stop) = (losses.subscribe(), stop.clone());
                    carrying.spawn(async move { stop.run_until_cancelled(carry(from, to, lost)).await });
                }
            }
        });
        wire
    }

    /// From now on nothing arrives on the connections that there are; they stay open. New ones work.
    pub fn lose(&self) {
        self.losses.send_modify(|losses| *losses += 1);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut lost: watch::Receiver<u32>) {
    let mut bytes = vec![0; 16 << 10];
    loop {
        let read = tokio::select! {
            biased;
            _ = lost.changed() => return std::future::pending().await,
            read = from.read(&mut bytes) => read,
        };
        match read {
            Ok(read) if read > 0 && to.write_all(&bytes[..read]).await.is_ok() => {}
            _ => return,
        }
    }
}
