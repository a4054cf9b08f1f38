//! `syft.space.v1.UsageService`.

use tonic::{Request, Response, Status};

use super::{Api, convert, status::status, tenant};
use crate::proto::{self, usage_service_server::UsageService};

#[tonic::async_trait]
impl UsageService for Api {
    async fn list_query_records(
        &self,
        request: Request<proto::ListQueryRecordsRequest>,
    ) -> Result<Response<proto::ListQueryRecordsResponse>, Status> {
        let tenant = tenant(&request)?;
        let request = request.into_inner();
        let page = convert::page(request.page_size, request.page_token);
        let filter = convert::record_filter(request.filter);
        let found = self.catalog.query_records(&tenant, filter, &page).await.map_err(status)?;
        let query_records = found.items.into_iter().map(convert::query_record).collect();
        let next_page_token = found.next_token;
        Ok(Response::new(proto::ListQueryRecordsResponse { query_records, next_page_token }))
    }

    async fn summarize_usage(
        &self,
        request: Request<proto::SummarizeUsageRequest>,
    ) -> Result<Response<proto::SummarizeUsageResponse>, Status> {
        let tenant = tenant(&request)?;
        let draft = convert::summary_draft(request.into_inner());
        let summary = self.catalog.summarize_usage(&tenant, draft).await.map_err(status)?;
        Ok(Response::new(convert::usage_summary(summary)))
    }
}
