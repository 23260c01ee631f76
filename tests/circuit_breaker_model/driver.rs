//! Drives a layer and its model through the same steps, and compares.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use http::Response;
use tokio::sync::broadcast::Receiver;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, Service, service_fn};
use tower_upstream::cause_ref;
use tower_upstream::circuit_breaker::{CircuitBreakerHandle, CircuitOpen, CircuitTransition};
use tower_upstream::key::{AllCalls, KeyRef, request_key_fn};

use crate::config::{Config, millis};
use crate::model::{Admitted, Model, Outcome, Ticket};
use crate::random::Random;

/// What the upstream will say: a status, or that the connection is refused.
type Slot = Arc<Mutex<Option<Reply>>>;

#[derive(Clone, Copy, Debug)]
enum Reply {
    Status(u16),
    Busy { seconds: u64 },
    Refused,
}

struct Request {
    key: u64,
    slot: Slot,
}

type Client = BoxCloneSyncService<Request, Response<()>, BoxError>;
type Call = Pin<Box<dyn Future<Output = Result<Response<()>, BoxError>> + Send>>;

/// A call that was let through and hasn't ended.
struct Open {
    key: u64,
    /// None: it would have been turned away, but for a dry run.
    ticket: Option<Ticket>,
    slot: Slot,
    call: Call,
    sent: u64,
}

pub(crate) struct Driver {
    config: Config,
    client: Client,
    handle: CircuitBreakerHandle,
    transitions: Receiver<CircuitTransition>,
    models: Vec<Option<Model>>,
    open: Vec<Open>,
    start: Instant,
}

impl Driver {
    pub(crate) fn new(config: Config) -> Self {
        let key = request_key_fn(|request: &Request| KeyRef::Number(request.key));
        let layer =
            config.builder().key(key).credential(AllCalls).build().expect("a valid configuration");
        let upstream = service_fn(|request: Request| async move {
            poll_fn(|_| match request.slot.lock().unwrap().take() {
                Some(Reply::Refused) => {
                    Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()))
                }
                Some(Reply::Status(status)) => {
                    Poll::Ready(Response::builder().status(status).body(()).map_err(Into::into))
                }
                Some(Reply::Busy { seconds }) => {
                    let busy = Response::builder().status(503).header("retry-after", seconds);
                    Poll::Ready(busy.body(()).map_err(Into::<BoxError>::into))
                }
                None => Poll::Pending,
            })
            .await
        });
        Self {
            config,
            handle: layer.handle(),
            transitions: layer.handle().subscribe(),
            client: Client::new(layer.layer(upstream)),
            models: (0..config.keys).map(|_| None).collect(),
            open: Vec::new(),
            start: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        self.millis(Instant::now())
    }

    fn millis(&self, at: Instant) -> u64 {
        let nanos = at.duration_since(self.start).as_nanos();
        // Jitter is finer than the model's clock, which moves by whole milliseconds.
        u64::try_from(nanos.div_ceil(1_000_000)).expect("a short test")
    }

    fn model(&mut self, key: u64) -> &mut Model {
        let (config, now) = (self.config, self.now());
        self.models[key as usize].get_or_insert_with(|| Model::new(config, now))
    }

    pub(crate) async fn step(&mut self, random: &mut Random) {
        let key = random.below(self.config.keys);
        match random.below(100) {
            0..40 => self.begin(key),
            40..75 if !self.open.is_empty() => self.end(random),
            75..82 if !self.open.is_empty() => self.abandon(random),
            98 => self.take_hold(key, random),
            _ => {
                let most = [10, 100, 1_000, 10_000][random.below(4) as usize];
                tokio::time::advance(millis(random.below(most))).await;
            }
        }
        for key in 0..self.config.keys {
            self.compare(key);
        }
    }

    fn begin(&mut self, key: u64) {
        let now = self.now();
        let expected = self.model(key).begin(now);
        let slot = Slot::default();
        let mut client = self.client.clone();
        let mut context = Context::from_waker(Waker::noop());
        assert!(client.poll_ready(&mut context).is_ready());
        let mut call = client.call(Request { key, slot: Arc::clone(&slot) });
        let reply = call.as_mut().poll(&mut context);
        let ticket = match (expected, reply) {
            (Admitted::Passes(ticket), Poll::Pending) => Some(ticket),
            (Admitted::Rejected(_), Poll::Pending) if self.config.dry_run => None,
            (Admitted::Rejected(wait), Poll::Ready(Err(error))) => {
                let open = cause_ref::<CircuitOpen>(&*error).expect("a rejection");
                if let (Some(seen), Some(wait)) = (open.retry_after(), wait) {
                    assert_eq!(seen.as_nanos().div_ceil(1_000_000), u128::from(wait));
                } else {
                    assert_eq!((open.retry_after(), wait), (None, None));
                }
                assert_eq!(open.state(), self.model(key).state());
                assert_eq!(Some(open.reason()), self.model(key).reason);
                return;
            }
            (expected, reply) => panic!("{reply:?}, not {expected:?}"),
        };
        self.open.push(Open { key, ticket, slot, call, sent: now });
    }

    fn end(&mut self, random: &mut Random) {
        let mut open = self.open.swap_remove(random.below(self.open.len() as u64) as usize);
        let seconds = random.from(1, 10);
        let (reply, outcome) = match random.below(10) {
            0..4 => (Reply::Status(200), Outcome::Success),
            4..6 => (Reply::Status(500), Outcome::Failure(0)),
            6 => (Reply::Busy { seconds }, Outcome::Failure(seconds * 1_000)),
            7 => (Reply::Refused, Outcome::Failure(0)),
            8 => (Reply::Status(404), Outcome::Alive),
            _ => (Reply::Status(409), Outcome::Alive),
        };
        *open.slot.lock().unwrap() = Some(reply);
        let mut context = Context::from_waker(Waker::noop());
        assert!(open.call.as_mut().poll(&mut context).is_ready());
        let now = self.now();
        if let Some(ticket) = open.ticket {
            self.model(open.key).end(ticket, outcome, now - open.sent, now);
        }
    }

    fn abandon(&mut self, random: &mut Random) {
        let Open { key, ticket, call, sent, .. } =
            self.open.swap_remove(random.below(self.open.len() as u64) as usize);
        drop(call);
        let now = self.now();
        if let Some(ticket) = ticket {
            self.model(key).abandon(ticket, now - sent, now);
        }
    }

    fn take_hold(&mut self, key: u64, random: &mut Random) {
        let now = self.now();
        let name = KeyRef::Number(key);
        match random.below(4) {
            0 => {
                assert!(self.handle.force_open_of(&name));
                self.model(key).force(true, now);
            }
            1 => {
                assert!(self.handle.force_closed_of(&name));
                self.model(key).force(false, now);
            }
            _ if self.models[key as usize].is_some() => {
                assert!(self.handle.reset_of(&name));
                self.model(key).reset(now);
            }
            _ => assert!(!self.handle.reset_of(&name)),
        }
    }

    fn compare(&mut self, key: u64) {
        let seen = self.handle.status_of(&KeyRef::Number(key));
        let Some(mut model) = self.models[key as usize].take() else {
            assert!(seen.is_none());
            return;
        };
        let seen = seen.expect("a circuit");
        if let Some(until) = seen.until {
            model.opened_until(self.millis(until));
        }
        let millis = |at| self.millis(at);
        assert_eq!(seen.state, model.state());
        assert_eq!(u64::from(seen.generation), model.number);
        assert_eq!(seen.since, self.start + crate::config::millis(model.since));
        assert_eq!(seen.until.map(millis), model.until());
        assert_eq!(seen.reason, model.reason);
        assert_eq!((seen.calls, seen.successes), (model.calls, model.successes));
        assert_eq!(u64::from(seen.failure_count), model.failures());
        assert_eq!(seen.last_failure.map(millis), model.last_failure);
        for (from, to) in model.observed.drain(..) {
            let observed = self.transitions.try_recv().expect("every change is observed");
            assert_eq!((observed.from, observed.to, &*observed.circuit), (from, to, &*seen.name));
        }
        self.models[key as usize] = Some(model);
        if key + 1 == self.config.keys {
            assert!(self.transitions.try_recv().is_err(), "nothing else is observed");
        }
    }
}
