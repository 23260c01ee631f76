use std::time::Duration;

use tower::Layer;
use tower_upstream::classify::{ErrorClassifier, HttpClassifier};
use tower_upstream::event::Observer;
use tower_upstream::failover::{FailoverLayer, FailoverServices, Region, Regions, WhenAllOut};
use tower_upstream::replay::{CloneReplay, HttpReplay};

use super::{DURATIONS, Extreme, SIZES, Subject, call};
use crate::upstream::{Reply, Upstream, request};

/// Two regions, of which the primary is where requests go anyway.
pub(crate) struct Failover {
    layer: FailoverLayer,
}

fn regions() -> Regions {
    Regions::new([
        Region::new("first", "http://upstream.test").priority(1),
        Region::new("second", "http://second.test").priority(2),
    ])
    .expect("two regions")
}

/// The form with a client a region, as a layer: each region has the same client.
pub(crate) struct OneForAll(FailoverLayer<ErrorClassifier, CloneReplay>);

impl<S: Clone> Layer<S> for OneForAll {
    type Service = FailoverServices<S, ErrorClassifier, CloneReplay>;

    fn layer(&self, inner: S) -> Self::Service {
        self.0.services(|_| inner.clone())
    }
}

impl Subject for Failover {
    type Layer = FailoverLayer;
    type Plain = OneForAll;

    fn observed(observer: impl Observer) -> Self {
        let builder = FailoverLayer::builder(regions()).observer(observer);
        Self { layer: builder.build().expect("the defaults work") }
    }

    fn layer(&self) -> FailoverLayer {
        self.layer.clone()
    }

    fn plain() -> Self::Plain {
        let builder = FailoverLayer::builder(regions()).classifier(ErrorClassifier::new());
        OneForAll(builder.replay_clone().build().expect("the defaults work"))
    }

    fn use_up(layer: &FailoverLayer) {
        let upstream = Upstream::that_replies(Reply::Status(503));
        _ = crate::clock::at_once(call(layer.layer(upstream.inner()), request()));
    }

    fn held(&self) -> String {
        // A copy of the request, which a handle doesn't show.
        String::new()
    }

    fn spent(&self) -> String {
        let regions = self.layer.handle().status();
        let lost = regions.iter().filter(|region| !region.healthy).count();
        format!("{lost} regions lost")
    }

    fn extremes() -> Vec<Extreme<FailoverLayer>> {
        let builder = || FailoverLayer::builder(regions());
        let mut all = Vec::new();
        for attempts in SIZES {
            let what = format!("max_attempts({attempts})");
            all.push(Extreme::checked(what, builder().max_attempts(attempts).build()));
        }
        for time in DURATIONS {
            for longest in DURATIONS {
                let what = format!("cooldown({time:?}).max_cooldown({longest:?})");
                let layer = builder().cooldown(time).max_cooldown(longest).build();
                all.push(Extreme::checked(what, layer));
            }
            let what = format!("hint_cap({time:?})");
            all.push(Extreme::checked(what, builder().hint_cap(time).build()));
            all.push(Extreme::checked(format!("ramp({time:?})"), builder().ramp(time).build()));
            let what = format!("leave_when_asked_to_wait({time:?})");
            all.push(Extreme::checked(what, builder().leave_when_asked_to_wait(time).build()));
        }
        for calls in [0, 1, u32::MAX] {
            let what = format!("good_calls({calls})");
            all.push(Extreme::checked(what, builder().good_calls(calls).build()));
        }
        for what in [WhenAllOut::LeastBad, WhenAllOut::FailFast, WhenAllOut::Wait] {
            let layer = builder().when_all_out(what).build();
            all.push(Extreme::checked(format!("when_all_out({what:?})"), layer));
        }
        for limit in SIZES {
            let replay = HttpReplay::new().limit(limit);
            let layer: Result<FailoverLayer<HttpClassifier, HttpReplay>, _> =
                builder().replay(replay).build();
            all.push(Extreme::checked(format!("HttpReplay::limit({limit})"), layer));
        }
        for priority in [0, u32::MAX] {
            let region = Region::new("only", "http://upstream.test").priority(priority);
            let layer = Regions::new([region]).map(FailoverLayer::new);
            all.push(Extreme::checked(format!("priority({priority})"), layer));
        }
        all
    }

    const REFILL: Duration = Duration::from_secs(11);
}
