//! What is measured: the layers, and the peers beside them.
//!
//! Each subject is a service of `http::Request<()>` over an inner one that is
//! ready at once, so that what is measured is the layer and nothing else.

pub mod count;
mod subjects;

use std::convert::Infallible;

use futures_util::FutureExt;
use http::{Request, Response};
use tower::{BoxError, Service};

pub use self::subjects::visit_all;

/// Sees every subject. A trait, since each is a type of its own.
pub trait Visit {
    fn visit<S>(&mut self, name: &'static str, subject: S)
    where
        S: Service<Request<()>, Response = Response<()>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send;
}

/// The inner service: ready at once, and answers at once.
#[derive(Clone, Copy, Debug)]
pub struct Bare;

impl Service<Request<()>> for Bare {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        std::hint::black_box(request);
        std::future::ready(Ok(Response::new(())))
    }
}

/// Readies the subject, calls it once and takes the answer. True if there was one.
#[inline]
pub fn call_once<S>(subject: &mut S) -> bool
where
    S: Service<Request<()>, Response = Response<()>>,
{
    let ready = futures_util::future::poll_fn(|cx| subject.poll_ready(cx)).now_or_never();
    if !matches!(ready, Some(Ok(()))) {
        return false;
    }
    matches!(subject.call(Request::new(())).now_or_never(), Some(Ok(_)))
}
