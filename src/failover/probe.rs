//! What a health check asks, and which answers mean that a region is well.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_TYPE, TE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use tower_service::Service;

use super::checks::Finding;
use super::route::{Route, Target};
use crate::classify::{Classify, HttpClassifier};
use crate::error::BoxError;
use crate::time::{self, Instant};
use crate::verdict::{Cause, GrpcCode};

/// `GET {base}{path}`.
pub(super) fn get(to: &Target<'_>, path: PathAndQuery) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = Uri::from(path);
    request.route(to);
    request
}

/// A call of `Check`. Its message is empty, so that it asks about the server as a whole.
pub(super) fn grpc_request(to: &Target<'_>, path: PathAndQuery) -> Request<Bytes> {
    /// Not compressed, and of no length.
    const EMPTY: &[u8] = &[0, 0, 0, 0, 0];
    let mut request = get(to, path).map(|_| Bytes::from_static(EMPTY));
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    request
}

/// The region is well if it answers with a 200.
pub(super) async fn http<S, B>(client: S, request: Request<Bytes>) -> Finding
where
    S: Service<Request<Bytes>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    let (status, sent) = answer(client, request, |response| response.status()).await?;
    if status == StatusCode::OK { Ok(since(sent)) } else { Err(Cause::Status(status)) }
}

/// The region is well if it answers with the message `SERVING`.
pub(super) async fn grpc<S, B>(client: S, request: Request<Bytes>) -> Finding
where
    S: Service<Request<Bytes>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body<Error: Into<BoxError>>,
{
    /// Not compressed, of two bytes: field 1, a number, is 1.
    const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
    let (response, sent) = answer(client, request, |response| response).await?;
    let verdict = HttpClassifier::new().classify(Ok(&response));
    if !verdict.is_success() {
        return Err(verdict.cause());
    }
    match message(response.into_body(), SERVING.len()).await {
        Ok(message) if message == SERVING => Ok(since(sent)),
        Ok(_) => Err(Cause::Grpc(GrpcCode::Unavailable)),
        Err(error) => Err(cause(error)),
    }
}

/// The region is well if the check returns no error.
pub(super) async fn timed<E: Into<BoxError>>(
    check: impl Future<Output = Result<(), E>>,
) -> Finding {
    let began = time::now();
    check.await.map_err(cause)?;
    Ok(since(began))
}

fn since(then: Instant) -> Duration {
    time::now().saturating_duration_since(then)
}

/// Sends the request. Returns what `read` makes of the response, and when the request was sent.
async fn answer<S, B, T>(
    mut client: S,
    request: Request<Bytes>,
    read: impl FnOnce(Response<B>) -> T,
) -> Result<(T, Instant), Cause>
where
    S: Service<Request<Bytes>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    poll_fn(|cx| client.poll_ready(cx)).await.map_err(cause)?;
    // Taken once the client is ready: time in its queue isn't the region's latency.
    let sent = time::now();
    client.call(request).await.map(|response| (read(response), sent)).map_err(cause)
}

/// The first bytes of a body, at most `length` and one more.
async fn message<B>(body: B, length: usize) -> Result<Vec<u8>, B::Error>
where
    B: Body,
{
    let mut body = pin!(body);
    let mut message = Vec::new();
    while message.len() <= length {
        let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await else { break };
        if let Ok(data) = frame?.into_data() {
            let mut data = data.take(length + 1 - message.len());
            while data.has_remaining() {
                message.extend_from_slice(data.chunk());
                data.advance(data.chunk().len());
            }
        }
    }
    Ok(message)
}

/// The kind of a client's error, never its text.
fn cause(error: impl Into<BoxError>) -> Cause {
    let error = error.into();
    HttpClassifier::new().classify(Err::<&Response<()>, _>(&*error)).cause()
}
