//! Search engines that datasets are tested against: the service's own, those that `tests/run` starts, and servers on
//! loopback that hold documents, refuse what the real engine would refuse, and answer in its shapes. The last follow
//! the engines' public API documents: no Weaviate and no Qdrant runs in the tests.

pub mod gate;
pub mod local;
pub mod qdrant;
pub mod real;
pub mod server;
pub mod started;
pub mod weaviate;
pub mod words;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use syft_endpoints::proto::{CreateDatasetRequest, Dataset};
use tonic::Status;

use super::space::{Clients, structure};
use gate::Gate;

/// What lets requests in, and must not be seen anywhere.
pub const KEY: &str = "canary-engine-key-4731";

/// A document, with one value of every type.
#[derive(Clone)]
pub struct Doc {
    pub slug: &'static str,
    pub text: &'static str,
    pub topic: &'static str,
    pub year: i64,
    pub price: f64,
    pub open: bool,
    pub published: &'static str,
    pub tags: &'static [&'static str],
}

/// A question that filters can ask, in every engine's own words.
#[derive(Clone, Copy, Debug)]
pub enum Filter {
    /// The topic is this text.
    Topic(&'static str),
    /// From this year on, for less than this price, and open.
    Recent(i64, f64),
    /// Neither of this topic nor before this year.
    Not(&'static str, i64),
}

/// An engine that holds [`documents`] in one collection, and nothing in another.
#[async_trait]
pub trait Engine: Send + Sync {
    /// The type of its datasets.
    fn dtype(&self) -> &'static str;

    /// The configuration of a dataset of its full collection.
    fn configuration(&self) -> Value;

    /// Of its empty one.
    fn empty(&self) -> Value;

    /// Of none that there is; `None` when every collection is there.
    fn missing(&self) -> Option<Value>;

    /// With another key; `None` when it takes none.
    fn bad_key(&self) -> Option<Value>;

    /// The full collection's with a filter; `None` when it has none.
    fn filtered(&self, filter: Filter) -> Option<Value>;

    /// Configurations with a text in place of a name of the engine's, as an attacker would choose it. Those that are
    /// not refused must find nothing.
    fn attacked(&self, text: &str) -> Vec<Value>;

    /// What stands before it; `None` when nothing can.
    fn gate(&self) -> Option<&Gate>;

    /// Puts documents into a dataset that does not have them yet.
    async fn fill(&self, _clients: &mut Clients, _dataset: &str) {}
}

impl Doc {
    pub fn properties(&self) -> Map<String, Value> {
        let properties = json!({
            "slug": self.slug, "text": self.text, "topic": self.topic, "year": self.year, "price": self.price,
            "open": self.open, "published": self.published, "tags": self.tags,
        });
        properties.as_object().unwrap().clone()
    }

    /// Whether it keeps a filter.
    pub fn keeps(&self, filter: Filter) -> bool {
        match filter {
            Filter::Topic(topic) => self.topic == topic,
            Filter::Recent(year, price) => self.year >= year && self.price < price && self.open,
            Filter::Not(topic, year) => self.topic != topic && self.year >= year,
        }
    }
}

/// What every full collection holds.
pub fn documents() -> Vec<Doc> {
    let doc = |slug, text, topic, year, price, open, tags| Doc {
        slug,
        text,
        topic,
        year,
        price,
        open,
        published: if year < 2020 { "2019-03-01T00:00:00Z" } else { "2023-06-01T12:00:00Z" },
        tags,
    };
    vec![
        doc("books", "The copyright term of books", "law", 2021, 2.0, true, &["books", "term"]),
        doc("music", "Copyright of recorded music in Norway", "law", 2018, 0.5, false, &["music"]),
        doc("fish", "Fish soup with saffron and fennel", "food", 2023, 1.25, true, &["soup"]),
        doc("quoted", "He said \"copyright}\" \\ and left {", "odd", 2022, 3.5, true, &[]),
        doc("unicode", "Übergröße 東京 café 🙂 für alle", "日本 🙂", 2020, 9.0, true, &["é"]),
        doc("dogs", "Dogs of the far north", "animals", 2024, 0.0, false, &["dogs", "north"]),
    ]
}

/// Makes a dataset of an engine's type, as its owner would.
pub async fn create(
    clients: &mut Clients,
    name: &str,
    dtype: &str,
    configuration: Value,
) -> Result<Dataset, Status> {
    let dataset = Dataset {
        name: name.to_owned(),
        dtype: dtype.to_owned(),
        configuration: Some(structure(configuration)),
        ..Dataset::default()
    };
    let created = clients.datasets.create_dataset(CreateDatasetRequest { dataset: Some(dataset) }).await?;
    Ok(created.into_inner().dataset.unwrap())
}

/// A configuration with other values of some fields.
fn with(mut configuration: Value, fields: Value) -> Value {
    configuration.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    configuration
}
