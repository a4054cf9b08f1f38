//! What texts mean, as the configured embedding endpoint has it.

use std::time::Duration;

use tokio::time::timeout;

use crate::{dataset::embedding::Embedder, domain::Document, error::UpstreamError, store::Embedding};

/// How long a search waits for its question's vector.
const PATIENCE: Duration = Duration::from_secs(30);

/// A dataset's embedding endpoint.
pub(super) struct Meaning {
    embedder: Embedder,
}

impl Meaning {
    pub(super) fn new(embedder: Embedder) -> Self {
        Self { embedder }
    }

    /// What its vectors are stored under.
    pub(super) fn name(&self) -> &str {
        self.embedder.fingerprint()
    }

    /// The documents' embeddings, in their order.
    ///
    /// # Errors
    /// As [`Embedder::embed`]: all or nothing.
    pub(super) async fn of_documents<'a>(
        &self,
        documents: impl Iterator<Item = &'a Document>,
    ) -> Result<Vec<Embedding>, UpstreamError> {
        let texts: Vec<String> = documents.map(|document| document.content.clone()).collect();
        let vectors = self.embedder.embed(&texts).await?.into_iter();
        let made_by = self.name();
        Ok(vectors
            .map(|vector| Embedding { made_by: made_by.to_owned(), vector: of_length_1(vector) })
            .collect())
    }

    /// The question's vector; `None` when nothing can be made of it.
    ///
    /// # Errors
    /// As [`Embedder::embed_one`], and `Unavailable` when it takes too long.
    pub(super) async fn of_question(&self, text: &str) -> Result<Option<Vec<f32>>, UpstreamError> {
        let late = |_| UpstreamError::unavailable("its embedding endpoint did not answer in time");
        let vector = of_length_1(timeout(PATIENCE, self.embedder.embed_one(text)).await.map_err(late)??);
        Ok(Some(vector).filter(|vector| !vector.is_empty()))
    }

    /// How many numbers its vectors have now.
    ///
    /// # Errors
    /// As [`Embedder::probe`].
    pub(super) async fn probe(&self) -> Result<usize, UpstreamError> {
        self.embedder.probe().await
    }
}

/// The same direction, so that a product of two is their cosine; empty when there is none.
fn of_length_1(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
    if !length.is_normal() {
        return Vec::new();
    }
    #[expect(clippy::cast_possible_truncation, reason = "vectors are kept with 32 bits")]
    vector.iter_mut().for_each(|number| *number = (f64::from(*number) / length) as f32);
    vector
}

#[cfg(test)]
mod tests {
    use super::of_length_1;

    #[test]
    fn vectors_get_length_1_and_those_without_a_direction_are_none() {
        assert_eq!(of_length_1(vec![3.0, 0.0, -4.0]), [0.6, 0.0, -0.8]);
        assert_eq!(of_length_1(vec![f32::MAX, f32::MAX]), [std::f32::consts::FRAC_1_SQRT_2; 2]);
        assert!(of_length_1(vec![0.0, 0.0]).is_empty());
        assert!(of_length_1(vec![]).is_empty());
    }
}
