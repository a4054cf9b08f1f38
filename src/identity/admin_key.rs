//! Keys that a laptop's space makes for itself on its first start.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

/// A key and the file that holds it.
pub struct KeyFile {
    pub key: SecretString,
    pub path: PathBuf,
}

/// Reads the key in `folder/name`, or writes `fresh` there, for its owner's eyes only. Of processes
/// that start together one writes and the others read.
///
/// # Errors
/// What the file system says.
pub fn read_or_create(folder: &Path, name: &str, fresh: &str) -> io::Result<KeyFile> {
    let path = folder.join(name);
    fs::create_dir_all(folder)?;
    if !path.exists() {
        // Written aside and linked into place, so that nobody reads half a key.
        let aside = folder.join(format!(".{name}.{}", uuid::Uuid::now_v7()));
        let mut file = fs::File::options().create_new(true).write(true).mode(0o600).open(&aside)?;
        file.write_all(fresh.as_bytes())?;
        file.sync_all()?;
        let linked = fs::hard_link(&aside, &path);
        fs::remove_file(&aside)?;
        if let Err(error) = linked
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
    }
    let key = fs::read_to_string(&path)?.trim().to_owned().into();
    Ok(KeyFile { key, path })
}
