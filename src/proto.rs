//! What `build.rs` generates from `proto/`, and the descriptors of it.

#![expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code"
)]

tonic::include_proto!("syft.space.v1");

/// The encoded `FileDescriptorSet`, with imports.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/syft.bin"));
