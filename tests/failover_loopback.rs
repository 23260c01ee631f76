//! What is claimed about failing over and back, over sockets: real servers on loopback.

#![cfg(all(feature = "failover", feature = "retry", feature = "hyper-util", feature = "tonic"))]

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::IntoResponse;
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_upstream::failover::{
    Condition, FailoverLayer, HealthChecks, Region, Regions, ServingRegion,
};
use tower_upstream::{BoxError, RetryLayer};

/// A server that can be killed, with all its connections, and started again where it was.
struct Server {
    address: SocketAddr,
    app: Router,
    running: Option<Runtime>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start(
        app: impl Fn(Uri) -> axum::response::Response + Clone + Send + Sync + 'static,
    ) -> Self {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let app = Router::new().fallback(move |uri: Uri| {
            count.fetch_add(1, Ordering::SeqCst);
            let reply = app(uri);
            async { reply }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { address, app, running: None, asked };
        server.restart();
        server
    }

    fn well() -> Self {
        Self::start(|_| "well".into_response())
    }

    fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let (app, runtime) = (self.app.clone(), runtime.unwrap());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
        self.running = Some(runtime);
    }

    fn kill(&mut self) {
        if let Some(runtime) = self.running.take() {
            runtime.shutdown_background();
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn regions(addresses: &[SocketAddr]) -> Regions {
    let names = ["us", "eu"];
    Regions::new(names.iter().zip(addresses).zip(1..).map(|((name, address), priority)| {
        Region::new(*name, format!("http://{address}/v1")).priority(priority)
    }))
    .unwrap()
}

fn hyper() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn get() -> Request<Full<Bytes>> {
    Request::get("/models").header("authorization", "Bearer secret").body(Full::default()).unwrap()
}

#[tokio::test]
async fn a_hung_region_costs_its_timeout_and_little_more() {
    // The kernel accepts connections, and nothing reads them.
    let hung = TcpListener::bind("127.0.0.1:0").unwrap();
    let well = Server::well();
    let timeout = Duration::from_millis(300);
    let client = hyper();
    let layer = FailoverLayer::new(regions(&[hung.local_addr().unwrap(), well.address]));
    let handle = layer.handle();
    let mut client = ServiceBuilder::new()
        .layer(RetryLayer::builder().attempt_timeout(timeout).build().unwrap())
        .layer(layer)
        .map_response(ServingRegion::insert_into)
        .service(client);

    handle.force_out("us").unwrap();
    let mut times = Vec::new();
    for _ in 0..21 {
        let start = Instant::now();
        assert_eq!(client.ready().await.unwrap().call(get()).await.unwrap().status(), 200);
        times.push(start.elapsed());
    }
    times.sort();
    let median = times[times.len() / 2];

    handle.release("us").unwrap();
    let start = Instant::now();
    let reply = client.ready().await.unwrap().call(get()).await.unwrap();
    let took = start.elapsed();
    assert_eq!(reply.extensions().get(), Some(&ServingRegion("eu")));
    let bound = timeout + 2 * median + Duration::from_millis(50);
    assert!(took >= timeout && took <= bound, "{took:?}, and not up to {bound:?}");
}

/// Calls until `over` says so. Each call must succeed.
async fn call_until<S>(client: &mut S, mut over: impl FnMut() -> bool)
where
    S: Service<Request<Full<Bytes>>, Error = BoxError>,
{
    let start = Instant::now();
    while !over() {
        assert!(start.elapsed() < Duration::from_secs(30), "it takes too long");
        if let Err(error) = client.ready().await.unwrap().call(get()).await {
            panic!("a caller noticed: {error}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_region_dies_and_comes_back_without_a_failed_call() {
    let (mut us, eu) = (Server::well(), Server::well());
    let layer = FailoverLayer::builder(regions(&[us.address, eu.address]))
        .cooldown(Duration::from_millis(100))
        .ramp(Duration::from_millis(200))
        .build()
        .unwrap();
    let handle = layer.handle();
    let mut client = ServiceBuilder::new().layer(layer).service(hyper());
    let condition = || handle.status()[0].condition;
    call_until(&mut client, || us.asked() >= 20).await;
    assert_eq!(eu.asked(), 0);
    us.kill();
    call_until(&mut client, || eu.asked() >= 20).await;
    assert_ne!(condition(), Condition::Fit);
    us.restart();
    call_until(&mut client, || condition() == Condition::Fit).await;
    let (before, elsewhere) = (us.asked(), eu.asked());
    call_until(&mut client, || us.asked() >= before + 20).await;
    assert_eq!(eu.asked(), elsewhere);
}

/// A gRPC server that replies every call, and health checks with `SERVING`.
fn grpc() -> Server {
    Server::start(|uri| {
        let message: &'static [u8] =
            if uri.path().ends_with("/Check") { &[0, 0, 0, 0, 2, 8, 1] } else { &[] };
        ([("content-type", "application/grpc"), ("grpc-status", "0")], message).into_response()
    })
}

#[tokio::test]
async fn a_channel_a_region_one_of_which_is_killed() {
    let (mut us, eu) = (grpc(), grpc());
    let channel = |address: SocketAddr| {
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        channel.map_request(|request: Request<Full<Bytes>>| request.map(tonic::body::Body::new))
    };
    // The checks go through a client of their own.
    let checker = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let checker = checker.map_request(|check: Request<Bytes>| check.map(Full::new));
    let checks = HealthChecks::grpc(checker).interval(Duration::from_millis(50));
    let addresses = [us.address, eu.address];
    let layer = FailoverLayer::builder(regions(&addresses))
        .cooldown(Duration::from_millis(100))
        .health_checks(checks)
        .build()
        .unwrap();
    let handle = layer.handle();
    let services = layer.services(|region| channel(addresses[usize::from(region.name() == "eu")]));
    let mut client = ServiceBuilder::new().layer(RetryLayer::new()).service(services);
    let healthy = || handle.status()[0].healthy;
    call_until(&mut client, || handle.status().iter().all(|region| region.last_check.is_some()))
        .await;
    assert!(handle.status().iter().all(|region| region.healthy));
    us.kill();
    call_until(&mut client, || !healthy()).await;
    us.restart();
    call_until(&mut client, healthy).await;
}

#[tokio::test]
async fn a_credential_goes_to_no_host_outside_the_set() {
    let elsewhere = Server::well();
    let other = elsewhere.address;
    let us = Server::start(move |uri| {
        let moved = axum::response::Redirect::temporary(&format!("http://{other}{uri}"));
        if uri.path() == "/v1/moved" { moved.into_response() } else { "well".into_response() }
    });
    let client =
        ServiceBuilder::new().layer(FailoverLayer::new(regions(&[us.address]))).service(hyper());
    for (target, status) in [
        (format!("http://{other}/v1/models"), 200),
        (format!("http://user:password@{other}/models"), 200),
        (format!("//{other}/models"), 200),
        ("/moved".to_owned(), 307),
    ] {
        let mut request = get();
        *request.uri_mut() = target.parse().unwrap();
        let response = client.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{target}");
        response.into_body().collect().await.unwrap();
    }
    assert_eq!((us.asked(), elsewhere.asked()), (4, 0));
}
