//! Role `flood`: an attacker. It says HTTP/2's preface on a raw socket and then sends nothing but control
//! frames, as fast as they are taken; closed out, it comes back after a moment.

use std::{
    env,
    io::{BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{Fault, stats::percentile};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Frames that leave in one write.
const TOGETHER: usize = 64;
const COMES_BACK_AFTER: Duration = Duration::from_millis(50);
const ACK: u8 = 1;

/// An attacker that is at work.
pub struct Attack {
    child: Child,
    frames: &'static str,
}

impl Attack {
    /// Starts an attacker that stops by itself.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(address: SocketAddr, frames: &'static str, lasts: Duration) -> Result<Self, Fault> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["flood", &address.to_string(), frames, &lasts.as_secs_f64().to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        Ok(Self { child, frames })
    }

    /// Waits for its end. Returns what it has to say.
    ///
    /// # Errors
    /// When it failed.
    pub fn end(mut self) -> Result<(&'static str, Value), Fault> {
        let mut told = String::new();
        self.child.stdout.take().ok_or("no output")?.read_to_string(&mut told)?;
        Ok((self.frames, serde_json::from_str(&told)?))
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn run(address: &str, frames: &str, seconds: &str) -> Result<(), Fault> {
    let (address, lasts) = (address.parse()?, Duration::from_secs_f64(seconds.parse()?));
    let frame = match frames {
        "ping" => frame(6, &[7; 8]),
        "settings" => frame(4, &[]),
        _ => return Err("ping or settings".into()),
    };
    let until = Instant::now() + lasts;
    let (mut sent, mut accepted, mut closed) = (0, 0, Vec::new());
    while Instant::now() < until {
        let ended = connection(address, &frame, until)?;
        sent += ended.sent;
        accepted += ended.accepted;
        if ended.closed {
            closed.push(ended.accepted);
            rest(until.min(Instant::now() + COMES_BACK_AFTER));
        }
    }
    let before_close = (!closed.is_empty()).then(|| percentile(&closed, 0.5));
    let told = json!({
        "frames sent": sent, "frames answered": accepted, "times closed out": closed.len(),
        "frames answered before it was closed out, p50": before_close,
    });
    println!("{told}");
    Ok(())
}

struct Ended {
    sent: u64,
    /// Frames that the service acknowledged.
    accepted: u64,
    /// By the service.
    closed: bool,
}

/// One connection, until it is closed or the time is over. One thread writes, this one reads, a third
/// ends both: either may be waiting for a service that does nothing.
fn connection(address: SocketAddr, frame: &[u8], until: Instant) -> Result<Ended, Fault> {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return Ok(Ended { sent: 0, accepted: 0, closed: true });
    };
    stream.set_nodelay(true)?;
    let greeted = stream.write_all(&[PREFACE, &self::frame(4, &[])].concat());
    let (mut writer, watched, together) = (stream.try_clone()?, stream.try_clone()?, frame.repeat(TOGETHER));
    thread::spawn(move || {
        rest(until);
        // It may have ended already.
        let _ = watched.shutdown(Shutdown::Both);
    });
    let writes = thread::spawn(move || {
        let mut sent = 0;
        while writer.write_all(&together).is_ok() {
            sent += TOGETHER as u64;
        }
        sent
    });
    let accepted = greeted.map_or(0, |()| acknowledged(&stream, frame[3]));
    let closed = Instant::now() < until;
    // The service may have ended only its own direction.
    let _ = stream.shutdown(Shutdown::Both);
    let sent = writes.join().map_err(|_| "the writer panicked")?;
    Ok(Ended { sent, accepted, closed })
}

fn rest(until: Instant) {
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

/// How many frames of a kind are acknowledged until the connection ends.
fn acknowledged(stream: &TcpStream, kind: u8) -> u64 {
    let (mut reader, mut count) = (BufReader::with_capacity(64 << 10, stream), 0);
    let (mut head, mut payload) = ([0; 9], Vec::new());
    while reader.read_exact(&mut head).is_ok() {
        payload.resize(usize::from(head[1]) << 8 | usize::from(head[2]), 0);
        if reader.read_exact(&mut payload).is_err() {
            break;
        }
        count += u64::from(head[3] == kind && head[4] & ACK == ACK);
    }
    count
}

/// A frame on stream 0, without flags.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, payload.len() as u8, kind, 0, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}
