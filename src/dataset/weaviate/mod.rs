//! `weaviate`: collections of a Weaviate server, searched through its HTTP API and never changed.

mod answer;
mod class;
mod config;
mod filter;
mod graphql;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use moka::future::Cache;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::{
    Dataset, SearchRequest, content_of,
    embedding::{self, Embedder, Embeddings},
    remote::{self, Remote, malformed},
    similarity,
};
use crate::{
    domain::{Health, Reference, References, schema::TypeSpec},
    error::{Cause, UpstreamError},
    upstream::Upstream,
};
use answer::{Answer, Object};
use class::{Class, Vectors};
use config::Search;
use graphql::{Field, Literal, Name};

pub(super) use config::Config;

const NAME: &str = "weaviate";
const DESCRIPTION: &str =
    "A collection of a Weaviate server, searched by meaning, by words, or by both. It is only read.";

/// How long what a server says of its collection is taken for true.
const KEPT: Duration = Duration::from_secs(60);

/// The type, under the Python Space's name too.
pub(super) fn spec() -> TypeSpec {
    let spec = TypeSpec::of::<Config>(NAME, DESCRIPTION, "🌐", &["api_key", "headers", embedding::SECRET]);
    spec.also(&["remote_weaviate"]).checking(config::check)
}

/// One configured collection.
pub(super) struct Weaviate {
    remote: Remote,
    config: Config,
    collection: Name,
    /// What makes vectors of questions, where the server does not.
    embedder: Option<Embedder>,
    class: Cache<(), Arc<Class>>,
}

impl Weaviate {
    pub(super) fn open(
        upstream: Upstream,
        embeddings: &Embeddings,
        mut config: Config,
    ) -> Result<Self, Cause> {
        let key = config.api_key.expose_secret();
        let key = (!key.is_empty()).then(|| ("authorization".to_owned(), format!("Bearer {key}").into()));
        let headers = config.headers.iter().flatten();
        let headers = headers.map(|(name, value)| (name.clone(), SecretString::clone(value))).chain(key);
        let remote = Remote::new(upstream, &config.http_url, headers)?;
        let collection =
            Name::collection(&config.collection_name).ok_or("its collection's name is not valid")?;
        let embeds = matches!(config.search, Search::NearVector | Search::Hybrid);
        let embedding = config.embedding.take().filter(|_| embeds);
        let embedder = embedding.map(|embedding| embeddings.open(embedding)).transpose()?;
        let class = Cache::builder().max_capacity(1).time_to_live(KEPT).build();
        Ok(Self { remote, config, collection, embedder, class })
    }

    /// What the server says of the collection, asked once in a while. Concurrent questions are one.
    async fn class(&self) -> Result<Arc<Class>, UpstreamError> {
        let ask = async { self.ask_class().await.map(Arc::new) };
        self.class.try_get_with((), ask).await.map_err(|error| error.shared())
    }

    async fn ask_class(&self) -> Result<Class, UpstreamError> {
        self.remote.get(&["v1", "schema", self.collection.as_str()]).await
    }

    async fn query(&self, class: &Class, request: &SearchRequest) -> Result<String, UpstreamError> {
        let vectors = class.vectors(self.config.target_vector.as_deref());
        if self.config.search != Search::Bm25 && !matches!(vectors, Vectors::One { .. }) {
            return Err(unnamed());
        }
        let vector = match &self.embedder {
            Some(embedder) => Some(embedder.embed_one(&request.text).await?),
            None => None,
        };
        let search = self.search(&request.text, vector.as_deref());
        let mut arguments = vec![("limit", integer(request.options.limit)), search];
        if let Some(filter) = &self.config.filters {
            let built = filter.build(class);
            arguments.push((
                "where",
                built.map_err(|why| UpstreamError::rejected("its filter is not valid").because(why))?,
            ));
        }
        arguments.extend(self.tenant());
        Ok(graphql::get(&self.collection, &arguments, &self.fields(class)?))
    }

    fn tenant(&self) -> Option<(&'static str, Literal)> {
        self.config.tenant.clone().map(|tenant| ("tenant", Literal::Text(tenant)))
    }

    fn search(&self, text: &str, vector: Option<&[f32]>) -> (&'static str, Literal) {
        let text = Literal::Text(text.to_owned());
        let vector = vector.map(|vector| {
            ("vector", Literal::List(vector.iter().map(|number| Literal::Number((*number).into())).collect()))
        });
        let target = self.config.target_vector.as_ref();
        let target = target.map(|name| ("targetVectors", Literal::List(vec![Literal::Text(name.clone())])));
        let near = |what: Vec<_>| Literal::Object(what.into_iter().chain(target).collect());
        match self.config.search {
            Search::NearText => ("nearText", near(vec![("concepts", Literal::List(vec![text]))])),
            Search::NearVector => ("nearVector", near(vector.into_iter().collect())),
            Search::Bm25 => ("bm25", Literal::Object(vec![("query", text)])),
            Search::Hybrid => {
                let alpha = Literal::Number(self.config.alpha);
                // The other way to fuse leaves no more of a score than a rank.
                let fusion = Literal::Word("relativeScoreFusion");
                let ours = [("query", text), ("alpha", alpha), ("fusionType", fusion)];
                ("hybrid", near(ours.into_iter().chain(vector).collect()))
            }
        }
    }

    /// What is to be returned of each object.
    fn fields(&self, class: &Class) -> Result<Vec<Field>, UpstreamError> {
        if self.missing(class).is_some() {
            return Err(UpstreamError::rejected("its collection has not all configured properties"));
        }
        let Config { content_property, metadata_properties, .. } = &self.config;
        Ok(match (content_property, metadata_properties) {
            (Some(content), Some(metadata)) => {
                let named: Vec<&str> = metadata.iter().chain([content]).map(String::as_str).collect();
                class.fields(Some(&named))
            }
            _ => class.fields(None),
        })
    }

    /// A configured property that the collection does not have.
    fn missing(&self, class: &Class) -> Option<&str> {
        let Config { content_property, metadata_properties, filters, .. } = &self.config;
        let shown = content_property.iter().chain(metadata_properties.iter().flatten()).map(String::as_str);
        let filtered = filters.iter().flat_map(filter::Filter::properties);
        shown.chain(filtered).find(|property| !class.has(property))
    }

    /// What an object's likeness is. A similarity that the server does not tell is an error, never 0.
    fn similarity(&self, class: &Class, object: &Object) -> Result<f64, UpstreamError> {
        let target = self.config.target_vector.as_deref();
        let similarity = match (self.config.search, class.vectors(target)) {
            (Search::Bm25, _) => object.score.map(|score| similarity::of_score(score, self.config.bm25_half)),
            // Fused from two parts that each run from 0 to 1 in what was found.
            (Search::Hybrid, _) => object.score.map(similarity::clamped),
            (Search::NearText | Search::NearVector, Vectors::One { metric, .. }) => {
                let measured = object.distance.map(|distance| metric.similarity(distance));
                object.certainty.map(similarity::clamped).or(measured)
            }
            (_, Vectors::Unknown | Vectors::Several) => return Err(unnamed()),
        };
        similarity.ok_or_else(malformed)
    }

    fn reference(&self, object: Object, similarity_score: f64, with_metadata: bool) -> Reference {
        let Object { id, distance, created, mut properties, .. } = object;
        let content = match &self.config.content_property {
            Some(property) => content_of(properties.get(property)),
            None => Value::Object(properties.clone()).to_string(),
        };
        let metadata = with_metadata.then(|| {
            if let Some(named) = &self.config.metadata_properties {
                properties.retain(|property, _| named.contains(property));
            }
            let mut metadata = Map::new();
            metadata.insert("creation_time".to_owned(), created.into());
            metadata.insert("distance".to_owned(), json!(distance));
            metadata.extend(properties);
            metadata
        });
        Reference { document_id: id, content, similarity_score, metadata }
    }

    async fn check(&self) -> Result<(), String> {
        let ready = self.remote.answers(&["v1", ".well-known", "ready"]).await;
        ready.map_err(|fault| format!("the server {fault}"))?;
        let collection = self.collection.as_str();
        let class = self.ask_class().await.map_err(|fault| match fault.reason() {
            remote::NOT_KNOWN => format!("the server has no collection '{collection}'"),
            _ => format!("the collection {fault}"),
        })?;
        if let Some(property) = self.missing(&class) {
            return Err(format!("the collection '{collection}' has no property '{property}'"));
        }
        self.check_vectors(&class)?;
        if let Some(embedder) = &self.embedder {
            embedder.probe().await.map_err(|fault| format!("the dataset {fault}"))?;
        }
        // Nothing but a query shows that queries are let in.
        let mut arguments = vec![("limit", Literal::Integer(1))];
        arguments.extend(self.tenant());
        let query = graphql::get(&self.collection, &arguments, &[]);
        self.ask(&query).await.map(drop).map_err(|fault| format!("a query: the server {fault}"))
    }

    fn check_vectors(&self, class: &Class) -> Result<(), String> {
        if self.config.search == Search::Bm25 {
            return Ok(());
        }
        let collection = self.collection.as_str();
        match class.vectors(self.config.target_vector.as_deref()) {
            Vectors::Unknown => {
                Err(format!("the collection '{collection}' has no vector of the configured name"))
            }
            Vectors::Several => Err(format!(
                "the collection '{collection}' has several vectors: choose one in `target_vector`"
            )),
            Vectors::One { vectorizer: "none", .. } if self.embedder.is_none() => Err(format!(
                "the collection '{collection}' has no vectorizer, so the server cannot search it by a text's meaning"
            )),
            Vectors::One { .. } => Ok(()),
        }
    }

    async fn ask(&self, query: &str) -> Result<Vec<Object>, UpstreamError> {
        let answer = self.remote.post::<Answer>(&["v1", "graphql"], &json!({ "query": query })).await;
        let answer = answer.map_err(|failed| {
            if failed.body.contains("graphql api is disabled") {
                return UpstreamError::rejected("its GraphQL API is switched off");
            }
            failed.error
        });
        answer?.objects(&self.collection)
    }
}

#[async_trait]
impl Dataset for Weaviate {
    async fn search(&self, request: &SearchRequest) -> Result<References, UpstreamError> {
        let class = self.class().await?;
        let options = request.options;
        let objects = self.ask(&self.query(&class, request).await?).await?;
        let mut found = Vec::new();
        for object in objects {
            let similarity = self.similarity(&class, &object)?;
            found.push(self.reference(object, similarity, options.include_metadata));
        }
        Ok(similarity::references(NAME, found, &options))
    }

    async fn health(&self) -> Health {
        remote::checked(self.check()).await
    }
}

fn unnamed() -> UpstreamError {
    UpstreamError::rejected(
        "its collection has no vector of the configured name, or several and none is named",
    )
}

fn integer(number: usize) -> Literal {
    Literal::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
