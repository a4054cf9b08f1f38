//! Small messages of a stream, padded to 256 bytes.
//!
//! h2, which tonic's clients read with, charges a connection for every DATA frame of less than 256 bytes
//! on arrival and gives the charge back when it is read. A client that stalls for two seconds loses
//! every stream of its connection (`too_many_data_frames`), long before flow control shows that it lags.
//! Frames of 256 bytes are not charged, so flow control decides, and then the pipeline joins what piles
//! up. The padding is a field that no message has: readers pass over it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{FutureExt, future::Map};
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tonic::body::Body;
use tower::Service;

/// The calls whose messages are padded.
const PATH: &str = "/syft.space.v1.EndpointService/StreamQuery";
/// Frames of this size are not charged.
const SIZE: usize = 256;
/// gRPC's prefix of a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Field 15, bytes: reserved in `StreamQueryResponse`.
const TAG: u8 = 15 << 3 | 2;
const ZEROS: [u8; SIZE] = [0; SIZE];

/// Pads what the services below stream.
#[derive(Clone)]
pub struct Pad<S> {
    inner: S,
}

struct Padded(Body);

type Answer = Result<Response<Body>, Infallible>;

impl<S> Pad<S> {
    pub fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B> Service<Request<B>> for Pad<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Map<S::Future, fn(Answer) -> Answer>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let pad: fn(Answer) -> Answer = match request.uri().path() == PATH {
            true => |answer| answer.map(|response| response.map(|body| Body::new(Padded(body)))),
            false => |answer| answer,
        };
        self.inner.call(request).map(pad)
    }
}

impl http_body::Body for Padded {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(padded))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // The padding is not known ahead.
        SizeHint::default()
    }
}

/// The same messages in a frame of 256 bytes or more; the last one carries what is missing.
fn padded(frame: Bytes) -> Bytes {
    // A tag and a length of one or two bytes.
    let Some(missing) = SIZE.checked_sub(frame.len()).filter(|missing| *missing > 0) else { return frame };
    let Some((start, length)) = last_message(&frame) else { return frame };
    let header = if missing < 130 { 2 } else { 3 };
    let zeros = missing.saturating_sub(header);
    let mut padded = BytesMut::with_capacity(SIZE + 2);
    padded.put_slice(&frame[..start + 1]);
    padded.put_u32(length + u32::try_from(header + zeros).unwrap_or_default());
    padded.put_slice(&frame[start + PREFIX..]);
    padded.put_u8(TAG);
    match u8::try_from(zeros) {
        Ok(short) if header == 2 => padded.put_u8(short),
        _ => {
            padded.put_u8((zeros & 0x7f) as u8 | 0x80);
            padded.put_u8((zeros >> 7) as u8);
        }
    }
    padded.put_slice(&ZEROS[..zeros]);
    padded.freeze()
}

/// Where the last message begins and how long it is. `None` unless the frame is a sequence of whole
/// messages and the last is not compressed.
fn last_message(frame: &[u8]) -> Option<(usize, u32)> {
    let mut start = 0;
    loop {
        let prefix: [u8; PREFIX] = frame.get(start..start + PREFIX)?.try_into().ok()?;
        let [compressed, length @ ..] = prefix;
        let length = u32::from_be_bytes(length);
        let end = start + PREFIX + usize::try_from(length).ok()?;
        if end == frame.len() {
            return (compressed == 0).then_some((start, length));
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, Bytes, BytesMut};
    use proptest::prelude::*;
    use prost::Message;

    use super::{PREFIX, SIZE, padded};
    use crate::proto::{Delta, StreamQueryResponse, stream_query_response::Event};

    fn delta(content: &str) -> StreamQueryResponse {
        StreamQueryResponse { event: Some(Event::Delta(Delta { content: content.to_owned() })) }
    }

    fn frame(texts: &[String]) -> Bytes {
        let mut frame = BytesMut::new();
        for text in texts {
            let message = delta(text).encode_to_vec();
            frame.put_u8(0);
            frame.put_u32(u32::try_from(message.len()).unwrap());
            frame.put_slice(&message);
        }
        frame.freeze()
    }

    fn texts(mut frame: &[u8]) -> Vec<StreamQueryResponse> {
        let mut found = Vec::new();
        while !frame.is_empty() {
            let length = u32::from_be_bytes(frame[1..PREFIX].try_into().unwrap()) as usize;
            found.push(StreamQueryResponse::decode(&frame[PREFIX..PREFIX + length]).unwrap());
            frame = &frame[PREFIX + length..];
        }
        found
    }

    proptest! {
        #[test]
        fn any_messages_are_read_alike_and_no_frame_is_small(
            texts_in in prop::collection::vec("[a-zé]{0,120}", 1..5),
        ) {
            let padded = padded(frame(&texts_in));
            prop_assert!((SIZE..=SIZE + 2).contains(&padded.len()) || frame(&texts_in).len() >= SIZE);
            let expected: Vec<_> = texts_in.iter().map(|text| delta(text)).collect();
            prop_assert_eq!(texts(&padded), expected);
        }

        #[test]
        fn what_is_no_sequence_of_messages_stays_as_it_is(bytes in prop::collection::vec(1_u8.., 0..300)) {
            prop_assert_eq!(padded(Bytes::from(bytes.clone())), bytes);
        }
    }
}
