use std::fmt;

use http::HeaderMap;
use reqwest::{Body, Request};

use super::body::ReplayBody;
use super::http::{HttpReplay, is_idempotent};
use super::strategy::Replay;

/// A saved reqwest request. A streamed body, which can't be cloned, is recorded.
pub struct SavedReqwestRequest {
    request: Request,
    streamed: Option<ReplayBody<Body>>,
}

impl fmt::Debug for SavedReqwestRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SavedReqwestRequest(..)")
    }
}

impl Replay<Request> for HttpReplay {
    type SavedRequest = SavedReqwestRequest;

    fn save(&self, request: &mut Request) -> Option<SavedReqwestRequest> {
        if let Some(copy) = request.try_clone() {
            return Some(SavedReqwestRequest { request: copy, streamed: None });
        }
        // Without its body, the request can be cloned.
        let body = request.body_mut().take()?;
        let head = request.try_clone();
        let body = request.body_mut().insert(body);
        let streamed = ReplayBody::record(body, self.limit, Body::wrap)?;
        Some(SavedReqwestRequest { request: head?, streamed: Some(streamed) })
    }

    fn restore(
        &self,
        saved: SavedReqwestRequest,
        last: bool,
    ) -> Option<(Request, Option<SavedReqwestRequest>)> {
        let SavedReqwestRequest { request, streamed } = saved;
        let (mut request, rest) =
            if last { (request, None) } else { (request.try_clone()?, Some(request)) };
        if let Some(streamed) = &streamed {
            *request.body_mut() = Some(Body::wrap(streamed.rewind()?));
        }
        Some((request, rest.map(|request| SavedReqwestRequest { request, streamed })))
    }

    fn is_idempotent(&self, request: &Request) -> bool {
        is_idempotent(request.method(), request.headers())
    }

    fn headers_mut<'a>(&self, request: &'a mut Request) -> Option<&'a mut HeaderMap> {
        Some(request.headers_mut())
    }
}
