//! Where files come from: what may be named, and what is there.

use std::{
    collections::HashSet,
    fs,
    path::{Component, Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, digest};
use reqwest::{Method, Url};

use super::{Inner, MAX_NAME};
use crate::{
    domain::{IngestionSource, Tenant, rules::violation},
    error::{Cause, Error, Rule, Violation},
    extract::{self, File},
    upstream::parse_base_url,
};

/// URLs of one job at most, and bytes of all of them.
const MAX_URLS: usize = 1_000;
const MAX_URL_BYTES: usize = 256 << 10;

/// A file to be read.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) from: Place,
}

/// Where its bytes are.
pub(super) enum Place {
    File(File),
    Url(Url),
}

impl Inner {
    /// A source in the one form that is kept.
    ///
    /// # Errors
    /// `Invalid`.
    pub(super) async fn checked(
        &self,
        tenant: &Tenant,
        source: IngestionSource,
    ) -> Result<IngestionSource, Error> {
        let checked = match source {
            IngestionSource::Urls(urls) => {
                self.urls(&urls)?;
                IngestionSource::Urls(urls)
            }
            IngestionSource::Folder(folder) => {
                let base = self.base(tenant).map_err(refused)?;
                let found = blocking(move || resolve(&base, &folder)).await?;
                IngestionSource::Folder(found.map_err(refused)?.1)
            }
        };
        Ok(checked)
    }

    /// The files of a folder, or that file.
    ///
    /// # Errors
    /// In words for the owner: nothing is known of the folder then.
    pub(super) async fn files_in(&self, tenant: &Tenant, folder: &str) -> Result<Vec<Input>, String> {
        let base = self.base(tenant).map_err(|words| format!("The folder {words}"))?;
        let folder = folder.to_owned();
        let walked = blocking(move || {
            let (path, below) = resolve(&base, &folder).map_err(|words| format!("The folder {words}"))?;
            let inputs = walk(&path, &below)?;
            // Else everything that came from it would be deleted.
            let is_bare = || fs::read_dir(&base).is_ok_and(|mut entries| entries.next().is_none());
            if inputs.is_empty() && is_bare() {
                return Err("The configured folder is empty: is it mounted?".to_owned());
            }
            Ok(inputs)
        });
        walked.await.unwrap_or_else(|_| Err("The folder cannot be read".to_owned()))
    }

    /// What URLs name. Two that would have one name are refused.
    ///
    /// # Errors
    /// `Invalid`, with the place of each.
    pub(super) fn urls(&self, urls: &[String]) -> Result<Vec<Input>, Vec<Violation>> {
        let (mut inputs, mut violations, mut names) = (Vec::new(), Vec::new(), HashSet::new());
        if urls.is_empty() {
            violations.push(violation("urls", Rule::Missing, "is required"));
        }
        if urls.len() > MAX_URLS || urls.iter().map(String::len).sum::<usize>() > MAX_URL_BYTES {
            let message = format!("must be at most {MAX_URLS}, of 256 KiB together");
            return Err(vec![violation("urls", Rule::TooLong(MAX_URLS), message)]);
        }
        for (i, text) in urls.iter().enumerate() {
            let mut refuse =
                |words: &str| violations.push(violation(format!("urls.{i}"), Rule::Pattern, words));
            let parsed = parse_base_url(text).and_then(|url| {
                // An address that may not be called is told at once.
                self.parts.upstream.request(Method::GET, &url).map(|_| url)
            });
            match parsed {
                Err(error) => refuse(&format!("cannot be fetched: {}", error.reason())),
                Ok(url) => {
                    let name = name_of(&url);
                    if names.insert(name.clone()) {
                        inputs.push(Input { name, from: Place::Url(url) });
                    } else {
                        refuse("is named twice");
                    }
                }
            }
        }
        if violations.is_empty() { Ok(inputs) } else { Err(violations) }
    }

    /// The folder below which a tenant's are.
    fn base(&self, tenant: &Tenant) -> Result<PathBuf, &'static str> {
        let root = &self.config.root;
        if root.as_os_str().is_empty() {
            return Err("cannot be read: the service has no `ingestion.root`; upload the files instead");
        }
        // A tenant's name is a slug: nothing of it is a path.
        Ok(if self.parts.multi_tenancy { root.join(&tenant.name) } else { root.clone() })
    }
}

/// Where a path below a folder leads, and its name: from the folder on, after all links.
fn resolve(base: &Path, path: &str) -> Result<(PathBuf, String), &'static str> {
    let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if path.contains('\0') || !Path::new(path).components().all(is_plain) {
        return Err("must be a path below the configured folder, without `..`");
    }
    const NOTHING: &str = "does not exist below the configured folder";
    let base = fs::canonicalize(base).map_err(|_| NOTHING)?;
    let found = fs::canonicalize(base.join(path)).map_err(|_| NOTHING)?;
    // What is outside is as good as what is not there.
    let below = found.strip_prefix(&base).map_err(|_| NOTHING)?;
    let below = below.to_str().ok_or("has a name that is not UTF-8")?.to_owned();
    Ok((found, below))
}

fn walk(path: &Path, below: &str) -> Result<Vec<Input>, String> {
    // Where the folder is on this machine is nobody's business.
    let words = |error: Cause| {
        let words = error.to_string().replace(&path.display().to_string(), "");
        format!("The folder cannot be read: {}", words.trim_start_matches([':', '/', ' ']))
    };
    if path.is_file() {
        let file = extract::file_in(path.parent().unwrap_or(path), path).map_err(words)?;
        return Ok(vec![input(below.to_owned(), file)]);
    }
    let files = extract::folder_at(path).map_err(words)?;
    let named = files.into_iter().map(|file| match below {
        "" => input(file.name.clone(), file),
        _ => input(format!("{below}/{}", file.name), file),
    });
    Ok(named.collect())
}

fn input(name: String, file: File) -> Input {
    Input { name: short(name), from: Place::File(file) }
}

/// What a URL's documents are called. Its query may be a secret, and tells pages apart: a digest stands for it.
fn name_of(url: &Url) -> String {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    short(match url.query() {
        Some(query) => format!("{bare}?{}", mark(query)),
        None => bare.into(),
    })
}

/// A name that is not too long for an id. Of one that is, a digest stands for the end.
fn short(name: String) -> String {
    if name.len() <= MAX_NAME {
        return name;
    }
    format!("{}…{}", &name[..name.floor_char_boundary(MAX_NAME - 16)], mark(&name))
}

fn mark(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn refused(words: &'static str) -> Error {
    Error::Invalid(vec![violation("folder", Rule::Pattern, words)])
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_urls_show_no_query_and_tell_pages_apart() {
        let name = |url: &str| name_of(&Url::parse(url).unwrap());
        let (one, two) = (name("https://x.org/a?token=s3cret"), name("https://x.org/a?token=other"));
        assert!(one.starts_with("https://x.org/a?") && !one.contains("s3cret") && one != two, "{one} {two}");
        assert_eq!(name("https://x.org/a#part"), "https://x.org/a");
        let long = name(&format!("https://x.org/{}", "é".repeat(900)));
        assert!(long.len() <= MAX_NAME, "{}", long.len());
    }

    #[test]
    fn nothing_outside_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (base, outside) = (folder.path().join("root"), folder.path().join("outside"));
        fs::create_dir_all(base.join("in")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, base.join("out")).unwrap();
        std::os::unix::fs::symlink(base.join("in"), base.join("link")).unwrap();
        let found = |path: &str| resolve(&base, path).map(|(_, below)| below);
        for (path, below) in [("", ""), ("in", "in"), ("./in/", "in"), ("link", "in")] {
            assert_eq!(found(path).unwrap(), below, "{path}");
        }
        let absolute = base.join("in").display().to_string();
        for path in ["..", "in/..", "../outside", "out", "none", "in\0", "/", &absolute] {
            assert!(found(path).is_err(), "{path}");
        }
    }
}
