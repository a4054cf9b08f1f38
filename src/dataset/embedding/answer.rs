//! What embedding endpoints answer.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

use crate::error::UpstreamError;

/// Numbers of a vector at most, as in the configuration: 256 KiB.
const MAX_DIMENSIONS: usize = 65_536;

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    index: Option<usize>,
    embedding: Vector,
}

/// Numbers, or the base64 of their bytes.
struct Vector(Vec<f32>);

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = Vector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("numbers or base64")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vector, A::Error> {
                let mut numbers = Vec::with_capacity(list.size_hint().unwrap_or(0).min(4096));
                while let Some(number) = list.next_element()? {
                    numbers.push(number);
                }
                Ok(Vector(numbers))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Vector, E> {
                let bytes = STANDARD.decode(text).map_err(|_| E::custom("not base64"))?;
                let (numbers, rest) = bytes.as_chunks();
                if !rest.is_empty() {
                    return Err(E::custom("half a number"));
                }
                Ok(Vector(numbers.iter().copied().map(f32::from_le_bytes).collect()))
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

/// Reads the vectors of `count` texts, in the texts' order.
///
/// # Errors
/// `Unavailable` for what is no such answer; `Rejected` when vectors have not the given dimensions.
pub(super) fn vectors(
    body: &[u8],
    count: usize,
    dimensions: Option<usize>,
) -> Result<Vec<Vec<f32>>, UpstreamError> {
    // Its own words quote the answer.
    let masked = |e: serde_json::Error| {
        malformed().because(format!("invalid at line {} column {}", e.line(), e.column()))
    };
    let Answer { data } = serde_json::from_slice(body).map_err(masked)?;
    if data.len() != count {
        return Err(incomplete());
    }
    let mut vectors = vec![Vec::new(); count];
    for (place, item) in data.into_iter().enumerate() {
        let Vector(vector) = item.embedding;
        let slot = vectors.get_mut(item.index.unwrap_or(place)).filter(|slot| slot.is_empty());
        *slot.ok_or_else(incomplete)? = vector;
    }
    if vectors.iter().flatten().any(|number| !number.is_finite()) || vectors.iter().any(Vec::is_empty) {
        return Err(malformed());
    }
    if vectors.iter().any(|vector| vector.len() > MAX_DIMENSIONS) {
        return Err(UpstreamError::rejected(
            "its embedding endpoint's vectors have more than 65536 dimensions",
        ));
    }
    let wrong = |vector: &&Vec<f32>| dimensions.is_some_and(|dimensions| vector.len() != dimensions);
    if let Some(vector) = vectors.iter().find(wrong) {
        let refused =
            UpstreamError::rejected("its embedding endpoint's vectors have not the configured dimensions");
        return Err(refused.because(format!("a vector has {} numbers", vector.len())));
    }
    Ok(vectors)
}

/// # Errors
/// `Unavailable` when they are not: the server has another model than before, or two.
pub(super) fn of_one_length(vectors: &[Vec<f32>]) -> Result<(), UpstreamError> {
    if vectors.windows(2).any(|pair| pair[0].len() != pair[1].len()) {
        return Err(UpstreamError::unavailable("its embedding endpoint's vectors differ in length"));
    }
    Ok(())
}

pub(super) fn incomplete() -> UpstreamError {
    UpstreamError::unavailable("its embedding endpoint did not answer for every text")
}

fn malformed() -> UpstreamError {
    UpstreamError::unavailable("its embedding endpoint's answer is malformed")
}
