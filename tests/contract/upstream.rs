//! The service below the layers under test: strict about what tower's contract
//! asks of its callers, and observed how to reply.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

pub(crate) type Request = http::Request<Bytes>;
pub(crate) type Response = http::Response<Mark>;

/// Any service below a layer under test.
///
/// Boxed, so that the contracts can put whatever they need below.
pub(crate) type Inner = BoxCloneSyncService<Request, Response, BoxError>;

/// The credential of [`request`].
pub(crate) const CREDENTIAL: &str = "Bearer sk-top-secret";

/// A request as they come: idempotent, with a credential in it.
pub(crate) fn request() -> Request {
    request_to("http://upstream.test/v1/things?page=2")
}

/// The same to another target.
pub(crate) fn request_to(target: &str) -> Request {
    http::Request::builder()
        .uri(target)
        .header("authorization", CREDENTIAL)
        .body(Bytes::new())
        .expect("a valid request")
}

/// A response's body of which there is only one: it can't be cloned.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark(pub(crate) u64);

/// An error that no layer knows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) u64);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failure {} of http://user:pass@upstream.test/?key=sk-top-secret", self.0)
    }
}

impl Error for Failure {}

/// How a call is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Status(u16),
    /// A status and a `Retry-After`.
    ComeBack(u16, &'static str),
    Fail,
    Hang,
    PanicInCall,
    PanicInPoll,
}

/// How an inner service gets ready.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Readiness {
    AtOnce,
    /// At the second time of asking, each time, and each clone for itself.
    Reluctant,
    Never,
    Fails,
}

/// The inner service as the test sees it. Dropped, it checks that nobody broke
/// tower's contract.
#[derive(Clone)]
pub(crate) struct Upstream {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared(Mutex<Log>);

struct Log {
    readiness: Readiness,
    script: VecDeque<Reply>,
    otherwise: Reply,
    late: Option<Reply>,
    broken: Vec<&'static str>,
    unready: Vec<Waker>,
    ready: usize,
    in_flight: usize,
    clones: usize,
    handles: usize,
    marks: u64,
    calls: Vec<Call>,
}

/// A call as it arrived.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) head: http::request::Parts,
    pub(crate) body: Bytes,
    /// Which handle was called.
    pub(crate) handle: usize,
    /// The number of its reply.
    pub(crate) mark: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            readiness: Readiness::AtOnce,
            script: VecDeque::new(),
            otherwise: Reply::Status(200),
            late: None,
            broken: Vec::new(),
            unready: Vec::new(),
            ready: 0,
            in_flight: 0,
            clones: 0,
            handles: 0,
            marks: 0,
            calls: Vec::new(),
        }
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upstream {
    /// An upstream that is ready, and replies 200.
    pub(crate) fn new() -> Self {
        Self { shared: Arc::default() }
    }

    /// One that always replies so.
    pub(crate) fn that_replies(reply: Reply) -> Self {
        let upstream = Self::new();
        upstream.replies(reply);
        upstream
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        Client {
            handle: self.shared.log().next_handle(),
            state: State::Unready,
            shared: Arc::clone(&self.shared),
        }
    }

    /// A boxed client of it.
    pub(crate) fn inner(&self) -> Inner {
        Inner::new(self.client().map_err(BoxError::from))
    }

    /// From here on, every call is answered so.
    pub(crate) fn replies(&self, reply: Reply) {
        self.shared.log().otherwise = reply;
    }

    /// The next calls are answered so.
    pub(crate) fn replies_next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.log().script.extend(replies);
    }

    /// Those calls that hang are answered so when they are polled next.
    pub(crate) fn replies_late(&self, reply: Reply) {
        self.shared.log().late = Some(reply);
    }

    /// From here on, clients get ready so.
    pub(crate) fn readies(&self, readiness: Readiness) {
        let waiting = {
            let mut log = self.shared.log();
            log.readiness = readiness;
            std::mem::take(&mut log.unready)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// How many calls came so far.
    pub(crate) fn calls(&self) -> usize {
        self.shared.log().calls.len()
    }

    /// The calls that came so far, which are then forgotten.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.shared.log().calls)
    }

    /// How many calls are in flight: answered neither nor dropped.
    pub(crate) fn in_flight(&self) -> usize {
        self.shared.log().in_flight
    }

    /// How many clients are ready and not called.
    pub(crate) fn ready(&self) -> usize {
        self.shared.log().ready
    }

    /// How many times a client was cloned.
    pub(crate) fn clones(&self) -> usize {
        self.shared.log().clones
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let log = self.shared.log();
            assert!(log.broken.is_empty(), "broke tower's contract: {:?}", log.broken);
        }
    }
}

impl Log {
    fn next_handle(&mut self) -> usize {
        self.handles += 1;
        self.handles
    }

    fn next_mark(&mut self) -> u64 {
        self.marks += 1;
        self.marks
    }

    /// Notes a breach also where the panic would be lost, such as in a task.
    fn breach(&mut self, what: &'static str) -> ! {
        self.broken.push(what);
        panic!("{what}");
    }
}

/// One handle on the inner service.
pub(crate) struct Client {
    handle: usize,
    state: State,
    shared: Arc<Shared>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unready,
    Asked,
    Ready,
    Failed,
}

/// A clone is never ready, whatever it was cloned from.
impl Clone for Client {
    fn clone(&self) -> Self {
        let mut log = self.shared.log();
        log.clones += 1;
        let handle = log.next_handle();
        drop(log);
        Self { handle, state: State::Unready, shared: Arc::clone(&self.shared) }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if self.state == State::Ready {
            self.shared.log().ready -= 1;
        }
    }
}

impl Service<Request> for Client {
    type Response = Response;
    type Error = Failure;
    type Future = Pending;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let mut log = self.shared.log();
        match (self.state, log.readiness) {
            (State::Failed, _) => log.breach("asked a service that had failed to get ready"),
            (State::Ready, _) => return Poll::Ready(Ok(())),
            (State::Unready, Readiness::Reluctant) => {
                self.state = State::Asked;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            (_, Readiness::Never) => {
                log.unready.push(cx.waker().clone());
                return Poll::Pending;
            }
            (_, Readiness::Fails) => {
                self.state = State::Failed;
                return Poll::Ready(Err(Failure(log.next_mark())));
            }
            (_, Readiness::AtOnce | Readiness::Reluctant) => {}
        }
        self.state = State::Ready;
        log.ready += 1;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Pending {
        let mut log = self.shared.log();
        if self.state != State::Ready {
            log.breach("called a service that wasn't ready");
        }
        self.state = State::Unready;
        log.ready -= 1;
        let reply = log.script.pop_front().unwrap_or(log.otherwise);
        let mark = log.next_mark();
        let (head, body) = request.into_parts();
        log.calls.push(Call { head, body, handle: self.handle, mark });
        assert!(!matches!(reply, Reply::PanicInCall), "the inner service panics when called");
        log.in_flight += 1;
        drop(log);
        Pending { reply, mark, shared: Some(Arc::clone(&self.shared)) }
    }
}

/// A call in flight. Holds its place until it has answered or is dropped.
pub(crate) struct Pending {
    reply: Reply,
    mark: u64,
    shared: Option<Arc<Shared>>,
}

impl Pending {
    fn land(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.log().in_flight -= 1;
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.land();
    }
}

impl Future for Pending {
    type Output = Result<Response, Failure>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        let shared = self.shared.as_ref().expect("a call in flight, polled before it was done");
        let late = shared.log().late;
        let builder = match late.filter(|_| matches!(self.reply, Reply::Hang)).unwrap_or(self.reply)
        {
            Reply::Hang => return Poll::Pending,
            Reply::PanicInCall | Reply::PanicInPoll => panic!("the inner service panics"),
            Reply::Fail => {
                self.land();
                return Poll::Ready(Err(Failure(self.mark)));
            }
            Reply::Status(status) => http::Response::builder().status(status),
            Reply::ComeBack(status, after) => {
                http::Response::builder().status(status).header("retry-after", after)
            }
        };
        self.land();
        Poll::Ready(Ok(builder.body(Mark(self.mark)).expect("a valid response")))
    }
}
