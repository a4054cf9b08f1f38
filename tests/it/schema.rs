//! The wire format changes only on purpose.

use std::{fs, path::Path};

use prost::Message;
use prost_types::FileDescriptorSet;
use syft_endpoints::proto::DESCRIPTORS;

/// Our files, without comments and places in the source, which may change.
fn descriptors() -> FileDescriptorSet {
    let mut files = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    for file in &mut files.file {
        file.source_code_info = None;
    }
    files
}

/// `tests/run` has `buf breaking` compare the snapshot with `proto/`: that says what breaks clients.
/// Here any change shows up. To accept one: `SYFT_TEST_ACCEPT=1 cargo test descriptors`.
#[test]
fn the_descriptors_are_those_of_the_snapshot() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots/descriptors.binpb");
    let present = descriptors().encode_to_vec();
    if std::env::var_os("SYFT_TEST_ACCEPT").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &present).unwrap();
    }
    let accepted = fs::read(&path).expect("there is no snapshot");
    assert!(accepted == present, "the protobuf API has changed; see the comment at this test");
}
