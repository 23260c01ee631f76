use std::fmt;

use http::HeaderMap;
use reqwest::{Body, Request};

use super::http::is_idempotent;
use super::{HttpReplay, Replay, ReplayBody};

/// What is saved of a reqwest request. A streamed body can't be cloned and is recorded.
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

    fn keep(&self, request: &mut Request) -> Option<SavedReqwestRequest> {
        if let Some(copy) = request.try_clone() {
            return Some(SavedReqwestRequest { request: copy, streamed: None });
        }
        // Without its body it can be cloned.
        let body = request.body_mut().take()?;
        let head = request.try_clone();
        let body = request.body_mut().insert(body);
        let streamed = ReplayBody::record(body, self.limit, Body::wrap)?;
        Some(SavedReqwestRequest { request: head?, streamed: Some(streamed) })
    }

    fn again(
        &self,
        saved: SavedReqwestRequest,
        last: bool,
    ) -> Option<(Request, Option<SavedReqwestRequest>)> {
        let SavedReqwestRequest { request, streamed } = saved;
        let body = match &streamed {
            Some(streamed) => Some(Body::wrap(streamed.rewind()?)),
            None => None,
        };
        let (mut again, rest) =
            if last { (request, None) } else { (request.try_clone()?, Some(request)) };
        if body.is_some() {
            *again.body_mut() = body;
        }
        Some((again, rest.map(|request| SavedReqwestRequest { request, streamed })))
    }

    fn is_idempotent(&self, request: &Request) -> bool {
        is_idempotent(request.method(), request.headers())
    }

    fn headers_mut<'a>(&self, request: &'a mut Request) -> Option<&'a mut HeaderMap> {
        Some(request.headers_mut())
    }
}
