//! `syft.space.v1.EndpointService`.

use futures_util::{StreamExt, stream::BoxStream};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    Api, caller, convert,
    deadline::ClientTimeout,
    status::{failed, name_query, status},
    tenant,
};
use crate::{
    domain::rules::{self, violation},
    error::{Error, Rule},
    listing::marketplace_ids,
    pipeline::{Call, QueryStream},
    proto::{self, endpoint_service_server::EndpointService},
    telemetry::TraceContext,
};

/// The client's name for what a query is part of.
const CORRELATION: &str = "x-correlation-id";
/// Bytes that it may have.
const MAX_CORRELATION_ID: usize = 128;

#[tonic::async_trait]
impl EndpointService for Api {
    async fn create_endpoint(
        &self,
        request: Request<proto::CreateEndpointRequest>,
    ) -> Result<Response<proto::CreateEndpointResponse>, Status> {
        let tenant = tenant(&request)?;
        let draft = convert::endpoint_draft(request.into_inner().endpoint).map_err(status)?;
        let created = self.catalog.create_endpoint(&tenant, draft).await.map_err(status)?;
        Ok(Response::new(proto::CreateEndpointResponse { endpoint: Some(convert::endpoint(created)) }))
    }

    async fn get_endpoint(
        &self,
        request: Request<proto::GetEndpointRequest>,
    ) -> Result<Response<proto::GetEndpointResponse>, Status> {
        let tenant = tenant(&request)?;
        let detail = self.catalog.endpoint(&tenant, &request.into_inner().slug).await.map_err(status)?;
        Ok(Response::new(proto::GetEndpointResponse {
            endpoint: Some(convert::endpoint(detail.endpoint)),
            dataset: detail.dataset.map(convert::dataset),
            model: detail.model.map(convert::model),
            policies: detail.policies.into_iter().map(convert::policy).collect(),
        }))
    }

    async fn list_endpoints(
        &self,
        request: Request<proto::ListEndpointsRequest>,
    ) -> Result<Response<proto::ListEndpointsResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let page = convert::page(request.page_size, request.page_token);
        let found = self.catalog.endpoints(&tenant, &page).await.map_err(status)?;
        let endpoints = found.items.into_iter().map(convert::endpoint).collect();
        Ok(Response::new(proto::ListEndpointsResponse { endpoints, next_page_token: found.next_token }))
    }

    async fn update_endpoint(
        &self,
        request: Request<proto::UpdateEndpointRequest>,
    ) -> Result<Response<proto::UpdateEndpointResponse>, Status> {
        let tenant = tenant(&request)?;
        let (slug, change) = convert::endpoint_change(request.into_inner()).map_err(status)?;
        let updated = self.catalog.update_endpoint(&tenant, &slug, change).await.map_err(status)?;
        Ok(Response::new(proto::UpdateEndpointResponse { endpoint: Some(convert::endpoint(updated)) }))
    }

    async fn delete_endpoint(
        &self,
        request: Request<proto::DeleteEndpointRequest>,
    ) -> Result<Response<proto::DeleteEndpointResponse>, Status> {
        let tenant = tenant(&request)?;
        self.catalog.delete_endpoint(&tenant, &request.into_inner().slug).await.map_err(status)?;
        Ok(Response::new(proto::DeleteEndpointResponse {}))
    }

    async fn check_slug(
        &self,
        request: Request<proto::CheckSlugRequest>,
    ) -> Result<Response<proto::CheckSlugResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let on = convert::chosen(&request.marketplace_ids, request.all_marketplaces).map_err(status)?;
        let (slug, available) = self.catalog.check_slug(&tenant, &request.slug).await.map_err(status)?;
        let marketplaces = self.listings.availability(&tenant, &slug, on).await.map_err(status)?;
        let marketplaces = marketplaces.into_iter().map(convert::availability).collect();
        Ok(Response::new(proto::CheckSlugResponse { slug, available, marketplaces }))
    }

    async fn query(
        &self,
        mut request: Request<proto::QueryRequest>,
    ) -> Result<Response<proto::QueryResponse>, Status> {
        let (question, id) = (request.get_mut().query.take(), request.get_mut().request_id.take());
        let slug = std::mem::take(&mut request.get_mut().slug);
        let call = call(&request, Asked { slug, question, id, preview: false })?;
        self.answer(call).await
    }

    type StreamQueryStream = BoxStream<'static, Result<proto::StreamQueryResponse, Status>>;

    async fn stream_query(
        &self,
        mut request: Request<proto::StreamQueryRequest>,
    ) -> Result<Response<Self::StreamQueryStream>, Status> {
        let (question, id) = (request.get_mut().query.take(), request.get_mut().request_id.take());
        let slug = std::mem::take(&mut request.get_mut().slug);
        let call = call(&request, Asked { slug, question, id, preview: false })?;
        let events = self.pipeline.run(call).map_err(status)?;
        let query_id = events.query_id();
        let events = events.opened().await.map_err(|failure| failed(query_id, &failure))?;
        let wire = move |event: <QueryStream as futures_util::Stream>::Item| {
            event.map(convert::event).map_err(|failure| failed(query_id, &failure))
        };
        let mut response = Response::new(events.map(wire).boxed());
        name_query(response.metadata_mut(), query_id);
        Ok(response)
    }

    async fn preview_query(
        &self,
        mut request: Request<proto::PreviewQueryRequest>,
    ) -> Result<Response<proto::PreviewQueryResponse>, Status> {
        let (slug, question) = (std::mem::take(&mut request.get_mut().slug), request.get_mut().query.take());
        let call = call(&request, Asked { slug, question, id: None, preview: true })?;
        let (metadata, answer, extensions) = self.answer(call).await?.into_parts();
        let preview = proto::PreviewQueryResponse {
            query_id: answer.query_id,
            references: answer.references,
            summary: answer.summary,
            policy_metadata: answer.policy_metadata,
        };
        Ok(Response::from_parts(metadata, preview, extensions))
    }

    async fn publish_endpoint(
        &self,
        request: Request<proto::PublishEndpointRequest>,
    ) -> Result<Response<proto::PublishEndpointResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        rules::named("slug", &request.slug).map_err(|violation| status(vec![violation].into()))?;
        let on = convert::chosen(&request.marketplace_ids, request.all_marketplaces).map_err(status)?;
        let outcomes = self.listings.publish(&tenant, &request.slug, on).await.map_err(status)?;
        let results = outcomes.into_iter().map(convert::outcome).collect();
        Ok(Response::new(proto::PublishEndpointResponse { results }))
    }

    async fn unpublish_endpoint(
        &self,
        request: Request<proto::UnpublishEndpointRequest>,
    ) -> Result<Response<proto::UnpublishEndpointResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        rules::named("slug", &request.slug).map_err(|violation| status(vec![violation].into()))?;
        let from = marketplace_ids(&request.marketplace_ids).map_err(status)?;
        let outcomes = self.listings.unpublish(&tenant, &request.slug, from).await.map_err(status)?;
        let results = outcomes.into_iter().map(convert::outcome).collect();
        Ok(Response::new(proto::UnpublishEndpointResponse { results }))
    }

    async fn sync_endpoints(
        &self,
        request: Request<proto::SyncEndpointsRequest>,
    ) -> Result<Response<proto::SyncEndpointsResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let all = request.marketplace_ids.is_empty();
        let on = convert::chosen(&request.marketplace_ids, all).map_err(status)?;
        let synced = self.listings.sync(&tenant, on, request.replace_all).await.map_err(status)?;
        let results = synced.into_iter().map(convert::synced).collect();
        Ok(Response::new(proto::SyncEndpointsResponse { results }))
    }
}

impl Api {
    async fn answer(&self, call: Call) -> Result<Response<proto::QueryResponse>, Status> {
        let events = self.pipeline.run(call).map_err(status)?;
        let query_id = events.query_id();
        let answer = events.answer().await.map_err(|failure| failed(query_id, &failure))?;
        let mut response = Response::new(convert::answer(answer));
        name_query(response.metadata_mut(), query_id);
        Ok(response)
    }
}

/// What a query RPC was asked.
struct Asked {
    slug: String,
    question: Option<proto::Query>,
    id: Option<String>,
    preview: bool,
}

fn call<T>(request: &Request<T>, asked: Asked) -> Result<Call, Status> {
    let caller = caller(request)?;
    let mut violations = Vec::new();
    if asked.slug.is_empty() {
        violations.push(violation("slug", Rule::Missing, "is required"));
    }
    let query = match convert::parse_query(asked.question) {
        Ok(query) => Some(query),
        Err(Error::Invalid(found)) => {
            violations.extend(found);
            None
        }
        Err(error) => return Err(status(error)),
    };
    let request_id = asked.id.map(|id| id.parse::<Uuid>());
    if matches!(request_id, Some(Err(_))) {
        violations.push(violation("request_id", Rule::Pattern, "must be a UUID"));
    }
    let Some(query) = query.filter(|_| violations.is_empty()) else {
        return Err(status(Error::Invalid(violations)));
    };
    if !rules::can_be_stored(&asked.slug, 64) {
        // No endpoint has such a slug; it is not even worth a record.
        return Err(status(Error::EndpointNotFound(asked.slug.chars().take(64).collect())));
    }
    Ok(Call {
        caller,
        slug: asked.slug,
        query,
        preview: asked.preview,
        request_id: request_id.and_then(Result::ok),
        correlation_id: correlation_id(request),
        timeout: request.extensions().get::<ClientTimeout>().map(|timeout| timeout.0),
        trace: request.extensions().get::<TraceContext>().cloned(),
    })
}

/// Ids that are longer than any need be, or no ids, are nobody's.
fn correlation_id<T>(request: &Request<T>) -> Option<String> {
    let id = request.metadata().get(CORRELATION)?.to_str().ok()?;
    (1..=MAX_CORRELATION_ID).contains(&id.len()).then(|| id.to_owned())
}
