//! Similarity between 0 and 1 from what engines measure. Each way falls with the distance and depends on nothing
//! but the document and the question, so that a threshold means the same whatever else is found.

/// From the cosine of the angle between two vectors, or the dot product of two of length 1: 1 for the same
/// direction, 0.5 for a right angle, 0 for the opposite. It is what Weaviate calls certainty. Vectors of another
/// length have dot products beyond 1, which all count as 1.
pub(super) fn of_cosine(cosine: f64) -> f64 {
    clamped(f64::midpoint(1.0, cosine))
}

/// From a distance that has no upper end, such as Euclid's.
pub(super) fn of_distance(distance: f64) -> f64 {
    clamped(1.0 / (1.0 + distance.max(0.0)))
}

/// From a score that has no upper end, such as BM25's; one of `half` counts as 0.5.
pub(super) fn of_score(score: f64, half: f64) -> f64 {
    let score = score.max(0.0);
    if score.is_infinite() { 1.0 } else { clamped(score / (score + half)) }
}

/// What is no number is as unlike as can be.
pub(super) fn clamped(similarity: f64) -> f64 {
    if similarity.is_nan() { 0.0 } else { similarity.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_measure_falls_between_0_and_1_and_keeps_the_order() {
        let any = [f64::NEG_INFINITY, -3.0, -1.0, 0.0, 0.25, 1.0, 7.5, 1e300, f64::INFINITY];
        for pair in any.windows(2) {
            let rising =
                [(of_cosine(pair[0]), of_cosine(pair[1])), (of_score(pair[0], 1.0), of_score(pair[1], 1.0))];
            let falling = (of_distance(pair[1]), of_distance(pair[0]));
            for (less, more) in rising.into_iter().chain([falling]) {
                assert!(
                    (0.0..=1.0).contains(&less) && less <= more && more <= 1.0,
                    "{pair:?}: {less} {more}"
                );
            }
        }
        assert_eq!([of_cosine(1.0), of_cosine(0.0), of_cosine(-1.0)], [1.0, 0.5, 0.0]);
        assert_eq!([of_distance(0.0), of_distance(1.0)], [1.0, 0.5]);
        assert_eq!([of_score(0.0, 2.0), of_score(2.0, 2.0)], [0.0, 0.5]);
        assert_eq!(of_cosine(f64::NAN) + of_distance(f64::NAN).min(0.0) + of_score(f64::NAN, 1.0), 0.0);
    }
}
