//! `/openapi.json`, and `/docs`: a page that shows it and tries it out. Everything it needs comes from
//! here.

use std::sync::Arc;

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use bytes::Bytes;
use http::{StatusCode, header};
use utoipa_swagger_ui::Config;

use super::{
    openapi,
    problem::{Origin, Problem},
    route::Route,
};

const DOCUMENT: &str = "/openapi.json";

/// Adds what documents these routes.
pub(super) fn routes(router: Router, routes: &[Route]) -> Router {
    let document = Bytes::from(openapi::document(routes).to_string());
    // By default the page asks a server on the internet whether the document is valid.
    let config = Arc::new(Config::from(DOCUMENT).validator_url("none"));
    router
        .route("/", get(|| async { Redirect::temporary("/docs/") }))
        .route(DOCUMENT, get(|| async { ([(header::CONTENT_TYPE, "application/json")], document) }))
        // The page names its parts relative to itself.
        .route("/docs", get(|| async { Redirect::temporary("/docs/") }))
        .route(
            "/docs/",
            get({
                let config = Arc::clone(&config);
                || async move { page("", config) }
            }),
        )
        .route("/docs/{part}", get(|Path(part): Path<String>| async move { page(&part, config) }))
}

fn page(part: &str, config: Arc<Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(part, config) {
        Ok(Some(file)) => {
            ([(header::CONTENT_TYPE, file.content_type)], file.bytes.into_owned()).into_response()
        }
        _ => Problem::Refused(StatusCode::NOT_FOUND, "Not Found".into()).response(&Origin::default()),
    }
}
