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
        clamped(similarity)
    }
}

/// From a distance that has no upper end and is no Euclidean one, such as Manhattan's.
pub(super) fn of_distance(distance: f64) -> f64 {
    clamped(1.0 / (1.0 + distance.max(0.0)))
}

/// From a score that has no upper end, such as BM25's; one of `half` counts as 0.5. It depends on nothing but the
/// document and the question, so that a threshold means the same whatever else is found.
pub(super) fn of_score(score: f64, half: f64) -> f64 {
    let score = score.max(0.0);
    if score.is_infinite() { 1.0 } else { clamped(score / (score + half)) }
}

/// What is no number is as unlike as can be.
pub(super) fn clamped(similarity: f64) -> f64 {
    if similarity.is_nan() { 0.0 } else { similarity.clamp(0.0, 1.0) }
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
    #[test]
    fn what_has_no_end_falls_between_0_and_1_and_keeps_the_order() {
        let any = [-3.0, 0.0, 0.25, 1.0, 7.5, 1e300, f64::INFINITY];
        for pair in any.windows(2) {
            let rising = (of_score(pair[0], 1.0), of_score(pair[1], 1.0));
            let falling = (of_distance(pair[1]), of_distance(pair[0]));
            for (less, more) in [rising, falling] {
                assert!(0.0 <= less && less <= more && more <= 1.0, "{pair:?}: {less} {more}");
            }
        }
        assert_eq!([of_distance(0.0), of_distance(1.0)], [1.0, 0.5]);
        assert_eq!([of_score(0.0, 2.0), of_score(2.0, 2.0), of_score(f64::NAN, 1.0)], [0.0, 0.5, 0.0]);
    }
}
