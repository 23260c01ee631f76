//! A real Alertmanager accepts, groups and resolves alerts.
//!
//! It is Debian's `prometheus-alertmanager`, which is installed if it is missing and that is allowed.
//! If it can't be, the test says on the terminal that it was skipped.

#![cfg(all(feature = "alert", feature = "circuit-breaker", feature = "hyper-util"))]

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::{Json, Router, routing::post};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_upstream::CircuitBreakerLayer;
use tower_upstream::alert::{Alertmanager, Alerts, Severity};

/// Returns the program's path; installs it if need be.
fn program() -> Result<&'static str, String> {
    const NAME: &str = "prometheus-alertmanager";
    let runs = |name: &str, arguments: &[&str]| {
        let mut command = Command::new(name);
        // Without questions, and without starting the server that comes with it.
        let command = command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        let command = command.env("RUNLEVEL", "1");
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    if runs(NAME, &["--version"]) {
        return Ok(NAME);
    }
    let install = ["install", "--yes", "--no-install-recommends", NAME];
    let installed =
        runs("apt-get", &install) || runs("apt-get", &["update"]) && runs("apt-get", &install);
    if installed && runs(NAME, &["--version"]) {
        return Ok(NAME);
    }
    Err(format!("{NAME} isn't here, and can't be installed"))
}

/// A server, ended with the test.
struct Server {
    process: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
        _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Server {
    /// Starts a server that sends everything to this hook.
    fn start(program: &str, hook: SocketAddr) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let directory = std::env::temp_dir().join(format!("alertmanager-{}", address.port()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let config = directory.join("config.yml");
        let text = format!(
            "route:\n  receiver: hook\n  group_by: [alertname, service]\n  group_wait: 1s\n  \
             group_interval: 1s\nreceivers:\n- name: hook\n  webhook_configs:\n  \
             - url: http://{hook}/\n    send_resolved: true\n"
        );
        std::fs::write(&config, text).expect("a configuration");
        let process = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.path={}", directory.display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        Self { process, directory, address }
    }
}

type Http = Client<HttpConnector, Full<Bytes>>;

/// Polls until there is a value.
async fn until<T>(what: &str, mut poll: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = poll().await {
            return value;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{what} in vain");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The alerts that go on there.
async fn active(http: &Http, server: SocketAddr) -> Option<Vec<Value>> {
    let url = format!("http://{server}/api/v2/alerts?active=true");
    let request = Request::get(url).body(Full::default()).expect("a request");
    let response = http.request(request).await.ok()?;
    serde_json::from_slice(&response.into_body().collect().await.ok()?.to_bytes()).ok()
}

#[tokio::test]
async fn alertmanager_accepts_groups_and_resolves() {
    let program = match program() {
        Ok(program) => program,
        Err(reason) => {
            // Past what the harness captures.
            let line = format!("\nSKIPPED a_real_alertmanager: {reason}\n");
            std::io::stderr().write_all(line.as_bytes()).expect("a terminal");
            return;
        }
    };

    // The hook that it sends to.
    let observed: Arc<Mutex<Vec<Value>>> = Arc::default();
    let hook = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let hook_address = hook.local_addr().expect("an address");
    let notified_to_hook = Arc::clone(&observed);
    let router = Router::new().route(
        "/",
        post(async move |Json(body): Json<Value>| notified_to_hook.lock().unwrap().push(body)),
    );
    let serving = tokio::spawn(async move { axum::serve(hook, router).await });

    let server = Server::start(program, hook_address);
    let http: Http = Client::builder(TokioExecutor::new()).build_http();
    until("waited for it to serve", async || active(&http, server.address).await).await;

    let sends = ServiceBuilder::new()
        .map_request(|request: Request<Bytes>| request.map(Full::new))
        .service(http.clone());
    let alerts = Alerts::builder()
        .service("checkout")
        .sink(Alertmanager::new(format!("http://{}", server.address)), Severity::Info, sends)
        .build()
        .expect("it can work");

    // Circuits with names of all kinds.
    let long = "x".repeat(5_000);
    let names = ["ระบบชำระเงิน 🔥👩‍🚒", "<!channel> & \"<@U1>\"", &long];
    let status = Arc::new(AtomicU16::new(500));
    let clients = names.map(|name| {
        let breaker = CircuitBreakerLayer::builder()
            .name(name)
            .consecutive_failures(1)
            .open_for(Duration::from_millis(100))
            .observer(alerts.observer());
        let status = Arc::clone(&status);
        let upstream = service_fn(move |_: Request<()>| {
            let status = status.load(Ordering::Relaxed);
            async move { Ok::<_, BoxError>(Response::builder().status(status).body(())?) }
        });
        breaker.build().expect("it can work").layer(upstream)
    });
    for client in clients.clone() {
        _ = client.oneshot(Request::new(())).await;
    }
    assert!(alerts.flush(Duration::from_secs(10)).await);
    assert_eq!(alerts.stats().sent, 3, "{:?}", alerts.stats());

    let all = active(&http, server.address).await.expect("a response");
    assert_eq!(all.len(), 3, "{all:?}");
    for name in &names[..2] {
        let label = |alert: &&Value| alert["labels"]["circuit"] == **name;
        let alert = all.iter().find(label).expect("the circuit's");
        assert_eq!(alert["labels"]["severity"], "warning");
        let summary = alert["annotations"]["summary"].as_str().expect("a text");
        assert!(summary.starts_with(&format!("Circuit opened: {name}, ")), "{summary}");
    }
    let group = until("waited for a group", async || observed.lock().unwrap().pop()).await;
    assert_eq!(group["status"], "firing");
    assert_eq!(group["alerts"].as_array().map(Vec::len), Some(3), "{group}");
    assert_eq!(group["groupLabels"]["alertname"], "circuit_open");

    // They close.
    status.store(200, Ordering::Relaxed);
    let closed = async || {
        for client in clients.clone() {
            _ = client.oneshot(Request::new(())).await;
        }
        alerts.firing().is_empty().then_some(())
    };
    until("waited for the circuits", closed).await;
    assert!(alerts.flush(Duration::from_secs(10)).await);
    assert_eq!(active(&http, server.address).await.expect("a response"), [Value::Null; 0]);
    let over = until("waited for the end", async || observed.lock().unwrap().pop()).await;
    assert_eq!(over["status"], "resolved");
    serving.abort();
}
