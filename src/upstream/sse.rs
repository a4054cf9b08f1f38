//! Server-sent events: bytes in, the data of whole events out, however the bytes were cut.

/// Bytes one event may have.
const MAX_EVENT: usize = 1 << 20;

/// Decodes a stream of events. Comments and fields other than `data` are passed over; so is an event
/// that the end of the stream cut off. Allocates nothing once its buffers have grown to an event's size.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the present line begins.
    line: usize,
    /// How far the present line has been looked at.
    looked: usize,
    /// A line has ended with CR; an LF that follows belongs to it.
    after_cr: bool,
    /// The present event's data, or the last one's when `has_data` is false.
    data: String,
    has_data: bool,
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
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.line);
        self.looked -= self.line;
        self.line = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The data of the next whole event; `None` until more bytes are pushed.
    ///
    /// # Errors
    /// [`Malformed`]; the decoder is of no use afterwards.
    pub fn next_event(&mut self) -> Result<Option<&str>, Malformed> {
        while let Some((start, end)) = self.next_line()? {
            if start < end {
                self.read(start, end)?;
            } else if std::mem::take(&mut self.has_data) {
                return Ok(Some(&self.data));
            }
        }
        Ok(None)
    }

    fn next_line(&mut self) -> Result<Option<(usize, usize)>, Malformed> {
        if self.after_cr && self.line < self.buffer.len() {
            self.after_cr = false;
            if self.buffer[self.line] == b'\n' {
                self.line += 1;
                self.looked = self.line;
            }
        }
        let end = self.buffer[self.looked..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(end) = end.map(|end| self.looked + end) else {
            self.looked = self.buffer.len();
            return if self.fits(self.buffer.len() - self.line) { Ok(None) } else { Err(Malformed::TooLong) };
        };
        let line = (self.line, end);
        self.after_cr = self.buffer[end] == b'\r';
        self.line = end + 1;
        self.looked = self.line;
        if self.fits(line.1 - line.0) { Ok(Some(line)) } else { Err(Malformed::TooLong) }
    }

    /// Whether so many bytes more are not too many for one event.
    fn fits(&self, more: usize) -> bool {
        let so_far = if self.has_data { self.data.len() } else { 0 };
        so_far + more <= MAX_EVENT
    }

    fn read(&mut self, start: usize, end: usize) -> Result<(), Malformed> {
        let value = match self.buffer[start..end].strip_prefix(b"data") {
            Some([]) => &[],
            Some([b':', b' ', value @ ..]) | Some([b':', value @ ..]) => value,
            _ => return Ok(()),
        };
        let value = std::str::from_utf8(value).map_err(|_| Malformed::NotUtf8)?;
        match self.has_data {
            true => self.data.push('\n'),
            false => self.data.clear(),
        }
        self.has_data = true;
        self.data.push_str(value);
        Ok(())
    }
}
