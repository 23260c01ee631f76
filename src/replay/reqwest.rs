use std::fmt;

use http::HeaderMap;
use reqwest::{Body, Request};

use super::http::is_idempotent;
use super::{HttpReplay, Replay, ReplayBody};

/// What is kept of a reqwest request. A streamed body can't be cloned and is recorded.
pub struct KeptReqwest {
    request: Request,
    streamed: Option<ReplayBody<Body>>,
}

impl fmt::Debug for KeptReqwest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptReqwest(..)")
    }
}

impl Replay<Request> for HttpReplay {
    type Kept = KeptReqwest;

    fn keep(&self, request: &mut Request) -> Option<KeptReqwest> {
        if let Some(copy) = request.try_clone() {
            return Some(KeptReqwest { request: copy, streamed: None });
        }
        // Without its body it can be cloned.
        let body = request.body_mut().take()?;
        let head = request.try_clone();
        let body = request.body_mut().insert(body);
        let streamed = ReplayBody::record(body, self.limit, Body::wrap)?;
        Some(KeptReqwest { request: head?, streamed: Some(streamed) })
    }

    fn again(&self, kept: KeptReqwest, last: bool) -> Option<(Request, Option<KeptReqwest>)> {
        let KeptReqwest { request, streamed } = kept;
        let body = match &streamed {
            Some(streamed) => Some(Body::wrap(streamed.rewind()?)),
            None => None,
        };
        let (mut again, rest) =
            if last { (request, None) } else { (request.try_clone()?, Some(request)) };
        if body.is_some() {
            *again.body_mut() = body;
        }
        Some((again, rest.map(|request| KeptReqwest { request, streamed })))
    }

    fn is_idempotent(&self, request: &Request) -> bool {
        is_idempotent(request.method(), request.headers())
    }

    fn headers_mut<'a>(&self, request: &'a mut Request) -> Option<&'a mut HeaderMap> {
        Some(request.headers_mut())
    }
}
