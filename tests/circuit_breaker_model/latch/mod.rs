//! Drives a layer's latch and its [model] through the same steps, and compares.

mod model;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, Service, service_fn};
use tower_upstream::circuit_breaker::{
    CircuitBreakerHandle, CircuitOpen, CredentialLatch, OpenDuration, OpenReason,
};
use tower_upstream::classify::{Verdict, result_fn};
use tower_upstream::key::{KeyRef, request_key_fn};
use tower_upstream::{CircuitBreakerLayer, cause_ref};

use self::model::{Config, Model, Outcome, Ticket};
use crate::random::Random;

struct Request {
    credential: Option<u64>,
    slot: Arc<Mutex<Option<Outcome>>>,
}

type Client = BoxCloneSyncService<Request, Outcome, BoxError>;
type Call = Pin<Box<dyn Future<Output = Result<Outcome, BoxError>> + Send>>;

/// A call that was let through and hasn't ended.
struct Open {
    credential: Option<u64>,
    ticket: Ticket,
    slot: Arc<Mutex<Option<Outcome>>>,
    call: Call,
}

pub(crate) struct Driver {
    client: Client,
    handle: CircuitBreakerHandle,
    model: Model,
    open: Vec<Open>,
    start: Instant,
}

fn minutes(number: u64) -> Duration {
    Duration::from_secs(60 * number)
}

fn verdict(seen: Outcome) -> Verdict {
    let (verdict, asked) = match seen {
        Outcome::Success => return Verdict::success(),
        Outcome::Refused(OpenReason::QuotaExhausted, asked) => (Verdict::quota_exhausted(), asked),
        Outcome::Refused(_, asked) => (Verdict::credential_rejected(), asked),
        Outcome::Other(asked) => (Verdict::rejected(), asked),
    };
    verdict.with_retry_after(minutes(asked))
}

impl Driver {
    const CREDENTIALS: u64 = 3;

    pub(crate) fn random(random: &mut Random) -> Self {
        let config = Config::random(random);
        let latch = CredentialLatch::new().refusals(config.refusals);
        let latch = match config.probe_after {
            None => latch.no_probe(),
            Some((first, max)) => latch
                .probe_after(OpenDuration::doubling(minutes(first)).max(minutes(max)).jitter(0.0)),
        };
        let layer = CircuitBreakerLayer::builder()
            .latch(latch)
            .credential(request_key_fn(|request: &Request| {
                request.credential.map_or(KeyRef::Shared, KeyRef::Hash)
            }))
            .classifier(result_fn(|seen: Result<&Outcome, _>| {
                seen.map_or(Verdict::transient(), |seen| verdict(*seen))
            }))
            .build()
            .expect("a valid configuration");
        let upstream = service_fn(|request: Request| async move {
            Ok::<_, Infallible>(
                poll_fn(|_| request.slot.lock().unwrap().take().map_or(Poll::Pending, Poll::Ready))
                    .await,
            )
        });
        Self {
            handle: layer.handle(),
            client: Client::new(layer.layer(upstream)),
            model: Model::new(config, Self::CREDENTIALS),
            open: Vec::new(),
            start: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        Instant::now().duration_since(self.start).as_secs() / 60
    }

    pub(crate) async fn step(&mut self, random: &mut Random) {
        match random.below(100) {
            0..40 => self.begin(random),
            40..75 if !self.open.is_empty() => self.end(random),
            75..80 if !self.open.is_empty() => self.abandon(random),
            98 => self.reset(random),
            _ => {
                let most = [2, 20, 200, 2_000][random.below(4) as usize];
                tokio::time::advance(minutes(random.below(most))).await;
            }
        }
        self.compare();
    }

    fn begin(&mut self, random: &mut Random) {
        let credential = Some(random.below(Self::CREDENTIALS + 1));
        let credential = credential.filter(|number| *number < Self::CREDENTIALS);
        let now = self.now();
        let expected = self.model.begin(credential, now);
        let slot = Arc::default();
        let mut client = self.client.clone();
        let mut context = Context::from_waker(Waker::noop());
        assert!(client.poll_ready(&mut context).is_ready());
        let mut call = client.call(Request { credential, slot: Arc::clone(&slot) });
        match (expected, call.as_mut().poll(&mut context)) {
            (Ok(ticket), Poll::Pending) => self.open.push(Open { credential, ticket, slot, call }),
            (Err(wait), Poll::Ready(Err(error))) => {
                let open = cause_ref::<CircuitOpen>(&*error).expect("a rejection");
                assert_eq!(open.retry_after(), wait.map(minutes));
            }
            (expected, reply) => panic!("{reply:?}, not {expected:?}"),
        }
    }

    fn end(&mut self, random: &mut Random) {
        let mut open = self.one_of_the_open(random);
        let asked = if random.one_in(4) { random.below(3_000) } else { 0 };
        let outcome = match random.below(10) {
            0..2 => Outcome::Success,
            2..6 => Outcome::Refused(OpenReason::CredentialRejected, asked),
            6..8 => Outcome::Refused(OpenReason::QuotaExhausted, asked),
            _ => Outcome::Other(asked),
        };
        *open.slot.lock().unwrap() = Some(outcome);
        let mut context = Context::from_waker(Waker::noop());
        assert!(open.call.as_mut().poll(&mut context).is_ready());
        self.model.end(open.credential, open.ticket, outcome, self.now());
    }

    fn abandon(&mut self, random: &mut Random) {
        let Open { credential, ticket, call, .. } = self.one_of_the_open(random);
        drop(call);
        self.model.abandon(credential, ticket, self.now());
    }

    fn one_of_the_open(&mut self, random: &mut Random) -> Open {
        self.open.swap_remove(random.below(self.open.len() as u64) as usize)
    }

    fn reset(&mut self, random: &mut Random) {
        let name = (!random.one_in(3)).then(|| random.below(Self::CREDENTIALS));
        let known = |name: u64| self.model.credentials[name as usize].is_some();
        match name {
            None => self.handle.reset(),
            Some(name) => {
                assert_eq!(self.handle.reset_of(&KeyRef::Hash(name)), known(name));
            }
        }
        self.model.reset(name, self.now());
    }

    fn compare(&self) {
        let mut latched = self.handle.latched();
        latched.sort_by(|a, b| a.name.cmp(&b.name));
        let seen: Vec<_> = latched
            .into_iter()
            .map(|seen| (seen.name.to_string(), seen.state, seen.until, seen.reason))
            .collect();
        let all = self.model.credentials.iter().enumerate();
        let known = all.filter_map(|(name, known)| Some((name, known.as_ref()?)));
        let expected: Vec<_> = known
            .map(|(name, credential)| {
                let until = credential.until().map(|until| self.start + minutes(until));
                let name = format!("upstream/credential/#{name:016x}");
                (name, credential.state(), until, credential.reason)
            })
            .filter(|(_, state, ..)| {
                *state != tower_upstream::circuit_breaker::CircuitState::Closed
            })
            .collect();
        assert_eq!(seen, expected);
    }
}
