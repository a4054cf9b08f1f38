//! What `build.rs` generates from `proto/`, the descriptors of it, JSON in its messages, and messages as text.

mod codec;
pub mod csv;
mod json;
mod moment;

pub use codec::Codec;
pub use generated::*;
pub use json::{from_struct, to_struct};
pub use moment::moment;

/// The encoded `FileDescriptorSet`, with imports.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/syft.bin"));

/// Metadata of a failed query: an encoded `PolicyMetadata`.
pub const POLICY_METADATA: &str = "x-policy-metadata-bin";

#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code"
)]
mod generated {
    tonic::include_proto!("syft.space.v1");
}
