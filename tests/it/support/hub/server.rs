//! The hub's connections. Served by hyper itself: one of them must be able to end without an answer.

use std::{convert::Infallible, io, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, header};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use time::format_description::well_known::Rfc2822;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::form_urlencoded;

use super::{
    routes::{self, Answer, Asked},
    script::{Inner, Recorded, Trouble},
};

type Body = BoxBody<Bytes, io::Error>;

/// Serves until it is stopped.
pub(super) async fn serve(
    inner: Arc<Inner>,
    listener: TcpListener,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
        let (inner, stop) = (Arc::clone(&inner), stop.clone());
        tasks.spawn(async move {
            let service = service_fn(|request| respond(Arc::clone(&inner), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that goes away is its own affair.
            let _ = stop.run_until_cancelled(connection).await;
        });
    }
}

async fn respond(inner: Arc<Inner>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let asked = read(request).await?;
    let route = asked.route();
    inner.note(record(route, &asked));
    let mut held = inner.held.subscribe();
    let _ = held.wait_for(|held| !held.contains(route)).await;
    let act = || routes::act(&mut inner.state(), &asked);
    let answer = match inner.next_trouble(route) {
        None => act(),
        Some(Trouble::Answer(fault)) => {
            let headers = fault.headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            Answer { status: fault.status, headers, body: fault.body }
        }
        Some(Trouble::Echo(status)) => routes::refuse(status, json!(quoted(&asked))),
        Some(Trouble::Half) => {
            let answer = act();
            Answer { body: answer.body[..answer.body.len() / 2].to_owned(), ..answer }
        }
        Some(Trouble::Cut) => {
            let answer = act();
            let half = Bytes::from(answer.body.clone().into_bytes()).slice(..answer.body.len() / 2);
            let breaks = stream::once(async {
                // What has been written leaves first.
                tokio::task::yield_now().await;
                Err(io::Error::other("cut"))
            });
            let pieces = stream::once(async { Ok(Frame::data(half)) }).chain(breaks);
            return Ok(response(&inner, &answer, BoxBody::new(StreamBody::new(pieces))));
        }
        Some(Trouble::Vanish) => {
            act();
            return Err(io::Error::other("gone"));
        }
    };
    let body = http_body_util::Full::new(Bytes::from(answer.body.clone()));
    Ok(response(&inner, &answer, body.map_err(|never: Infallible| match never {}).boxed()))
}

async fn read(request: Request<Incoming>) -> io::Result<Asked> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = head.uri.path().split('/').skip(1).map(decoded).collect();
    let query = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
    let query = query.into_owned().collect();
    Ok(Asked { method: head.method, path, query, headers: head.headers, body })
}

fn decoded(segment: &str) -> String {
    let pair = format!("x={}", segment.replace('+', "%2B"));
    form_urlencoded::parse(pair.as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

fn record(route: &'static str, asked: &Asked) -> Recorded {
    let query = asked.query.iter().map(|(name, value)| format!("?{name}={value}")).collect::<String>();
    Recorded {
        route,
        method: asked.method.to_string(),
        path: format!("/{}{query}", asked.path.join("/")),
        authorization: header_text(asked, "authorization"),
        body: String::from_utf8_lossy(&asked.body).into_owned(),
    }
}

/// Everything that a careless hub could say again, in every way in which it could.
fn quoted(asked: &Asked) -> String {
    let body = String::from_utf8_lossy(&asked.body);
    let fields: Vec<String> =
        form_urlencoded::parse(&asked.body).map(|(_, value)| value.into_owned()).collect();
    format!("you sent {} and {body} which is {fields:?}", header_text(asked, "authorization"))
}

fn header_text(asked: &Asked, name: &str) -> String {
    let value = asked.headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn response(inner: &Inner, answer: &Answer, body: Body) -> Response<Body> {
    let date = inner.state().now().to_offset(time::UtcOffset::UTC).format(&Rfc2822).unwrap();
    let mut response = Response::builder()
        .status(answer.status)
        .header(header::DATE, date.replace("+0000", "GMT"))
        .header(header::CONTENT_TYPE, "application/json");
    if answer.status != 204 {
        response = response.header(header::CONTENT_LENGTH, answer.body.len());
    }
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    response.body(body).unwrap()
}
