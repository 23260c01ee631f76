//! The layers under test, one a file: how to build, drive and look at each.

mod alert;
mod circuit_breaker;
mod failover;
mod peek;
mod rate_limit;
mod retry;

use std::fmt::{Debug, Display};
use std::future::Future;
use std::time::Duration;

use futures_util::future::FutureExt;
use tower::{BoxError, Layer, Service, ServiceExt};
use tower_upstream::InvalidConfig;
use tower_upstream::event::Observer;

pub(crate) use self::alert::Alert;
pub(crate) use self::circuit_breaker::{
    CircuitBreaker, CircuitBreakerByAuthority, CircuitBreakerHalfOpen,
};
pub(crate) use self::failover::Failover;
pub(crate) use self::peek::Peek;
pub(crate) use self::rate_limit::{RateLimit, RateLimitByCredential, RateLimitRejecting};
pub(crate) use self::retry::Retry;
use crate::upstream::{Inner, Reply, Request, Response, Upstream};

/// What every layer makes of an inner service, whatever the layer.
pub(crate) trait Client:
    Service<Request, Response = Response, Error = BoxError, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Client for S where
    S: Service<Request, Response = Response, Error = BoxError, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// The service that a subject's layer makes.
pub(crate) type Of<S> = <<S as Subject>::Layer as Layer<Inner>>::Service;

/// A layer under test.
///
/// As built, a call passes; after [`use_up`](Self::use_up) the layer does what
/// it is for.
pub(crate) trait Subject: Send + Sync + Sized + 'static {
    type Layer: Layer<Inner, Service: Client> + Debug + Clone + Send + Sync + 'static;

    /// The same for services that don't speak HTTP, with requests of `u32`.
    type Plain;

    /// After so long, what was spent by calls has come back.
    const REFILL: Duration = Duration::from_secs(11);

    /// A layer of its own, observed.
    fn observed(observer: impl Observer) -> Self;

    fn new() -> Self {
        Self::observed(())
    }

    /// The layer, of which this is one clone.
    fn layer(&self) -> Self::Layer;

    fn plain() -> Self::Plain;

    /// Calls through the layer, over an inner service of its own, until it is
    /// limited, open or spent, without any waiting.
    fn use_up(layer: &Self::Layer);

    /// What the layer holds for calls that haven't ended: the same before a
    /// call and after, however it ends.
    fn held(&self) -> String;

    /// What calls have spent when they are sent, and only then.
    fn spent(&self) -> String;

    /// Looks at everything that a handle shows.
    fn look(&self) -> String {
        format!("{} {}", self.held(), self.spent())
    }

    /// Every numeric setter at its smallest and largest values.
    fn extremes() -> Vec<Extreme<Self::Layer>>;

    /// A service of a layer of its own.
    fn over(&self, inner: Inner) -> Of<Self> {
        self.layer().layer(inner)
    }

    /// The same, to be put below others.
    fn boxed(&self, inner: Inner) -> Inner {
        Inner::new(self.over(inner))
    }
}

/// One that makes a call wait, before it is sent or before it is sent again.
pub(crate) trait Waits: Subject {
    /// From here on the next call waits, the upstream's replies permitting.
    fn make_wait(&self, upstream: &Upstream);

    /// How long a wait takes at most.
    const WAIT: Duration = Duration::from_secs(60);
}

/// One that, used up, turns calls away.
pub(crate) trait Rejects: Subject {
    /// What it turns them away with.
    type Rejection: std::error::Error + Send + Sync + 'static;

    /// What a gRPC client makes of that.
    #[cfg(feature = "tonic")]
    const CODE: tonic::Code;
}

/// One that keeps a state for each key of a request.
pub(crate) trait Keyed: Subject {
    /// A request of another key than the usual one's, the `n`th.
    fn request_of(n: usize) -> Request;

    /// How many states there are, the shared one among them.
    fn states(&self) -> usize;

    /// A layer with room for so many keys.
    fn with_room(keys: usize) -> Self;
}

/// A layer with one setter at an extreme.
pub(crate) struct Extreme<L> {
    /// Which setter, and at what.
    pub(crate) what: String,
    /// The layer, or that this can't be.
    pub(crate) layer: Result<L, InvalidConfig>,
    /// Whether it was observed to let calls wait without bound.
    pub(crate) may_wait: bool,
}

impl<L> Extreme<L> {
    pub(crate) fn new(what: impl Display, layer: L) -> Self {
        Self::checked(what, Ok(layer))
    }

    pub(crate) fn checked(what: impl Display, layer: Result<L, InvalidConfig>) -> Self {
        Self { what: what.to_string(), layer, may_wait: false }
    }

    pub(crate) fn may_wait(mut self) -> Self {
        self.may_wait = true;
        self
    }
}

/// How a call ends or, if it isn't answered at once, that it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Answered,
    Rejected,
    Waits,
}

/// Makes a call, and drops it if it isn't answered at once.
pub(crate) fn try_call(client: impl Client, request: Request) -> End {
    match call(client, request).now_or_never() {
        Some(Ok(_)) => End::Answered,
        Some(Err(_)) => End::Rejected,
        None => End::Waits,
    }
}

/// Readies a client and calls it.
pub(crate) fn call(
    client: impl Client,
    request: Request,
) -> impl Future<Output = Result<Response, BoxError>> {
    client.oneshot(request)
}

/// So many calls that are answered so, and dropped if they have to wait.
fn drain<L>(layer: &L, reply: Reply, calls: usize, request: impl Fn() -> Request)
where
    L: Layer<Inner, Service: Client>,
{
    let upstream = Upstream::that_replies(reply);
    let client = layer.layer(upstream.inner());
    for _ in 0..calls {
        try_call(client.clone(), request());
    }
}

/// The usual extremes of a duration.
const DURATIONS: [Duration; 3] = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];

/// The usual extremes of a count.
const COUNTS: [u32; 3] = [0, 1, u32::MAX];

/// The usual extremes of a size.
const SIZES: [usize; 3] = [0, 1, usize::MAX];

/// Fractions, possible and impossible.
const FRACTIONS: [f64; 8] =
    [0.0, 1.0, -1.0, f64::MIN_POSITIVE, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
