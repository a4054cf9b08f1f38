//! Datasets in a fresh database, filled and searched as the service does it.

use std::time::Duration;

use serde_json::{Value, json};
use syft_endpoints::{
    dataset::{Datasets, SearchRequest, local::LocalIndexes},
    domain::{self, Attachment, NewAttachment, SearchOptions, Tenant},
    error::{Error, Part},
    store::{self, RecordsConfig, SecretBox, Store},
    upstream::{self, Upstream},
};
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Document, Fault, Question, embedder::Embedder, measures::Ranking, model};

const DIMENSIONS: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Space {
    store: Store,
    tenant: Tenant,
    datasets: Datasets,
    documents: Vec<domain::Document>,
    words: Option<Attachment>,
    embedder: Embedder,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    _folder: TempDir,
}

impl Space {
    /// With a dataset without an embedding endpoint.
    pub async fn start(documents: &[Document]) -> Result<Self, Fault> {
        let folder = tempfile::tempdir()?;
        let url = format!("sqlite://{}", folder.path().join("retrieval.db").display());
        let secrets = SecretBox::parse(SecretBox::generate()?.as_str())?;
        let store = Store::connect(store::Config { url, ..store::Config::default() }, secrets).await?;
        store.migrate().await?;
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        store.follow(RecordsConfig::default(), shutdown.clone());
        let tenant = store.ensure_tenant("retrieval").await?;
        let indexes =
            LocalIndexes::new(store.clone(), folder.path().join("indexes"), tasks.clone(), shutdown.clone());
        let datasets = Datasets::new(indexes, Upstream::new(upstream::Config::default())?);
        let embedder = Embedder::start().await;
        embedder.dimensions(DIMENSIONS);
        embedder.model(model::vector);
        let as_stored = |document: &Document| domain::Document {
            id: document.id.clone(),
            content: document.text.clone(),
            metadata: serde_json::Map::new(),
        };
        let documents = documents.iter().map(as_stored).collect();
        let mut space = Self {
            store,
            tenant,
            datasets,
            documents,
            words: None,
            embedder,
            tasks,
            shutdown,
            _folder: folder,
        };
        space.words = Some(space.dataset("words", &json!({})).await?);
        Ok(space)
    }

    /// The dataset that is searched by words alone.
    pub fn words(&self) -> Result<Attachment, Fault> {
        Ok(self.words.clone().ok_or("it has not started")?)
    }

    /// A dataset in which vectors have this weight, or the one that they have by default.
    pub async fn weighted(&self, weight: Option<f64>) -> Result<Attachment, Fault> {
        let mut configuration = json!({"embedding": self.embedder.config()});
        if let Some(weight) = weight {
            configuration["vector_weight"] = json!(weight);
        }
        self.dataset(&format!("weight-{}", weight.is_some()), &configuration).await
    }

    async fn dataset(&self, name: &str, configuration: &Value) -> Result<Attachment, Fault> {
        let new = NewAttachment {
            name: name.to_owned(),
            dtype: "local".to_owned(),
            configuration: configuration.as_object().cloned().unwrap_or_default(),
            summary: String::new(),
            tags: Vec::new(),
        };
        let created = self.store.create_attachment(Part::Dataset, self.tenant.id, new, &[]).await?;
        let local = self.datasets.open_local(&created)?;
        let documents = local.embedded(self.documents.clone()).await?;
        let revision = self.store.put_documents(self.tenant.id, created.id, None, documents).await?;
        if !local.reached(revision, PATIENCE).await {
            return Err("the index does not catch up".into());
        }
        Ok(created)
    }

    /// What is found for every question, from a similarity on and so many at most.
    pub async fn rankings(
        &self,
        dataset: &Attachment,
        questions: &[Question],
        (similarity_threshold, limit): (f64, usize),
    ) -> Result<Vec<Ranking>, Fault> {
        let dataset = self.datasets.open(dataset)?;
        let options = SearchOptions { similarity_threshold, limit, include_metadata: false };
        let mut rankings = Vec::with_capacity(questions.len());
        for question in questions {
            let request = SearchRequest { text: question.text.clone(), options };
            let found = dataset.search(&request).await.map_err(|fault| fault.of(Part::Dataset))?;
            rankings.push(found.documents.into_iter().map(|found| found.document_id).collect());
        }
        Ok(rankings)
    }

    pub async fn stop(self) -> Result<(), Error> {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.store.close().await;
        Ok(())
    }
}
