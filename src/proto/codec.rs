//! How messages become bytes: as prost does it, in smaller buffers than tonic's.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::BufferSettings;
use tonic_prost::{ProstDecoder, ProstEncoder};

/// Bytes that an encoder or decoder begins with. tonic's 8 KiB are kept for as long as a stream is open,
/// and a token needs none of them.
const BEGIN: usize = 1 << 10;
/// Bytes of ready messages that are sent together: tonic's own number.
const TOGETHER: usize = 32 << 10;

/// The codec of the generated services and clients.
pub struct Codec<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for Codec<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E, D> tonic::codec::Codec for Codec<E, D>
where
    E: Message + Send + 'static,
    D: Message + Default + Send + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = ProstEncoder<E>;
    type Decoder = ProstDecoder<D>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(BufferSettings::new(BEGIN, TOGETHER))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::new(BEGIN, TOGETHER))
    }
}
