//! Pieces that files left behind when they became shorter.

use syft_endpoints::{
    error::Cause,
    proto::{DeleteDocumentsRequest, Document},
};

use crate::cli::{client::Client, output::failure};

/// Ids in one message at most.
const PER_MESSAGE: usize = 1000;
/// Numbers behind a file's last that are asked for at first, and the longest gap between two pieces.
const NEAR: usize = 50;

/// A file that has been read, and the number of its last piece.
pub(super) struct Read {
    name: String,
    last: usize,
}

impl Read {
    pub(super) fn new(name: &str, documents: &[Document]) -> Self {
        let number = |id: &str| id.strip_prefix(name)?.strip_prefix('#')?.parse().ok();
        let last = documents.iter().filter_map(|document| number(&document.id)).max();
        Self { name: name.to_owned(), last: last.unwrap_or(0) }
    }

    /// So many ids, from one so far behind the last on.
    fn ids(&self, from: usize, count: usize) -> impl Iterator<Item = String> {
        (self.last + from + 1..=self.last + from + count).map(|number| format!("{}#{number}", self.name))
    }
}

/// Deletes the pieces with numbers behind the last of each file. Returns how many there were.
///
/// Ids that do not exist are passed over, so they are not looked up before: a list of the dataset would
/// be all of its texts.
pub(super) async fn delete(client: &Client, dataset: &str, files: &[Read]) -> Result<i64, Cause> {
    let mut deleted = 0;
    for files in files.chunks(PER_MESSAGE / NEAR) {
        let near = files.iter().flat_map(|file| file.ids(0, NEAR)).collect();
        let found = remove(client, dataset, near).await?;
        deleted += found;
        if found > 0 {
            for file in files {
                deleted += delete_rest(client, dataset, file).await?;
            }
        }
    }
    Ok(deleted)
}

async fn delete_rest(client: &Client, dataset: &str, file: &Read) -> Result<i64, Cause> {
    let (mut deleted, mut from) = (0, NEAR);
    loop {
        let found = remove(client, dataset, file.ids(from, PER_MESSAGE).collect()).await?;
        if found == 0 {
            return Ok(deleted);
        }
        deleted += found;
        from += PER_MESSAGE;
    }
}

async fn remove(client: &Client, dataset: &str, ids: Vec<String>) -> Result<i64, Cause> {
    let request = DeleteDocumentsRequest { dataset: dataset.to_owned(), ids };
    let answer = client.datasets().delete_documents(request).await.map_err(|status| failure(&status))?;
    Ok(answer.into_inner().deleted)
}
