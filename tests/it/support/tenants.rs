//! Every RPC of our services, called without knowing what it is.

use std::time::Duration;

use bytes::{Buf, BufMut};
use prost::Message;
use syft_endpoints::proto::DESCRIPTORS;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

use super::space::Space;

/// `Service/Method` of everything in our descriptors.
pub fn methods() -> Vec<String> {
    let files = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let services =
        files.file.iter().filter(|file| file.package() == "syft.space.v1").flat_map(|file| &file.service);
    let methods: Vec<String> = services
        .flat_map(|service| {
            service.method.iter().map(move |method| format!("{}/{}", service.name(), method.name()))
        })
        .collect();
    assert!(methods.len() > 35, "{methods:?}");
    methods
}

/// Calls a method with an empty message and returns how it ended; OK counts as a status.
pub async fn call_raw(space: &Space, method: &str, metadata: &[(&'static str, &str)]) -> Status {
    call_with(space, method, metadata, Vec::new()).await
}

/// Calls a method with these bytes as its message.
pub async fn call_with(
    space: &Space,
    method: &str,
    metadata: &[(&'static str, &str)],
    message: Vec<u8>,
) -> Status {
    let channel = Channel::from_shared(space.url()).unwrap().connect().await.unwrap();
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let mut request = Request::new(tokio_stream::once(message));
    for (name, value) in metadata {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    let path = format!("/syft.space.v1.{method}").parse().unwrap();
    let answered = async {
        let mut answer = grpc.streaming(request, path, Bytes).await?.into_inner();
        while answer.message().await?.is_some() {}
        Ok(())
    };
    let ended = tokio::time::timeout(Duration::from_secs(20), answered).await.expect("no answer");
    ended.err().unwrap_or_else(|| Status::ok(""))
}

/// A codec that leaves messages as they are.
#[derive(Clone, Copy)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}
