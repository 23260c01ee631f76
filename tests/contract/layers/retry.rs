use std::sync::Arc;
use std::time::Duration;

use tower::Layer;
use tower_upstream::RetryLayer;
use tower_upstream::classify::{ErrorClassifier, Verdict};
use tower_upstream::event::Observer;
use tower_upstream::replay::{CloneReplay, HttpReplay};
use tower_upstream::retry::RetryBuilder;
use tower_upstream::retry::{Backoff, HintUse, Jitter, RetryBudget, RetryThrottle};

use super::{COUNTS, DURATIONS, Extreme, FRACTIONS, SIZES, Subject, Waits, call};
use crate::upstream::{Reply, Upstream, request};

/// Three attempts, a second apart, and a budget of ten that doesn't refill.
pub(crate) struct Retry {
    layer: RetryBuilder,
    budget: Arc<RetryBudget>,
}

impl Retry {
    const BUDGET: u32 = 10;
}

impl Subject for Retry {
    type Layer = RetryLayer;
    type Plain = RetryLayer<ErrorClassifier, CloneReplay>;

    fn observed(observer: impl Observer) -> Self {
        let budget = Arc::new(RetryBudget::new().ratio(0.0).per_second(0.0).reserve(Self::BUDGET));
        let layer = RetryLayer::builder()
            .backoff(Backoff::constant(Duration::from_secs(1)))
            .budget(Arc::clone(&budget))
            .observer(observer);
        Self { layer, budget }
    }

    fn layer(&self) -> RetryLayer {
        self.layer.clone().build().unwrap()
    }

    fn plain() -> Self::Plain {
        RetryLayer::builder().classifier(ErrorClassifier::new()).replay_clone().build().unwrap()
    }

    fn use_up(layer: &RetryLayer) {
        let upstream = Upstream::that_replies(Reply::Status(503));
        // Without waits the budget is spent at once.
        let builder = layer.clone().into_builder().backoff(Backoff::constant(Duration::ZERO));
        let client = builder.build().unwrap().layer(upstream.inner());
        for _ in 0..Self::BUDGET {
            _ = crate::clock::at_once(call(client.clone(), request()));
        }
    }

    fn held(&self) -> String {
        // A copy of the request and a timer, neither of which a handle shows.
        String::new()
    }

    fn spent(&self) -> String {
        format!("{} retries left", self.budget.remaining())
    }

    fn extremes() -> Vec<Extreme<RetryLayer>> {
        let layer = || RetryLayer::builder().seed(1);
        let mut all = Vec::new();
        for attempts in COUNTS {
            let what = format!("max_attempts({attempts})");
            all.push(Extreme::checked(what, layer().max_attempts(attempts).build()));
        }
        for time in DURATIONS {
            for (name, backoff) in backoffs(time) {
                let extreme = Extreme::checked(name, layer().backoff(backoff).build());
                all.push(if time == Duration::MAX { extreme.may_wait() } else { extreme });
            }
            for hint in [HintUse::Floor, HintUse::Replace, HintUse::Ignore] {
                let what = format!("hint_cap({time:?}), {hint:?}");
                let extreme = Extreme::checked(what, layer().hint_cap(time).hint(hint).build());
                all.push(if time == Duration::MAX { extreme.may_wait() } else { extreme });
            }
            all.push(Extreme::checked(
                format!("deadline({time:?})"),
                layer().deadline(time).build(),
            ));
            let what = format!("attempt_timeout({time:?})");
            all.push(Extreme::checked(what, layer().attempt_timeout(time).build()));
            let what = format!("attempt_timeout({time:?}), deadline({time:?})");
            all.push(Extreme::checked(what, layer().attempt_timeout(time).deadline(time).build()));
        }
        for seed in [0, u64::MAX] {
            all.push(Extreme::checked(format!("seed({seed})"), layer().seed(seed).build()));
        }
        for limit in SIZES {
            let replay = HttpReplay::new().limit(limit);
            let layer = layer().replay(replay);
            all.push(Extreme::checked(format!("HttpReplay::limit({limit})"), layer.build()));
        }
        let costs: [fn(&Verdict) -> u32; 2] = [|_| 0, |_| u32::MAX];
        for (cost, name) in costs.into_iter().zip(["0", "u32::MAX"]) {
            let budget = RetryBudget::default().cost_fn(cost);
            all.push(Extreme::checked(format!("cost_fn({name})"), layer().budget(budget).build()));
        }
        for ratio in FRACTIONS {
            for tokens in COUNTS {
                let what =
                    format!("RetryThrottle::new().max_tokens({tokens}).token_ratio({ratio})");
                let budget = RetryThrottle::new().max_tokens(tokens).token_ratio(ratio);
                all.push(Extreme::checked(what, layer().budget(budget).build()));
            }
        }
        for ratio in FRACTIONS {
            for per_second in FRACTIONS {
                for reserve in COUNTS {
                    let what = format!(
                        "RetryBudget::new().ratio({ratio}).per_second({per_second}).reserve({reserve})"
                    );
                    let budget =
                        RetryBudget::new().ratio(ratio).per_second(per_second).reserve(reserve);
                    all.push(Extreme::checked(what, layer().budget(Arc::new(budget)).build()));
                }
            }
        }
        all
    }
}

fn backoffs(time: Duration) -> Vec<(String, Backoff)> {
    let normal = || Backoff::exponential(Duration::from_millis(250));
    let mut all = vec![
        (format!("Backoff::exponential({time:?})"), Backoff::exponential(time)),
        (format!("Backoff::constant({time:?})"), Backoff::constant(time)),
        (format!("Backoff::min({time:?})"), normal().min(time)),
        (format!("Backoff::max({time:?})"), normal().max(time)),
        (format!("Jitter::Additive({time:?})"), normal().jitter(Jitter::Additive(time))),
    ];
    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated, Jitter::None] {
        let backoff = Backoff::exponential(time).max(time).min(time).jitter(jitter);
        all.push((format!("Backoff of {time:?} throughout, {jitter:?}"), backoff));
        let backoff = Backoff::exponential(time).max(Duration::MAX).jitter(jitter);
        all.push((format!("Backoff from {time:?} without bound, {jitter:?}"), backoff));
    }
    all
}

impl Waits for Retry {
    fn make_wait(&self, upstream: &Upstream) {
        upstream.replies_next([Reply::Status(503)]);
    }
}
