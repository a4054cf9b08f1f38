//! From what engines measure to what callers are told: a similarity between 0 and 1.

use crate::domain::{Reference, References, SearchOptions};

/// How an engine measures the distance of two vectors. Vectors of length 1, as most models make them, have
/// one similarity in all of these: half of one plus the cosine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distance {
    /// One minus the cosine.
    Cosine,
    /// One minus the inner product.
    InnerProduct,
    /// The square of the Euclidean distance.
    SquaredL2,
}

impl Distance {
    /// The similarity at a distance. Vectors of other lengths can be beyond 0 and 1, which is cut off; a
    /// distance that is no number is one of nothing, such as a vector of zeros.
    pub(super) fn similarity(self, distance: f64) -> f64 {
        let similarity = match self {
            Self::Cosine | Self::InnerProduct => 1.0 - distance / 2.0,
            Self::SquaredL2 => 1.0 - distance / 4.0,
        };
        if similarity.is_nan() { 0.0 } else { similarity.clamp(0.0, 1.0) }
    }
}

/// The answer to a search: what is similar enough, most similar first, ties as they came, and no more
/// than was asked for.
pub(super) fn references(engine: &str, mut found: Vec<Reference>, options: &SearchOptions) -> References {
    found.retain(|document| document.similarity_score >= options.similarity_threshold);
    found.sort_by(|a, b| b.similarity_score.total_cmp(&a.similarity_score));
    found.truncate(options.limit);
    if !options.include_metadata {
        found.iter_mut().for_each(|document| document.metadata = None);
    }
    References { documents: found, search_engine: engine.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_length_one_have_one_similarity_in_every_space() {
        for cosine in [-1.0, -0.5, 0.0, 0.25, 1.0] {
            let expected = (1.0 + cosine) / 2.0;
            for (distance, measured) in [
                (Distance::Cosine, 1.0 - cosine),
                (Distance::InnerProduct, 1.0 - cosine),
                (Distance::SquaredL2, 2.0 - 2.0 * cosine),
            ] {
                assert!((distance.similarity(measured) - expected).abs() < 1e-12, "{distance:?} {cosine}");
            }
        }
        assert_eq!(Distance::InnerProduct.similarity(-7.0), 1.0);
        assert_eq!(Distance::SquaredL2.similarity(300.0), 0.0);
        assert_eq!(Distance::Cosine.similarity(f64::NAN), 0.0);
    }
}
