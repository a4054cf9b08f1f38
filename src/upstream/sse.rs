//! Server-sent events: bytes in, the data of whole events out, however the bytes were cut.

use std::collections::VecDeque;

/// Bytes one event may have.
const MAX_EVENT: usize = 1 << 20;

/// Decodes a stream of events. Comments and fields other than `data` are passed over; so is an event
/// that the end of the stream cut off.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    data: Option<String>,
    after_cr: bool,
    ready: VecDeque<String>,
}

/// The stream is not one of server-sent events that we are willing to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("an event is longer than 1 MiB")]
    TooLong,
    #[error("an event is not UTF-8")]
    NotUtf8,
}

impl Decoder {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Malformed`]; the decoder is of no use afterwards.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                return self.keep(bytes);
            };
            self.keep(&bytes[..end])?;
            self.after_cr = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            self.end_of_line()?;
        }
        Ok(())
    }

    /// The data of the next whole event.
    pub fn next_event(&mut self) -> Option<String> {
        self.ready.pop_front()
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let so_far = self.data.as_ref().map_or(0, String::len);
        if so_far + self.line.len() + bytes.len() > MAX_EVENT {
            return Err(Malformed::TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_of_line(&mut self) -> Result<(), Malformed> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.ready.extend(self.data.take());
            return Ok(());
        }
        let value = match line.strip_prefix(b"data") {
            Some([]) => &[],
            Some([b':', b' ', value @ ..]) | Some([b':', value @ ..]) => value,
            _ => return Ok(()),
        };
        let value = std::str::from_utf8(value).map_err(|_| Malformed::NotUtf8)?;
        match &mut self.data {
            None => self.data = Some(value.to_owned()),
            Some(data) => {
                data.push('\n');
                data.push_str(value);
            }
        }
        Ok(())
    }
}
