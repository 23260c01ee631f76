//! A program with five of tower's own layers, whose compile time `scripts/compile-time` sets
//! beside that of `five_layers`.

use std::future::{Ready, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower::retry::Policy;
use tower::{BoxError, ServiceBuilder, ServiceExt};

/// One attempt more.
#[derive(Clone)]
struct Once(bool);

impl<B: Clone, Res, E> Policy<Request<B>, Res, E> for Once {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Request<B>, result: &mut Result<Res, E>) -> Option<Ready<()>> {
        (result.is_err() && std::mem::take(&mut self.0)).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request<B>) -> Option<Request<B>> {
        Some(request.clone())
    }
}

fn main() -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _within = runtime.enter();
    let client = ServiceBuilder::new()
        .buffer(100)
        .retry(Once(true))
        .timeout(Duration::from_secs(1))
        .load_shed()
        .concurrency_limit(100)
        .service(Client::builder(TokioExecutor::new()).build_http());
    let request = Request::get("http://127.0.0.1:1/models").body(Full::<Bytes>::default())?;
    match runtime.block_on(client.oneshot(request)) {
        Ok(answer) => println!("{}", answer.status()),
        Err(error) => println!("{error}"),
    }
    Ok(())
}
