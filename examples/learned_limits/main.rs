//! A client that learns its upstream's limit from the headers of responses: a limit that is unknown
//! at first, or one that changes. It calls over real sockets, on a paused clock. The servers keep
//! strict limits in windows of ten seconds, and halve them for a while.
//!
//! `cargo run --release --example learned_limits`
//!
//! Prints the share of calls answered with a 429, and the share of the allowed rate that was used.
//! Exits with 1 unless they are below 1 % and above 90 %.

mod upstream;

use std::net::SocketAddr;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tower::{Layer, Service, ServiceExt};
use tower_upstream::{BoxError, Quota, RateLimitLayer};

use self::upstream::{Upstream, Windows};

const WINDOW: Duration = Duration::from_secs(10);
const WINDOWS: u32 = 40;
const HALVED: Range<u32> = 10..20;
const QUOTA: u32 = 200;
const LIMIT: usize = QUOTA as usize;
const CALLERS: usize = 40;

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<ExitCode, BoxError> {
    println!("{WINDOWS} windows of {WINDOW:?}: {LIMIT} calls, then half of it, then all again");
    let mut good = true;
    for windows in [Windows::Fixed, Windows::Sliding, Windows::SlidingByUnit] {
        for (known, quota) in [("un", Quota::learned()), ("", Quota::new(QUOTA, WINDOW))] {
            good &=
                holds(&format!("{windows:?}, {known}known at first"), run(windows, quota).await?);
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the result of a run. Returns whether it is good enough.
fn holds(name: &str, (answered, refused): (usize, usize)) -> bool {
    let refused = share(refused, answered + refused);
    let allowed = LIMIT * (WINDOWS as usize - HALVED.len()) + LIMIT / 2 * HALVED.len();
    let used = share(answered, allowed);
    println!("{name}: {refused:.2} % of calls answered 429, {used:.1} % of the rate used");
    refused < 1.0 && used > 90.0
}

#[allow(clippy::cast_precision_loss)]
fn share(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// Returns the number of calls that were accepted, and of those that were rejected.
async fn run(windows: Windows, quota: Quota) -> Result<(usize, usize), BoxError> {
    let server = Arc::new(Mutex::new(Upstream::new(windows, LIMIT, WINDOW)));
    let address = serve(Arc::clone(&server)).await?;
    let limit =
        RateLimitLayer::builder(quota).learn_limits(true).max_wait(Duration::MAX).build()?;
    let client = limit.layer(Client::builder(TokioExecutor::new()).build_http());

    let start = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let mut client = client.clone();
        callers.spawn(timeout_at(start + WINDOW * WINDOWS, async move {
            loop {
                let request = http::Request::get(format!("http://{address}/"));
                let request = request.body(Full::<Bytes>::default())?;
                client.ready().await?.call(request).await?.into_body().collect().await?;
            }
        }));
    }
    for (from, limit) in [(HALVED.start, LIMIT / 2), (HALVED.end, LIMIT)] {
        sleep_until(start + WINDOW * from).await;
        server.lock().unwrap().set_limit(limit);
    }
    while let Some(caller) = callers.join_next().await {
        // A caller ends by its timeout, or with an error.
        if let Ok(ended) = caller? {
            return ended;
        }
    }
    let server = server.lock().unwrap();
    Ok((server.answered, server.refused))
}

async fn serve(server: Arc<Mutex<Upstream>>) -> Result<SocketAddr, BoxError> {
    let app = Router::new().fallback(reply).with_state(server);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

/// Responds after a random delay, so that responses arrive out of order.
async fn reply(State(server): State<Arc<Mutex<Upstream>>>) -> (StatusCode, HeaderMap) {
    sleep(Duration::from_millis(fastrand::u64(1..30))).await;
    let reply = server.lock().unwrap().arrive();
    sleep(Duration::from_millis(fastrand::u64(1..100))).await;
    (reply.status(), reply.headers().clone())
}
