//! Regions killed, hung, cut off, slow, flapping, and answering what they shouldn't, in a
//! simulated network: what a caller must never notice, for many seeds.
//!
//! `SIM_SEEDS=500 cargo test --release --all-features --test failover_simulation`; 50 by default.

#![cfg(all(
    feature = "failover",
    feature = "retry",
    feature = "circuit-breaker",
    feature = "hyper-util"
))]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::sleep;
use tower::util::BoxCloneService;
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn, timeout::TimeoutLayer};
use tower_upstream::failover::{FailoverLayer, HealthChecks, Region, Regions};
use tower_upstream::{CircuitBreakerLayer, RetryLayer};

#[path = "failover_simulation/log.rs"]
mod log;
#[path = "failover_simulation/network.rs"]
mod network;
#[path = "failover_simulation/oracle.rs"]
mod oracle;

use self::log::{Attempt, End, Log};
use self::network::{Network, Timetable};
use self::oracle::{Call, Outcome};

const LENGTH: Duration = Duration::from_secs(300);
const CALLS: u32 = 150;
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
const COOLDOWN: Duration = Duration::from_secs(4);
const LONGEST_COOLDOWN: Duration = Duration::from_secs(20);

/// What is put together, by random.
#[derive(Debug)]
pub(crate) struct Plan {
    hosts: Vec<String>,
    priorities: Vec<u32>,
    /// One client per region, instead of requests that are rewritten.
    services: bool,
    retried: bool,
    breaker: bool,
    checked: bool,
    quota_per_region: bool,
    good_calls: u32,
    ramp: Duration,
    deadline: Duration,
    circuits_stay_open: Duration,
    cancelled: HashSet<u32>,
}

impl Plan {
    fn at_random(random: &mut Rng) -> Self {
        let hosts = random.usize(2..5);
        let (retried, breaker) = (random.bool(), random.u8(..4) == 0);
        let alone = ATTEMPT_TIMEOUT * u32::try_from(hosts).unwrap();
        Self {
            hosts: (0..hosts).map(|host| format!("host-{host}")).collect(),
            priorities: (0..hosts).map(|_| random.u32(1..4)).collect(),
            services: random.bool(),
            retried,
            breaker,
            checked: random.u8(..3) == 0,
            quota_per_region: random.bool(),
            good_calls: random.u32(1..4),
            ramp: Duration::from_secs(random.u64(..3) * 10),
            deadline: if retried { Duration::from_secs(30) } else { alone },
            circuits_stay_open: if breaker { Duration::from_secs(120) } else { Duration::ZERO },
            cancelled: (0..CALLS).filter(|_| random.u8(..20) == 0).collect(),
        }
    }

    /// Whether the caller gave this attempt up.
    fn cancelled(&self, attempt: &Attempt) -> bool {
        let dropped = matches!(attempt.end, Some((_, End::Dropped)));
        dropped && attempt.call.is_some_and(|call| self.cancelled.contains(&call))
    }

    fn failover(&self, network: &Network) -> FailoverLayer {
        let regions = self.hosts.iter().zip(&self.priorities);
        let regions = regions.map(|(host, priority)| {
            Region::new(host, format!("http://{host}/v1")).priority(*priority)
        });
        let mut builder = FailoverLayer::builder(Regions::new(regions).unwrap())
            .cooldown(COOLDOWN)
            .max_cooldown(LONGEST_COOLDOWN)
            .hint_cap(LONGEST_COOLDOWN)
            .good_calls(self.good_calls)
            .ramp(self.ramp)
            .max_attempts(self.hosts.len());
        if self.quota_per_region {
            builder = builder.quota_per_region();
        }
        if self.checked {
            let network = network.clone();
            let checker = service_fn(move |check: Request<Bytes>| {
                network.clone().send(check.map(Full::new), None)
            });
            builder = builder.health_checks(
                HealthChecks::new(checker)
                    .interval(Duration::from_secs(5))
                    .timeout(ATTEMPT_TIMEOUT),
            );
        }
        builder.build().unwrap()
    }

    /// What takes an attempt to the host that its request names, or to this one.
    fn wire(&self, network: &Network, host: Option<String>) -> BoxCloneSync {
        let wire = network.clone();
        let wire = service_fn(move |request| wire.clone().send(request, host.clone()));
        let breaker = CircuitBreakerLayer::builder().open_for(Duration::from_secs(5)).by_region();
        let breaker = tower::util::option_layer(self.breaker.then(|| breaker.build().unwrap()));
        let below = ServiceBuilder::new().layer(breaker).layer(TimeoutLayer::new(ATTEMPT_TIMEOUT));
        BoxCloneSync::new(below.service(wire).map_err(Into::into))
    }

    fn client(&self, network: &Network) -> Client {
        let failover = self.failover(network);
        let failover = if self.services {
            let of = |region: &str| self.wire(network, Some(region.to_owned()));
            BoxCloneService::new(failover.services(|region| of(region.name())))
        } else {
            BoxCloneService::new(failover.layer(self.wire(network, None)))
        };
        if !self.retried {
            return failover;
        }
        let attempts = 2 * u32::try_from(self.hosts.len()).unwrap() + 2;
        let retry = RetryLayer::builder()
            .max_attempts(attempts)
            .deadline(self.deadline)
            .no_budget()
            .build()
            .unwrap();
        BoxCloneService::new(retry.layer(failover))
    }
}

type Client = BoxCloneService<Request<Full<Bytes>>, Response<Incoming>, BoxError>;
type BoxCloneSync =
    tower::util::BoxCloneSyncService<Request<Full<Bytes>>, Response<Incoming>, BoxError>;

async fn call(client: Client, number: u32, safe: bool, key: bool) -> Outcome {
    let method = if safe && !key { "GET" } else { "POST" };
    let mut request = Request::builder().method(method).uri("/chat").header("x-call", number);
    if key {
        request = request.header("idempotency-key", number);
    }
    match client.oneshot(request.body(Full::from("prompt")).unwrap()).await {
        Ok(response) => {
            let status = response.status().as_u16();
            // A body that breaks off is seen by the caller, and not repeated.
            _ = response.into_body().collect().await;
            Outcome::Status(status)
        }
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

async fn simulate(seed: u64) -> Result<(), String> {
    fastrand::seed(seed);
    let mut random = Rng::with_seed(seed);
    let plan = Arc::new(Plan::at_random(&mut random));
    let tables =
        plan.hosts.iter().map(|host| (host.clone(), Timetable::at_random(&mut random, LENGTH * 2)));
    let network = Network { hosts: Arc::new(tables.collect()), log: Log::new() };
    let client = plan.client(&network);
    let mut calls = Vec::new();
    for number in 0..CALLS {
        // Mostly in bursts, so that calls are under way when a region is lost.
        let pause = if random.u8(..4) == 0 { 8_000 } else { 400 };
        sleep(Duration::from_millis(random.u64(..pause))).await;
        let (client, log) = (client.clone(), network.log.clone());
        let kind = random.u8(..4);
        let (safe, key) = (kind != 0, kind == 1);
        let max_wait = Duration::from_millis(random.u64(..1_500));
        let max_wait = if plan.cancelled.contains(&number) { max_wait } else { LENGTH };
        calls.push(tokio::spawn(async move {
            let began = log.now();
            let outcome = tokio::time::timeout(max_wait, call(client, number, safe, key)).await;
            let outcome = outcome.unwrap_or(Outcome::Cancelled);
            Call { number, safe, began, ended: log.now(), outcome }
        }));
    }
    let mut ended = Vec::new();
    for (number, call) in calls.into_iter().enumerate() {
        let call = call.await.map_err(|error| format!("call {number} had no result: {error}"))?;
        let late = call.ended - call.began > plan.deadline + Duration::from_secs(1);
        if late {
            return Err(format!("a call took too long\n{call:#?}"));
        }
        ended.push(call);
    }
    oracle::check(&plan, &network, &ended).map_err(|what| format!("{what}{plan:?}"))
}

#[test]
fn no_caller_notices_that_a_region_is_gone() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(50),
    };
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        if let Err(what) = runtime.block_on(simulate(seed)) {
            panic!(
                "seed {seed}: {what}\nto replay: SIM_SEED={seed} \
                 cargo test --release --all-features --test failover_simulation"
            );
        }
    }
}
