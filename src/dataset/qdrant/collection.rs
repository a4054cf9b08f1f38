//! What a server says of a collection: its vectors, and how they are compared.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

use super::super::similarity::{self, Distance as Measured};

/// The score of a sparse vector that counts as a similarity of 0.5. One word in common, of middling rarity, has it.
const SPARSE_HALF: f64 = 1.0;

/// A successful answer.
#[derive(Deserialize)]
pub(super) struct Answer<T> {
    pub(super) result: T,
}

#[derive(Deserialize)]
pub(super) struct Collection {
    #[serde(default)]
    status: Option<String>,
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    params: Params,
}

#[derive(Deserialize)]
struct Params {
    #[serde(default)]
    vectors: Option<Dense>,
    #[serde(default)]
    sparse_vectors: Option<BTreeMap<String, IgnoredAny>>,
}

/// One vector without a name, or several with names.
#[derive(Deserialize)]
#[serde(untagged)]
enum Dense {
    One(Vector),
    Named(BTreeMap<String, Vector>),
}

#[derive(Clone, Copy, Deserialize)]
struct Vector {
    size: usize,
    distance: Distance,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
enum Distance {
    Cosine,
    Dot,
    Euclid,
    Manhattan,
}

/// How a vector's scores are to be read.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Measure(Option<Distance>);

impl Collection {
    /// How the vector of that name is compared, and how many numbers it has if it is dense; `None` when there is no
    /// such vector.
    pub(super) fn vector(&self, name: Option<&str>) -> Option<(Measure, Option<usize>)> {
        let dense = match (&self.config.params.vectors, name) {
            (Some(Dense::One(vector)), None) => Some(vector),
            (Some(Dense::Named(vectors)), Some(name)) => vectors.get(name),
            _ => None,
        };
        if let Some(vector) = dense {
            return Some((Measure(Some(vector.distance)), Some(vector.size)));
        }
        self.config.params.sparse_vectors.as_ref()?.get(name?).map(|_| (Measure(None), None))
    }

    /// Whether operations on it have failed for good.
    pub(super) fn is_broken(&self) -> bool {
        self.status.as_deref() == Some("red")
    }
}

impl Measure {
    pub(super) fn similarity(self, score: f64) -> f64 {
        match self.0 {
            // The cosine or the dot product itself.
            Some(Distance::Cosine | Distance::Dot) => Measured::InnerProduct.similarity(1.0 - score),
            Some(Distance::Euclid) => Measured::SquaredL2.similarity(score * score),
            Some(Distance::Manhattan) => similarity::of_distance(score),
            None => similarity::of_score(score, SPARSE_HALF),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn vectors_are_found_by_name_and_read_by_their_distance() {
        let of = |params| -> Collection {
            serde_json::from_value(json!({"status": "green", "config": {"params": params}})).unwrap()
        };
        let one = of(json!({"vectors": {"size": 3, "distance": "Cosine"}}));
        assert_eq!(one.vector(None), Some((Measure(Some(Distance::Cosine)), Some(3))));
        assert_eq!(one.vector(Some("x")), None);
        let named =
            json!({"vectors": {"size": {"size": 4, "distance": "Euclid"}}, "sparse_vectors": {"s": {}}});
        let named = of(named);
        assert_eq!(named.vector(Some("size")), Some((Measure(Some(Distance::Euclid)), Some(4))));
        assert_eq!(named.vector(Some("s")), Some((Measure(None), None)));
        assert_eq!(named.vector(None), None);
        assert_eq!(Measure(Some(Distance::Cosine)).similarity(1.0), 1.0);
        assert_eq!(Measure(Some(Distance::Euclid)).similarity(1.0), 0.75);
        assert_eq!(Measure(Some(Distance::Manhattan)).similarity(1.0), 0.5);
        assert_eq!(Measure(None).similarity(3.0), 0.75);
    }
}
