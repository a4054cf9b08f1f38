//! Folders to lists of files, and files to bytes.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use ignore::WalkBuilder;

use super::{Format, MAX_FILE, Unreadable};
use crate::error::Cause;

/// Files in one list at most.
pub const MAX_FILES: usize = 500_000;

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub path: PathBuf,
    /// What its documents' ids begin with: its path below what was named.
    pub name: String,
    pub format: Format,
    /// The folder that it was found in, and must be in when it is read.
    root: Option<PathBuf>,
}

/// The files that `paths` name, and those we can read in the folders that they name, by name. In folders
/// hidden files are passed over, what `.gitignore` files leave out, and symbolic links, whatever they
/// point to: only a path in `paths` may be one.
///
/// # Errors
/// In words for who has named them: a path leads nowhere or to a file of no known format, a folder cannot
/// be read, no file was found, too many were, or two of one name.
pub fn files(paths: &[impl AsRef<Path>]) -> Result<Vec<File>, Cause> {
    let mut files = Vec::new();
    for root in paths {
        let root = root.as_ref();
        let Ok(found) = fs::metadata(root) else {
            return Err(format!("{}: no such file or folder", root.display()).into());
        };
        if found.is_file() {
            files.push(single(root)?);
        } else {
            walk(root, &mut files)?;
        }
    }
    if files.is_empty() {
        return Err(format!("there is no file that can be read: {}", Format::EXTENSIONS).into());
    }
    tell_apart(&files)?;
    Ok(files)
}

/// As [`files`], those in one folder, which may be none.
///
/// # Errors
/// In words: the folder cannot be read, or has too many.
pub fn folder(root: &Path) -> Result<Vec<File>, Cause> {
    let mut files = Vec::new();
    let walk = WalkBuilder::new(root).parents(false).git_global(false).to_owned();
    add(root, walk, &mut files)?;
    tell_apart(&files)?;
    Ok(files)
}

/// As [`folder`], of a canonical path: its files must be in it when they are read, whatever has been put in its
/// place meanwhile.
///
/// # Errors
/// In words: the folder cannot be read, or has too many.
pub fn folder_at(root: &Path) -> Result<Vec<File>, Cause> {
    let files = folder(root)?.into_iter();
    Ok(files.map(|file| File { root: Some(root.to_owned()), ..file }).collect())
}

/// A file in a folder, which it must be in when it is read. Both paths are canonical.
///
/// # Errors
/// In words: it is of no known format.
pub fn file_in(root: &Path, path: &Path) -> Result<File, Cause> {
    Ok(File { root: Some(root.to_owned()), ..single(path)? })
}

fn single(path: &Path) -> Result<File, Cause> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let format = Format::of(&name, None)
        .ok_or_else(|| format!("{}: not a kind of file that can be read", path.display()))?;
    Ok(File { path: path.to_owned(), name, format, root: None })
}

fn walk(root: &Path, files: &mut Vec<File>) -> Result<(), Cause> {
    add(root, WalkBuilder::new(root), files)
}

fn add(root: &Path, mut walk: WalkBuilder, files: &mut Vec<File>) -> Result<(), Cause> {
    let real = fs::canonicalize(root)?;
    let sorted = |a: &OsStr, b: &OsStr| a.cmp(b);
    walk.require_git(false).follow_links(false).sort_by_file_name(sorted);
    for entry in walk.build() {
        let entry = entry?;
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        let name = entry.path().strip_prefix(root).unwrap_or(entry.path()).to_string_lossy().into_owned();
        let Some(format) = Format::of(&name, None) else { continue };
        if files.len() == MAX_FILES {
            return Err(format!("{}: more than {MAX_FILES} files", root.display()).into());
        }
        files.push(File { path: entry.into_path(), name, format, root: Some(real.clone()) });
    }
    Ok(())
}

/// Two files of one name would replace each other's documents.
fn tell_apart(files: &[File]) -> Result<(), Cause> {
    let mut seen = HashMap::new();
    for file in files {
        if let Some(other) = seen.insert(&file.name, &file.path) {
            let (one, two) = (other.display(), file.path.display());
            return Err(format!(
                "{one} and {two} have one name, {}: load them from a folder above both",
                file.name
            )
            .into());
        }
    }
    Ok(())
}

impl File {
    /// The bytes of the file. Blocks its thread.
    ///
    /// # Errors
    /// The file cannot be read, is larger than [`MAX_FILE`], or is no longer a file in the folder that it
    /// was found in: links may have been put in its place since.
    pub fn read(&self) -> Result<Vec<u8>, Unreadable> {
        // A pipe would keep us until somebody writes into it.
        if !fs::metadata(&self.path).map_err(unreadable)?.is_file() {
            return Err(Unreadable::new("not a file any more"));
        }
        let file = fs::File::open(&self.path).map_err(unreadable)?;
        if let Some(root) = &self.root {
            self.inside(root, &file)?;
        }
        let mut bytes = Vec::new();
        file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() > MAX_FILE { Err(Unreadable::too_large()) } else { Ok(bytes) }
    }

    /// Asked of the open file, so that nothing can be put in its place between the question and the
    /// reading.
    fn inside(&self, root: &Path, file: &fs::File) -> Result<(), Unreadable> {
        let real = fs::canonicalize(&self.path).map_err(unreadable)?;
        let (opened, named) = (file.metadata(), fs::symlink_metadata(&real));
        let (opened, named) = (opened.map_err(unreadable)?, named.map_err(unreadable)?);
        let same = (opened.dev(), opened.ino()) == (named.dev(), named.ino());
        if same && real.starts_with(root) {
            return Ok(());
        }
        Err(Unreadable::new("leads out of its folder"))
    }
}

/// The system's words do not name the path.
fn unreadable(error: std::io::Error) -> Unreadable {
    Unreadable::new(error.to_string())
}
