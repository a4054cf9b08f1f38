//! Requests, as the scripted servers read them: HTTP/1.1, as far as it matters.

use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::Fault;

pub struct Asked {
    pub path: String,
    pub body: String,
}

/// The next request; `None` when the client is done.
///
/// # Errors
/// When it is no text, and when the client breaks off.
pub async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<Asked>, Fault> {
    loop {
        if let Some(asked) = parse_request(buffer)? {
            return Ok(Some(asked));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// The first request in `buffer`, taken out of it, if it is there as a whole.
fn parse_request(buffer: &mut Vec<u8>) -> Result<Option<Asked>, Fault> {
    let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&buffer[..end])?.to_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let whole = end + 4 + length.unwrap_or(0usize);
    if buffer.len() < whole {
        return Ok(None);
    }
    let body = String::from_utf8(buffer[end + 4..whole].to_vec())?;
    buffer.drain(..whole);
    Ok(Some(Asked { path: head.split(' ').nth(1).unwrap_or_default().to_owned(), body }))
}

/// What stands between two marks.
pub fn between<'t>(text: &'t str, before: &str, after: char) -> Option<&'t str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}
