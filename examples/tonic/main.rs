//! The stack under tonic's generated client, against a server that is
//! unavailable twice.
//!
//! tonic's body isn't `Clone`; with the feature `tonic` the retry layer knows how to
//! record and repeat it. A call that is turned away here is `UNAVAILABLE` or
//! `RESOURCE_EXHAUSTED` to the generated client, like one that the server refused.
//!
//! `cargo run --example tonic --features tonic`

#[allow(
    clippy::pedantic,
    clippy::unwrap_used,
    missing_docs,
    unused_qualifications,
    unreachable_pub
)]
mod greeter;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use greeter::greeter_client::GreeterClient;
use greeter::greeter_server::{Greeter, GreeterServer};
use greeter::{GreetReply, GreetRequest};
use tonic::transport::{Channel, Server, server::TcpIncoming};
use tonic::{Request, Response, Status, Streaming};
use tower::{ServiceBuilder, timeout::TimeoutLayer};
use tower_upstream::{BoxError, CircuitBreakerLayer, Quota, RateLimitLayer, RetryLayer};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let upstream = spawn_upstream()?;

    let channel = ServiceBuilder::new()
        // Greeting twice does no harm; gRPC's POST doesn't say so by itself.
        .layer(RetryLayer::new().retry_non_idempotent())
        .layer(RateLimitLayer::new(Quota::per_minute(60)))
        .layer(CircuitBreakerLayer::new())
        .layer(TimeoutLayer::new(Duration::from_secs(10)))
        .service(Channel::from_shared(upstream)?.connect_lazy());
    let mut client = GreeterClient::new(channel);

    let reply = client.greet(GreetRequest { name: "world".into() }).await?.into_inner();
    println!("{}", reply.message);
    assert_eq!(reply.message, "hello world, at attempt 3");
    Ok(())
}

#[derive(Default)]
struct Moody {
    calls: Arc<AtomicU32>,
}

#[tonic::async_trait]
impl Greeter for Moody {
    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<GreetReply>, Status> {
        let name = request.into_inner().name;
        match self.calls.fetch_add(1, Ordering::SeqCst) + 1 {
            1 | 2 => Err(Status::unavailable("not now")),
            call => {
                let message = format!("hello {name}, at attempt {call}");
                Ok(Response::new(GreetReply { message }))
            }
        }
    }

    async fn greet_all(
        &self,
        request: Request<Streaming<GreetRequest>>,
    ) -> Result<Response<GreetReply>, Status> {
        let mut names = Vec::new();
        let mut requests = request.into_inner();
        while let Some(request) = requests.message().await? {
            names.push(request.name);
        }
        Ok(Response::new(GreetReply { message: format!("hello {}", names.join(", ")) }))
    }
}

/// A server that answers `UNAVAILABLE`, `UNAVAILABLE`, `OK`.
fn spawn_upstream() -> Result<String, BoxError> {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    let address = incoming.local_addr()?;
    let service = GreeterServer::new(Moody::default());
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    Ok(format!("http://{address}"))
}
