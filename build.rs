//! Compiles `proto/` with protox (pure Rust: no `protoc` on the machine) and generates the tonic
//! services. The descriptor set is kept beside them for reflection and for the tests that walk it.

use std::{env, error::Error, fs, path::PathBuf};

use protox::prost::Message as _;

const PROTOS: [&str; 10] = [
    "syft/space/v1/query.proto",
    "syft/space/v1/error_reason.proto",
    "syft/space/v1/endpoint_service.proto",
    "syft/space/v1/dataset_service.proto",
    "syft/space/v1/model_service.proto",
    "syft/space/v1/policy_service.proto",
    "syft/space/v1/access_service.proto",
    "syft/space/v1/marketplace_service.proto",
    "syft/space/v1/usage_service.proto",
    "syft/space/v1/ingestion_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(PROTOS)?;
    let files = compiler.file_descriptor_set();
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("syft.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure().codec_path("crate::proto::Codec").compile_fds(files)?;
    Ok(())
}
