//! A route: a method, a path, and a function from a request to an answer, whose types also make its part
//! of the documentation.

use std::{error::Error, sync::Arc};

use axum::{
    Json,
    body::{Body, to_bytes},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use http::{
    Extensions, HeaderMap, HeaderName, Method, StatusCode, Version,
    header::{ACCEPT, CONTENT_TYPE},
};
use http_body_util::LengthLimitError;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use tonic::{Code, Status, metadata::MetadataMap};
use uuid::Uuid;

use super::{
    Gateway,
    body::{self, Shape, shape_of},
    problem::{Origin, Problem},
};
use crate::domain::Caller;

/// Headers that an RPC gets to see.
const PASSED_ON: [&str; 5] = ["traceparent", "tracestate", "baggage", "x-correlation-id", "grpc-timeout"];

/// One method of one path.
#[derive(Clone)]
pub struct Route {
    pub method: Method,
    /// With parameters in braces.
    pub path: &'static str,
    pub summary: &'static str,
    /// The schema of the body, when there is one.
    pub body: Option<SchemaOf>,
    /// Whether the body is a file.
    pub is_upload: bool,
    /// Parameters after the `?`, and what they do. Those ending in `_id` are UUIDs.
    pub queries: &'static [(&'static str, &'static str)],
    /// The same as a type whose fields they are: the names, and its schema.
    pub asked: Option<(&'static [&'static str], SchemaOf)>,
    /// Of an answer that is no failure.
    pub status: StatusCode,
    pub answers: AnswersOf,
    /// Another answer that is no failure.
    pub other: Option<(StatusCode, SchemaOf)>,
    /// Statuses of its own failures; any route can fail with 401, 429, 500, 503 and 504 besides.
    pub failures: &'static [u16],
    handler: Handler,
}

/// Which route has answered, on the answer.
#[derive(Clone, Copy)]
pub(super) struct Served {
    pub method: &'static str,
    pub path: &'static str,
}

/// The schema of a type; its parts are filed in the generator.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;
/// Schemas by type of content.
pub type AnswersOf = fn(&mut SchemaGenerator) -> Vec<(&'static str, Schema)>;

type Handler =
    Arc<dyn Fn(Call, Given, StatusCode) -> BoxFuture<'static, Result<Response, Problem>> + Send + Sync>;

/// The body of a request.
enum Given {
    /// All of it; empty where none is read.
    Read(Bytes),
    /// As it comes.
    Raw(Body),
}

/// A request that has been let in, apart from its body.
pub struct Call {
    pub gateway: Gateway,
    /// Of HTTP.
    pub version: Version,
    headers: HeaderMap,
    extensions: Extensions,
    params: Arc<[(String, String)]>,
    query: String,
}

/// What a route answers.
pub trait Answer: Send {
    fn response(self, status: StatusCode) -> Response;

    fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)>;
}

impl<T: Serialize + JsonSchema + Send> Answer for T {
    fn response(self, status: StatusCode) -> Response {
        (status, Json(self)).into_response()
    }

    fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema)> {
        vec![("application/json", generator.subschema_for::<T>())]
    }
}

impl Route {
    /// A route without a body.
    pub fn new<A, F>(method: Method, path: &'static str, handler: fn(Call) -> F) -> Self
    where
        A: Answer,
        F: Future<Output = Result<A, Problem>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |call, _body, status| {
            handler(call).map(move |answer| Ok(answer?.response(status))).boxed()
        });
        Self::with(method, path, A::schemas, handler)
    }

    /// A route that reads a JSON object.
    pub fn reading<B, A, F>(method: Method, path: &'static str, handler: fn(Call, B) -> F) -> Self
    where
        B: DeserializeOwned + JsonSchema + Send + 'static,
        A: Answer,
        F: Future<Output = Result<A, Problem>> + Send + 'static,
    {
        let shape: Shape = shape_of::<B>();
        let handler: Handler = Arc::new(move |call, given, status| {
            match body::read(&shape, &given.bytes(), is_json(&call.headers)) {
                Ok(read) => handler(call, read).map(move |answer| Ok(answer?.response(status))).boxed(),
                Err(violations) => std::future::ready(Err(violations.into())).boxed(),
            }
        });
        Self {
            body: Some(SchemaGenerator::subschema_for::<B>),
            ..Self::with(method, path, A::schemas, handler)
        }
    }

    /// A route without a body whose parameters after the `?` are the fields of a type.
    pub fn asking<Q, A, F>(method: Method, path: &'static str, handler: fn(Call, Q) -> F) -> Self
    where
        Q: DeserializeOwned + JsonSchema + Send + 'static,
        A: Answer,
        F: Future<Output = Result<A, Problem>> + Send + 'static,
    {
        let shape: Shape = shape_of::<Q>();
        let handler: Handler =
            Arc::new(move |call, _body, status| match body::read_query(&shape, &call.query) {
                Ok(asked) => handler(call, asked).map(move |answer| Ok(answer?.response(status))).boxed(),
                Err(violations) => std::future::ready(Err(violations.into())).boxed(),
            });
        Self {
            asked: Some((body::fields_of::<Q>(), Q::json_schema)),
            ..Self::with(method, path, A::schemas, handler)
        }
    }

    /// As [`Route::asking`], with a body that is a file and is not read here.
    pub fn uploading<Q, A, F>(method: Method, path: &'static str, handler: fn(Call, Q, Body) -> F) -> Self
    where
        Q: DeserializeOwned + JsonSchema + Send + 'static,
        A: Answer,
        F: Future<Output = Result<A, Problem>> + Send + 'static,
    {
        let shape: Shape = shape_of::<Q>();
        let handler: Handler =
            Arc::new(move |call, given, status| match body::read_query(&shape, &call.query) {
                Ok(asked) => {
                    handler(call, asked, given.body()).map(move |answer| Ok(answer?.response(status))).boxed()
                }
                Err(violations) => std::future::ready(Err(violations.into())).boxed(),
            });
        Self {
            is_upload: true,
            asked: Some((body::fields_of::<Q>(), Q::json_schema)),
            ..Self::with(method, path, A::schemas, handler)
        }
    }

    fn with(method: Method, path: &'static str, answers: AnswersOf, handler: Handler) -> Self {
        Self {
            method,
            path,
            summary: "",
            body: None,
            is_upload: false,
            queries: &[],
            asked: None,
            status: StatusCode::OK,
            answers,
            other: None,
            failures: &[],
            handler,
        }
    }

    /// What it does, in a sentence.
    #[must_use]
    pub fn says(self, summary: &'static str) -> Self {
        Self { summary, ..self }
    }

    /// Answers 201.
    #[must_use]
    pub fn creates(self) -> Self {
        Self { status: StatusCode::CREATED, ..self }
    }

    /// May answer something else, with this status.
    #[must_use]
    pub fn or<A: JsonSchema>(self, status: StatusCode) -> Self {
        Self { other: Some((status, SchemaGenerator::subschema_for::<A>)), ..self }
    }

    #[must_use]
    pub fn fails(self, failures: &'static [u16]) -> Self {
        Self { failures, ..self }
    }

    #[must_use]
    pub fn queries(self, queries: &'static [(&'static str, &'static str)]) -> Self {
        Self { queries, ..self }
    }

    /// The method's name in metrics.
    pub(super) fn method_name(&self) -> &'static str {
        match self.method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            _ => "other",
        }
    }

    /// Answers a request whose path fits.
    pub(super) async fn serve(
        self,
        gateway: Gateway,
        params: Vec<(String, String)>,
        request: http::Request<Body>,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let params: Arc<[(String, String)]> = params.into();
        let given = match self.body {
            Some(_) => whole(body, gateway.max_request_bytes).await.map(Given::Read),
            None if self.is_upload => Ok(Given::Raw(body)),
            None => Ok(Given::Read(Bytes::new())),
        };
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let call = Call {
            gateway,
            version: parts.version,
            headers: parts.headers,
            extensions: parts.extensions,
            params: params.clone(),
            query,
        };
        let bytes = match &given {
            Ok(Given::Read(bytes)) => bytes.clone(),
            _ => Bytes::new(),
        };
        let answered = match given {
            Ok(given) => (self.handler)(call, given, self.status).await,
            Err(problem) => Err(problem),
        };
        let origin = Origin { params: &params, body: &bytes };
        let mut response = answered.unwrap_or_else(|problem| problem.response(&origin));
        response.extensions_mut().insert(Served { method: self.method_name(), path: self.path });
        response
    }
}

impl Given {
    fn bytes(self) -> Bytes {
        match self {
            Self::Read(bytes) => bytes,
            Self::Raw(_) => Bytes::new(),
        }
    }

    fn body(self) -> Body {
        match self {
            Self::Read(bytes) => bytes.into(),
            Self::Raw(body) => body,
        }
    }
}

impl Call {
    /// A parameter of the path.
    pub fn param(&self, name: &str) -> String {
        let found = self.params.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// A parameter of the path that is a UUID.
    ///
    /// # Errors
    /// 422.
    pub fn id(&self, name: &str) -> Result<Uuid, Problem> {
        Ok(body::read_text(&Shape::Uuid, &self.param(name), vec!["path".into(), name.into()])?)
    }

    /// A parameter after the `?` that is a UUID; `None` when it is not there.
    ///
    /// # Errors
    /// 422.
    pub fn query_id(&self, name: &str) -> Result<Option<Uuid>, Problem> {
        let read = |value: String| body::read_text(&Shape::Uuid, &value, vec!["query".into(), name.into()]);
        Ok(self.query_text(name).map(read).transpose()?)
    }

    /// A parameter after the `?`; `None` when it is not there.
    pub fn query_text(&self, name: &str) -> Option<String> {
        let mut parsed = url::form_urlencoded::parse(self.query.as_bytes());
        parsed.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    /// The type of the body; empty when it says nothing.
    pub fn content_type(&self) -> &str {
        self.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default()
    }

    /// Whether the caller asks for this type of content by its name.
    pub fn accepts(&self, kind: &str) -> bool {
        let accepted = self.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut kinds = accepted.flat_map(|value| value.split(','));
        kinds.any(|accepted| {
            let mut parts = accepted.split(';').map(str::trim);
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case(kind))
                && !parts.any(|part| part.trim_end_matches(['0', '.']) == "q=")
        })
    }

    /// An RPC's request, on behalf of the same caller.
    pub fn asks<T>(&self, message: T) -> tonic::Request<T> {
        let mut passed_on = HeaderMap::new();
        for name in PASSED_ON {
            if let Some(value) = self.headers.get(name) {
                passed_on.insert(HeaderName::from_static(name), value.clone());
            }
        }
        let mut extensions = Extensions::new();
        if let Some(caller) = self.extensions.get::<Caller>() {
            extensions.insert(caller.clone());
        }
        tonic::Request::from_parts(MetadataMap::from_headers(passed_on), extensions, message)
    }
}

async fn whole(body: Body, limit: usize) -> Result<Bytes, Problem> {
    to_bytes(body, limit).await.map_err(|error| {
        let error = error.into_inner();
        if error.is::<LengthLimitError>() {
            let detail = format!("The body is larger than {limit} bytes");
            Problem::Refused(StatusCode::PAYLOAD_TOO_LARGE, detail.into())
        } else if is_late(error.as_ref()) {
            Problem::Refused(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time".into())
        } else {
            Problem::Refused(StatusCode::BAD_REQUEST, "The body broke off".into())
        }
    })
}

/// Whether a body failed because its time was over, as the door says it.
fn is_late(error: &(dyn Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |cause: &&(dyn Error + 'static)| (**cause).source());
    causes.any(|cause| {
        cause.downcast_ref::<Status>().is_some_and(|status| status.code() == Code::DeadlineExceeded)
    })
}

/// A body without a type is taken for JSON, as by FastAPI.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return true };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_lowercase();
    let subtype = kind.strip_prefix("application/");
    subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}
