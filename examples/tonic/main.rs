//! The recommended stack under tonic's generated client, over one channel a region: the first is
//! dead, and the second is unavailable once.
//!
//! tonic's body isn't `Clone`; with the feature `tonic` the retry layer knows how to
//! record and repeat it. A call that is turned away here is `UNAVAILABLE` or
//! `RESOURCE_EXHAUSTED` to the generated client, like one that the server refused.
//!
//! `cargo run --example tonic`

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
use tokio::net::TcpListener;
use tonic::transport::{Channel, Server, server::TcpIncoming};
use tonic::{Request, Response, Status, Streaming};
use tower_upstream::alert::Alerts;
use tower_upstream::event::{Event, observer_fn};
use tower_upstream::failover::{Region, Regions, Target};
use tower_upstream::{BoxError, Quota, UpstreamLayer};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let regions = Regions::new([
        Region::new("us-west-2", dead_region().await?).priority(1),
        Region::new("eu-west-1", spawn_region()?).priority(2),
    ])?;

    let upstream = UpstreamLayer::builder()
        // Greeting twice does no harm; gRPC's POST doesn't say so by itself.
        .retry(|retry| retry.max_attempts(4).retry_non_idempotent())
        .attempt_timeout(Duration::from_secs(10))
        .quota(Quota::per_minute(60))
        .regions(regions)
        // With sinks, people receive of it: see the module `alert`.
        .alerts(&Alerts::builder().build()?)
        .observer(observer_fn(|event: &Event<'_>| println!("  {event}")))
        .build()?;
    let channel = |region: &Target<'_>| Channel::builder(region.uri()).connect_lazy();
    let mut client = GreeterClient::new(upstream.services(channel)?);

    let reply = client.greet(GreetRequest { name: "world".into() }).await?.into_inner();
    println!("{}", reply.message);
    assert_eq!(reply.message, "hello world, at call 2");
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
            1 => Err(Status::unavailable("not now")),
            call => {
                let message = format!("hello {name}, at call {call}");
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

/// Where nobody listens.
async fn dead_region() -> Result<String, BoxError> {
    let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    Ok(format!("http://{address}"))
}

/// A server that replies `UNAVAILABLE`, `OK`.
fn spawn_region() -> Result<String, BoxError> {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    let address = incoming.local_addr()?;
    let service = GreeterServer::new(Moody::default());
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    Ok(format!("http://{address}"))
}
