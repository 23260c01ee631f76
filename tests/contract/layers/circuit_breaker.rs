use std::time::Duration;

use tower_upstream::CircuitBreakerLayer;
use tower_upstream::circuit_breaker::{
    CircuitBreakerBuilder, CircuitOpen, CircuitStatus, CredentialLatch, FailureRate, OpenDuration,
};
use tower_upstream::classify::{ErrorClassifier, HttpClassifier};
use tower_upstream::event::Observer;
use tower_upstream::key::{AllCalls, ByAuthority, KeyRef, RequestKeyFn, request_key_fn};

use super::{COUNTS, DURATIONS, Extreme, FRACTIONS, Keyed, Rejects, SIZES, Subject, drain};
use crate::upstream::{Reply, Request, request, request_to};

/// Opens at three failures in a row, for ten seconds.
pub(crate) struct CircuitBreaker {
    layer: CircuitBreakerLayer,
}

/// The same for each host.
pub(crate) struct CircuitBreakerByAuthority {
    layer: CircuitBreakerLayer<HttpClassifier, ByAuthority>,
}

/// One that has opened, and lets the next call through as its only probe.
pub(crate) struct CircuitBreakerHalfOpen {
    layer: CircuitBreakerLayer,
}

const FAILURES: u32 = 3;

fn builder(observer: impl Observer) -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder()
        .consecutive_failures(FAILURES)
        .open_for(Duration::from_secs(10))
        .observer(observer)
}

fn use_up<K>(layer: &CircuitBreakerLayer<HttpClassifier, K>)
where
    CircuitBreakerLayer<HttpClassifier, K>:
        tower::Layer<crate::upstream::Inner, Service: super::Client>,
{
    drain(layer, Reply::Status(500), FAILURES as usize, request);
}

/// A probe that holds its place shows only in that the next call finds none; the
/// contracts make that next call.
fn held(status: &CircuitStatus) -> String {
    format!("{:?} with {} failures", status.state, status.failure_count)
}

impl Subject for CircuitBreaker {
    type Layer = CircuitBreakerLayer;
    type Plain = CircuitBreakerLayer<ErrorClassifier, AllCalls, AllCalls>;

    fn observed(observer: impl Observer) -> Self {
        Self { layer: builder(observer).build().expect("a valid configuration") }
    }

    fn layer(&self) -> Self::Layer {
        self.layer.clone()
    }

    fn plain() -> Self::Plain {
        let builder = CircuitBreakerLayer::builder().classifier(ErrorClassifier::new());
        builder.credential(AllCalls).build().expect("a valid configuration")
    }

    fn use_up(layer: &Self::Layer) {
        use_up(layer);
    }

    fn held(&self) -> String {
        held(&self.layer.handle().status())
    }

    fn spent(&self) -> String {
        String::new()
    }

    fn look(&self) -> String {
        let handle = self.layer.handle();
        format!("{:?} {:?}", handle.status(), handle.all())
    }

    fn extremes() -> Vec<Extreme<Self::Layer>> {
        extremes(CircuitBreakerLayer::builder)
    }
}

impl Rejects for CircuitBreaker {
    type Rejection = CircuitOpen;
    #[cfg(feature = "tonic")]
    const CODE: tonic::Code = tonic::Code::Unavailable;
}

type NumberKey = RequestKeyFn<fn(&u32) -> KeyRef<'_>>;

impl Subject for CircuitBreakerByAuthority {
    type Layer = CircuitBreakerLayer<HttpClassifier, ByAuthority>;
    type Plain = CircuitBreakerLayer<ErrorClassifier, NumberKey, AllCalls>;

    fn observed(observer: impl Observer) -> Self {
        let builder = builder(observer).by_authority();
        Self { layer: builder.build().expect("a valid configuration") }
    }

    fn layer(&self) -> Self::Layer {
        self.layer.clone()
    }

    fn plain() -> Self::Plain {
        let key: fn(&u32) -> KeyRef<'_> = |request| KeyRef::Number(u64::from(*request));
        let builder = CircuitBreakerLayer::builder().classifier(ErrorClassifier::new());
        builder
            .key(request_key_fn(key))
            .credential(AllCalls)
            .build()
            .expect("a valid configuration")
    }

    fn use_up(layer: &Self::Layer) {
        use_up(layer);
    }

    fn held(&self) -> String {
        let status = self.layer.handle().status_of(&KeyRef::text("upstream.test"));
        status.map_or_else(|| "Closed with 0 failures".into(), |status| held(&status))
    }

    fn spent(&self) -> String {
        String::new()
    }

    fn look(&self) -> String {
        let handle = self.layer.handle();
        let key = KeyRef::text("upstream.test");
        format!("{:?} {:?}", handle.status_of(&key), handle.all())
    }

    fn extremes() -> Vec<Extreme<Self::Layer>> {
        extremes(|| CircuitBreakerLayer::builder().by_authority())
    }
}

impl Rejects for CircuitBreakerByAuthority {
    type Rejection = CircuitOpen;
    #[cfg(feature = "tonic")]
    const CODE: tonic::Code = tonic::Code::Unavailable;
}

impl Keyed for CircuitBreakerByAuthority {
    fn request_of(n: usize) -> Request {
        request_to(&format!("http://upstream{n}.test/"))
    }

    fn states(&self) -> usize {
        self.layer.handle().all().len()
    }

    fn with_room(keys: usize) -> Self {
        let builder = builder(()).by_authority().max_keys(keys);
        Self { layer: builder.build().expect("a valid configuration") }
    }
}

impl Subject for CircuitBreakerHalfOpen {
    type Layer = CircuitBreakerLayer;
    type Plain = CircuitBreakerLayer<ErrorClassifier, AllCalls, AllCalls>;

    fn observed(observer: impl Observer) -> Self {
        // Open for no time at all, it is half-open at the next call.
        let builder = builder(observer).open_for(Duration::ZERO);
        let layer = builder.build().expect("a valid configuration");
        use_up(&layer);
        Self { layer }
    }

    fn layer(&self) -> Self::Layer {
        self.layer.clone()
    }

    fn plain() -> Self::Plain {
        CircuitBreaker::plain()
    }

    fn use_up(layer: &Self::Layer) {
        use_up(layer);
    }

    fn held(&self) -> String {
        // Open until a call asks, then half-open: to the next call the same.
        let state = self.layer.handle().status().state;
        format!("{state:?}").replace("HalfOpen", "Open")
    }

    fn spent(&self) -> String {
        String::new()
    }

    fn extremes() -> Vec<Extreme<Self::Layer>> {
        CircuitBreaker::extremes()
    }
}

fn extremes<K>(
    builder: impl Fn() -> CircuitBreakerBuilder<HttpClassifier, K>,
) -> Vec<Extreme<CircuitBreakerLayer<HttpClassifier, K>>> {
    let mut all = Vec::new();
    let mut add = |what: String, builder: CircuitBreakerBuilder<HttpClassifier, K>| {
        all.push(Extreme::checked(what, builder.build()));
    };
    for count in COUNTS {
        add(format!("consecutive_failures({count})"), builder().consecutive_failures(count));
        add(format!("leaky_failures({count})"), builder().leaky_failures(count));
        let latch = CredentialLatch::new().refusals(count);
        add(format!("latch refusals({count})"), builder().latch(latch));
        let over = FailureRate::over_calls(count);
        add(format!("over_calls({count})"), builder().failure_rate(over));
        for min in COUNTS {
            let what = format!("over_calls({count}), min_calls({min})");
            add(what, builder().failure_rate(over.min_calls(min)));
        }
    }
    // The largest counts that are allowed.
    add("consecutive_failures, largest".into(), builder().consecutive_failures((1 << 19) - 1));
    add("over_calls, largest".into(), builder().failure_rate(FailureRate::over_calls(1 << 20)));
    for time in DURATIONS.into_iter().chain([Duration::from_millis(64)]) {
        for count in COUNTS {
            let rate = FailureRate::over_time(time).min_calls(count);
            let what = format!("over_time({time:?}), min_calls({count})");
            add(what, builder().failure_rate(rate));
        }
        for hint in DURATIONS {
            let at_once = builder().consecutive_failures(1).open_for(time).hint_cap(hint);
            add(format!("open_for({time:?}), hint_cap({hint:?})"), at_once);
        }
        let hanging = builder().consecutive_failures(1).open_for(Duration::ZERO);
        add(format!("probe_lease({time:?})"), hanging.probe_lease(time));
        let slow = FailureRate::over_calls(1);
        add(format!("slow_call_rate({time:?})"), builder().slow_call_rate(time, slow));
        add(format!("abandoned_after({time:?})"), builder().abandoned_after(time));
        let ramp = builder().consecutive_failures(1).open_for(Duration::ZERO);
        add(format!("ramp({time:?})"), ramp.ramp(time));
        for max in DURATIONS {
            let growing = OpenDuration::doubling(time).max(max).jitter(1.0);
            let what = format!("open_for(doubling({time:?}), max({max:?}))");
            add(what, builder().consecutive_failures(1).open_for(growing));
        }
        let latch = CredentialLatch::new().refusals(1).probe_after(time);
        add(format!("latch probe_after({time:?})"), builder().latch(latch));
        let reset = builder().consecutive_failures(1).open_for(time).no_half_open();
        add(format!("open_for({time:?}), no_half_open"), reset);
    }
    for fraction in FRACTIONS {
        for over in [FailureRate::over_calls(1), FailureRate::over_time(Duration::from_secs(1))] {
            let rate = over.at(fraction).min_calls(1);
            add(format!("failure rate at({fraction})"), builder().failure_rate(rate));
        }
        let at_once = builder().consecutive_failures(1).open_for(Duration::ZERO);
        add(
            format!("half_open_rate({fraction})"),
            at_once.half_open_probes(1).half_open_rate(fraction),
        );
        let jittery = OpenDuration::fixed(Duration::from_secs(1)).jitter(fraction);
        add(format!("jitter({fraction})"), builder().open_for(jittery));
    }
    for probes in [0, 1, u32::MAX] {
        for successes in [0, 1, u32::MAX] {
            let at_once = builder().consecutive_failures(1).open_for(Duration::ZERO);
            add(
                format!("half_open_probes({probes}).half_open_successes({successes})"),
                at_once.half_open_probes(probes).half_open_successes(successes),
            );
        }
    }
    for keys in SIZES {
        add(format!("max_keys({keys})"), builder().max_keys(keys));
    }
    all
}
