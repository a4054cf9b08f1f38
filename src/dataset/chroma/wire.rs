//! What Chroma is asked and answers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::super::similarity::Distance;
use crate::{domain::Reference, error::UpstreamError};

/// A collection, as far as searches need it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Collection {
    pub(super) id: Uuid,
    pub(super) distance: Distance,
    /// `None` while it is empty.
    pub(super) dimensions: Option<usize>,
}

#[derive(Deserialize)]
struct Described {
    id: Uuid,
    #[serde(default)]
    dimension: Option<usize>,
    #[serde(default)]
    configuration_json: Value,
    #[serde(default)]
    metadata: Value,
}

/// A search by one vector.
#[derive(Serialize)]
pub(super) struct Query<'a> {
    pub(super) query_embeddings: [&'a [f32]; 1],
    pub(super) n_results: usize,
    pub(super) include: &'a [&'a str],
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub(super) filter: Option<&'a Map<String, Value>>,
}

/// What was found, field by field.
#[derive(Deserialize)]
struct Answer {
    ids: PerQuery<String>,
    distances: PerQuery<Option<f64>>,
    #[serde(default)]
    documents: Option<PerQuery<Option<String>>>,
    #[serde(default)]
    metadatas: Option<PerQuery<Option<Map<String, Value>>>>,
}

/// One list for each query; ours has one.
type PerQuery<T> = Vec<Vec<T>>;

/// Reads the description of a collection. Its space stands in its configuration, or in its metadata if
/// it is an old one.
///
/// # Errors
/// `Unavailable` for anything else; `Rejected` for a space that has no similarity.
pub(super) fn collection(body: &[u8]) -> Result<Collection, UpstreamError> {
    let Described { id, dimension, configuration_json, metadata } =
        serde_json::from_slice(body).map_err(|e| malformed(&e))?;
    let configured =
        ["hnsw", "spann"].iter().find_map(|index| configuration_json.get(index)?.get("space")?.as_str());
    let distance = match configured.or_else(|| metadata.get("hnsw:space")?.as_str()) {
        Some("cosine") => Distance::Cosine,
        Some("ip") => Distance::InnerProduct,
        Some("l2") | None => Distance::SquaredL2,
        Some(_) => return Err(UpstreamError::rejected("its collection has a space that is not known")),
    };
    Ok(Collection { id, distance, dimensions: dimension })
}

/// Reads what was found.
///
/// # Errors
/// `Unavailable` for anything else.
pub(super) fn found(body: &[u8], distance: Distance) -> Result<Vec<Reference>, UpstreamError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|e| malformed(&e))?;
    let (ids, distances) = (first(Some(answer.ids)), first(Some(answer.distances)));
    let (mut documents, mut metadatas) =
        (first(answer.documents).into_iter(), first(answer.metadatas).into_iter());
    if ids.len() != distances.len() {
        return Err(UpstreamError::unavailable(MALFORMED));
    }
    let found = ids.into_iter().zip(distances).map(|(document_id, measured)| Reference {
        document_id,
        content: documents.next().flatten().unwrap_or_default(),
        similarity_score: distance.similarity(measured.unwrap_or(f64::NAN)),
        metadata: Some(metadatas.next().flatten().unwrap_or_default()),
    });
    Ok(found.collect())
}

const MALFORMED: &str = "its answer is malformed";

fn first<T>(lists: Option<PerQuery<T>>) -> Vec<T> {
    lists.and_then(|lists| lists.into_iter().next()).unwrap_or_default()
}

/// The error's own words quote the answer.
fn malformed(error: &serde_json::Error) -> UpstreamError {
    let place = format!("invalid at line {} column {}", error.line(), error.column());
    UpstreamError::unavailable(MALFORMED).because(place)
}
