use std::fmt;
use std::future::{Future, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{CONTENT_TYPE, TE};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tower_service::Service;

use super::route::{Route, Target};
use super::set::RegionSet;
use crate::classify::{Classify, HttpClassifier};
use crate::error::{BoxError, InvalidConfig};
use crate::sync::{AtomicBool, Mutex, Ordering};
use crate::time::{self, Instant, Sleep};
use crate::verdict::{Cause, GrpcCode};

/// Asks each region, every few seconds, whether it is well: by `GET {base}/health`, a
/// [gRPC health check](Self::grpc) or a [closure](Self::check_fn).
///
/// A 200 within the timeout says that the region is well, and the time that it took is the region's
/// latency. Anything else takes the region out, before a call finds out, and at least until the next
/// check. The next 200 starts probing the region at once, even during a cooldown that calls began. There
/// are two exceptions: the time that its server asked for is saved, and a region that was lost again
/// before it had come back fully waits for the end of its cooldown.
///
/// A check that panics has failed. The checks have a client of their own, so that no circuit, rate limit or
/// retry of the calls stands in their way or notified of them. Each region has a task for its checks, on
/// the runtime of the first call through the layer, which starts it. The task ends when the last call
/// is over and the last clone of the layer, its services and its handles is dropped.
///
/// ```
/// use std::time::Duration;
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use tower::ServiceExt;
/// use tower_upstream::failover::{FailoverLayer, HealthChecks, Region, Regions};
///
/// # fn main() -> Result<(), tower_upstream::InvalidConfig> {
/// let client = Client::builder(TokioExecutor::new())
///     .build_http::<Full<Bytes>>()
///     .map_request(|check: http::Request<Bytes>| check.map(Full::new));
/// let checks = HealthChecks::new(client).interval(Duration::from_secs(30)).path("/up");
///
/// let regions = Regions::new([
///     Region::new("us-west-2", "http://api.example.com/v1").priority(1),
///     Region::new("eu-west-1", "http://eu-api.example.com/v1").priority(2),
/// ])?;
/// let layer = FailoverLayer::builder(regions).health_checks(checks).build()?;
/// # let _ = layer;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct HealthChecks {
    probe: Arc<Probe>,
    interval: Duration,
    timeout: Duration,
    /// `None` if what was given isn't the path of a URI.
    path: Option<PathAndQuery>,
}

/// What a check found: the latency of a 200, or what was seen instead.
pub(super) type Finding = Result<Duration, Cause>;

// Boxed, so that no layer's type names the client. A check every few seconds can afford it.
type Probe = dyn Fn(&Target<'_>, PathAndQuery) -> Probing + Send + Sync;
type Probing = Pin<Box<dyn Future<Output = Finding> + Send>>;

/// With an interval of zero the checks would run without a pause.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

impl HealthChecks {
    /// Checks that are sent through this client. It isn't the client that the layer is put around, and
    /// should not retry.
    pub fn new<S, B: 'static>(client: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        Self::of(PathAndQuery::from_static("/health"), move |to, path| {
            Box::pin(http(client.clone(), get(to, path)))
        })
    }

    /// Checks by the [gRPC health protocol](https://github.com/grpc/grpc/blob/master/doc/health-checking.md),
    /// sent through this client, as by [`new`](Self::new). A region is well if the server as a whole says
    /// that it is serving.
    pub fn grpc<S, B>(client: S) -> Self
    where
        S: Service<Request<Bytes>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Body<Data: Buf + Send, Error: Into<BoxError>> + Send + 'static,
    {
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        Self::of(path, move |to, path| Box::pin(grpc(client.clone(), grpc_request(to, path))))
    }

    /// Checks by a closure: the region is well if its future returns `Ok`.
    ///
    /// ```
    /// use tower_upstream::BoxError;
    /// use tower_upstream::failover::HealthChecks;
    ///
    /// let checks = HealthChecks::check_fn(|region| {
    ///     let address = region.uri().authority().map(ToString::to_string);
    ///     async move {
    ///         let address = address.ok_or("no address")?;
    ///         tokio::net::TcpStream::connect(address).await?;
    ///         Ok::<_, BoxError>(())
    ///     }
    /// });
    /// # let _ = checks;
    /// ```
    pub fn check_fn<F, Fut, E>(check: F) -> Self
    where
        F: Fn(&Target<'_>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        Self::of(PathAndQuery::from_static("/"), move |to, _| Box::pin(timed(check(to))))
    }

    fn of(
        path: PathAndQuery,
        probe: impl Fn(&Target<'_>, PathAndQuery) -> Probing + Send + Sync + 'static,
    ) -> Self {
        Self {
            probe: Arc::new(probe),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            path: Some(path),
        }
    }

    /// The time from the start of one check to the start of the next. Up to a tenth is added or taken
    /// off at random, so that many processes don't check in step. Default: 10 s; at least 10 ms. If a
    /// check takes longer than the interval, the next one follows at once.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(SHORTEST_INTERVAL);
        self
    }

    /// How long a check may take. Default: 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The path that is asked for, below each region's base, with a query if need be. Checks by a
    /// closure don't use it. Default: `/health`. What isn't the path of a URI is refused when the layer
    /// is built.
    pub fn path(mut self, path: &str) -> Self {
        let slash = if path.starts_with('/') { "" } else { "/" };
        self.path = PathAndQuery::try_from(format!("{slash}{path}")).ok();
        self
    }

    pub(super) fn validate(&self) -> Result<(), InvalidConfig> {
        let wrong = || InvalidConfig::new("the health checks' path isn't one, as /health is");
        self.path.as_ref().map(|_| ()).ok_or_else(wrong)
    }

    /// One check of this region. It takes no longer than the timeout, and doesn't panic.
    pub(super) fn check(&self, to: &Target<'_>) -> Check {
        let timer = time::sleep_until(time::after(time::now(), self.timeout));
        let path = self.path.clone().unwrap_or_else(|| PathAndQuery::from_static("/"));
        // The closure may panic before it returns a future.
        let probing = catch_unwind(AssertUnwindSafe(|| (self.probe)(to, path)));
        let probing = probing.unwrap_or_else(|_| Box::pin(ready(Err(Cause::Unknown))));
        Check { probing, timer }
    }

    /// How long after the start of a check the next one starts.
    pub(super) fn next_interval(&self) -> Duration {
        jittered(self.interval, fastrand::f64())
    }

    /// How long after its start a check's finding is known for certain. Timers and tasks
    /// are late at times, so this allows a second more than the timeout.
    pub(super) fn longest(&self) -> Duration {
        self.timeout.saturating_add(Duration::from_secs(1))
    }
}

impl fmt::Debug for HealthChecks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthChecks")
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// `interval`, more or less by up to a tenth as `random` goes from 0 to 1.
fn jittered(interval: Duration, random: f64) -> Duration {
    let tenth = interval / 10;
    let least = interval.saturating_sub(tenth);
    least.saturating_add((tenth * 2).mul_f64(random))
}

pin_project! {
    /// A check under way.
    pub(super) struct Check {
        probing: Probing,
        #[pin]
        timer: Sleep,
    }
}

impl Future for Check {
    type Output = Finding;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Finding> {
        let this = self.project();
        // What panicked is never polled again: the check is over.
        match catch_unwind(AssertUnwindSafe(|| this.probing.as_mut().poll(cx))) {
            Ok(Poll::Ready(finding)) => Poll::Ready(finding),
            Ok(Poll::Pending) => this.timer.poll(cx).map(|()| Err(Cause::Timeout)),
            Err(_) => Poll::Ready(Err(Cause::Unknown)),
        }
    }
}

/// `GET {base}{path}`.
pub(super) fn get(to: &Target<'_>, path: PathAndQuery) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = Uri::from(path);
    request.route(to);
    request
}

/// A call of `Check`. Its message is empty, so that it asks about the server as a whole.
pub(super) fn grpc_request(to: &Target<'_>, path: PathAndQuery) -> Request<Bytes> {
    /// Not compressed, and of no length.
    const EMPTY: &[u8] = &[0, 0, 0, 0, 0];
    let mut request = get(to, path).map(|_| Bytes::from_static(EMPTY));
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    request
}

/// The region is healthy if it responds with a 200.
pub(super) async fn http<S, B>(client: S, request: Request<Bytes>) -> Finding
where
    S: Service<Request<Bytes>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    let (status, sent) = result(client, request, |response| response.status()).await?;
    if status == StatusCode::OK { Ok(since(sent)) } else { Err(Cause::Status(status)) }
}

/// The region is healthy if it responds with the message `SERVING`.
pub(super) async fn grpc<S, B>(client: S, request: Request<Bytes>) -> Finding
where
    S: Service<Request<Bytes>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: Body<Error: Into<BoxError>>,
{
    /// Not compressed, of two bytes: field 1, a number, is 1.
    const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
    let (response, sent) = result(client, request, |response| response).await?;
    let verdict = HttpClassifier::new().classify(Ok(&response));
    if !verdict.is_success() {
        return Err(verdict.cause());
    }
    match message(response.into_body(), SERVING.len()).await {
        Ok(message) if message == SERVING => Ok(since(sent)),
        Ok(_) => Err(Cause::Grpc(GrpcCode::Unavailable)),
        Err(error) => Err(cause(error)),
    }
}

/// The region is well if the check returns no error.
pub(super) async fn timed<E: Into<BoxError>>(
    check: impl Future<Output = Result<(), E>>,
) -> Finding {
    let began = time::now();
    check.await.map_err(cause)?;
    Ok(since(began))
}

fn since(then: Instant) -> Duration {
    time::now().saturating_duration_since(then)
}

/// Sends the request. Returns what `read` makes of the response, and when the request was sent.
async fn result<S, B, T>(
    mut client: S,
    request: Request<Bytes>,
    read: impl FnOnce(Response<B>) -> T,
) -> Result<(T, Instant), Cause>
where
    S: Service<Request<Bytes>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    poll_fn(|cx| client.poll_ready(cx)).await.map_err(cause)?;
    // Taken once the client is ready: time in its queue isn't the region's latency.
    let sent = time::now();
    client.call(request).await.map(|response| (read(response), sent)).map_err(cause)
}

/// The first bytes of a body, at most `length` and one more.
async fn message<B>(body: B, length: usize) -> Result<Vec<u8>, B::Error>
where
    B: Body,
{
    let mut body = pin!(body);
    let mut message = Vec::new();
    while message.len() <= length {
        let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await else { break };
        if let Ok(data) = frame?.into_data() {
            let mut data = data.take(length + 1 - message.len());
            while data.has_remaining() {
                message.extend_from_slice(data.chunk());
                data.advance(data.chunk().len());
            }
        }
    }
    Ok(message)
}

/// The kind of a client's error, never its text.
fn cause(error: impl Into<BoxError>) -> Cause {
    let error = error.into();
    HttpClassifier::new().classify(Err::<&Response<()>, _>(&*error)).cause()
}

/// Starts one task per region, once there are calls and a runtime.
#[derive(Debug)]
pub(super) struct WaiterHandle {
    checks: HealthChecks,
    /// Whether a region may have no task: before the first call, when a region was added, and when the
    /// runtime of the tasks has ended.
    wanting: AtomicBool,
}

/// A region's task.
#[derive(Debug, Default)]
pub(super) struct Task {
    /// Whether there is one.
    running: AtomicBool,
    handle: Mutex<Option<AbortHandle>>,
}

impl WaiterHandle {
    pub(super) fn new(checks: HealthChecks) -> Self {
        Self { checks, wanting: AtomicBool::new(true) }
    }

    pub(super) fn checks(&self) -> &HealthChecks {
        &self.checks
    }

    /// Says that a region may have no task. The next call starts it.
    pub(super) fn wants(&self) {
        self.wanting.store(true, Ordering::Release);
    }

    /// Starts the tasks that are missing. If none is, this costs one load.
    pub(super) fn start(&self, set: &Arc<RegionSet>) {
        if self.wanting.load(Ordering::Acquire) {
            self.start_missing(set);
        }
    }

    fn start_missing(&self, set: &Arc<RegionSet>) {
        // Outside a runtime a later call will do it.
        let Ok(runtime) = Handle::try_current() else { return };
        self.wanting.store(false, Ordering::Release);
        for (region, region_state) in set.slots.iter().enumerate() {
            if region_state.is_removed() || region_state.task.running.swap(true, Ordering::AcqRel) {
                continue;
            }
            // Made outside the task: a runtime that is shutting down drops it too, and so clears `running`.
            let running = Running { set: Arc::downgrade(set), region };
            let handle = runtime.spawn(watch(running)).abort_handle();
            *region_state.task.handle.lock() = Some(handle);
        }
    }
}

/// Ends the task: the set that it checks is dropped.
impl Drop for Task {
    fn drop(&mut self) {
        if let Some(task) = self.handle.lock().take() {
            task.abort();
        }
    }
}

/// A task's hold on what it checks. Weak, so that it doesn't keep the set alive.
struct Running {
    set: Weak<RegionSet>,
    region: usize,
}

/// The task has ended, and the set is still there: the region was removed, the runtime was shut down, or
/// an observer panicked. If the region still needs a task, the next call starts another one.
impl Drop for Running {
    fn drop(&mut self) {
        if let Some(set) = self.set.upgrade()
            && let Some(watch) = &set.watch
        {
            set.region_state(self.region).task.running.store(false, Ordering::Release);
            watch.wants();
        }
    }
}

/// Checks one region, from now until it, or the set, is gone.
async fn watch(running: Running) {
    let region = running.region;
    // The set is held between the awaits only.
    while let Some(check) = running.set.upgrade().and_then(|set| set.check(region)) {
        let started = time::now();
        let finding = check.await;
        let Some(next) =
            running.set.upgrade().and_then(|set| set.checked(region, finding, started))
        else {
            return;
        };
        time::sleep_until(next).await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FailoverLayer, Region, Regions};
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth() {
        let interval = Duration::from_secs(10);
        assert_eq!(jittered(interval, 0.0), Duration::from_secs(9));
        assert_eq!(jittered(interval, 0.5), interval);
        assert_eq!(jittered(interval, 1.0), Duration::from_secs(11));
        for interval in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            for random in [0.0, 0.5, 1.0] {
                let jittered = jittered(interval, random);
                assert!(jittered >= interval.saturating_sub(interval / 10));
                assert!(jittered <= interval.saturating_add(interval / 10));
            }
        }
    }

    #[tokio::test]
    async fn asks_for_the_path_below_the_base() {
        let regions = Regions::new([
            Region::new("one", "https://one.test/v1/"),
            Region::new("two", "http://two.test:8080"),
        ]);
        let layer = FailoverLayer::new(regions.unwrap());
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let client = tower::service_fn({
            let seen = Arc::clone(&seen);
            move |request: Request<Bytes>| {
                seen.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
                async { Ok::<_, BoxError>(Response::new(())) }
            }
        });
        let checks = HealthChecks::new(client);
        for path in ["/health", "up", "/v1/up?deep=1"] {
            let checks = checks.clone().path(path);
            for region in 0..2 {
                assert!(checks.check(&layer.set.target(region)).await.is_ok());
            }
        }
        assert_eq!(
            *seen.lock().unwrap(),
            [
                "GET https://one.test/v1/health",
                "GET http://two.test:8080/health",
                "GET https://one.test/v1/up",
                "GET http://two.test:8080/up",
                "GET https://one.test/v1/v1/up?deep=1",
                "GET http://two.test:8080/v1/up?deep=1",
            ]
        );
        for path in ["a path", "/\n"] {
            assert!(checks.clone().path(path).validate().is_err());
        }
    }
}
