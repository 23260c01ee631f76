use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tower::{Layer, service_fn};
use tower_upstream::alert::{AlertLayer, Alerts, AlertsBuilder, Rule, Severity, Slack, Slo};
use tower_upstream::classify::ErrorClassifier;
use tower_upstream::event::Observer;

use super::{COUNTS, DURATIONS, Extreme, SIZES, Subject, call};
use crate::upstream::{Reply, Upstream, request};

/// Alerts to one sink, which accepts them, on all that can be seen and measured.
pub(crate) struct Alert {
    alerts: Alerts,
}

fn builder() -> AlertsBuilder {
    let slack = Slack::new("https://hooks.test/sk-top-secret");
    let accepts =
        service_fn(|_: http::Request<Bytes>| async { Ok::<_, Infallible>(Response::new(())) });
    let second = Duration::from_secs(1);
    Alerts::builder()
        .sink(slack, Severity::Info, accepts)
        .rule(Rule::slow_median(second))
        .rule(Rule::calls_hanging(second))
        .rule(Rule::retry_spend(1.0, 0.1))
        .slo(Slo::availability(0.995))
        .slo(Slo::latency(0.5, second))
}

impl Subject for Alert {
    type Layer = AlertLayer;
    type Plain = AlertLayer<ErrorClassifier>;

    fn observed(observer: impl Observer) -> Self {
        // Told where it is seen, and not by a task a second later.
        let builder = builder().group_wait(Duration::ZERO).observer(observer);
        Self { alerts: builder.build().expect("it can work") }
    }

    fn layer(&self) -> AlertLayer {
        AlertLayer::new(&self.alerts)
    }

    fn plain() -> Self::Plain {
        let alerts = builder().build().expect("it can work");
        let layer = AlertLayer::builder(&alerts).classifier(ErrorClassifier::new());
        layer.build().expect("a valid configuration")
    }

    fn use_up(layer: &AlertLayer) {
        let upstream = Upstream::that_replies(Reply::Status(503));
        _ = crate::clock::at_once(call(layer.layer(upstream.inner()), request()));
    }

    fn held(&self) -> String {
        // Nothing: what it tells is about calls that have ended.
        String::new()
    }

    fn spent(&self) -> String {
        // Nothing either.
        String::new()
    }

    fn look(&self) -> String {
        format!("{:?} {:?} {:?}", self.alerts, self.alerts.stats(), self.alerts.history())
    }

    fn extremes() -> Vec<Extreme<AlertLayer>> {
        let mut all = Vec::new();
        let mut add = |what: String, builder: AlertsBuilder| {
            all.push(Extreme::checked(
                what,
                builder.build().map(|alerts| AlertLayer::new(&alerts)),
            ));
        };
        for time in DURATIONS {
            add(format!("group_wait({time:?})"), builder().group_wait(time));
            add(format!("repeat_interval({time:?})"), builder().repeat_interval(time));
            add(format!("settle_time({time:?})"), builder().settle_time(time));
            add(format!("quiet_time({time:?})"), builder().quiet_time(time));
            add(format!("delivery_timeout({time:?})"), builder().delivery_timeout(time));
        }
        for size in SIZES {
            add(format!("max_keys({size})"), builder().max_keys(size));
            add(format!("queue({size})"), builder().queue(size));
            add(format!("history({size})"), builder().history(size));
        }
        for time in DURATIONS {
            let rules = [
                Rule::call_failed().lasting(time),
                Rule::slow_tail(0.99, time),
                Rule::error_ratio(0.1).over(time),
                Rule::error_ratio(0.1).lasting(time),
                Rule::calls_hanging(time),
            ];
            for rule in rules {
                add(format!("rules({rule:?})"), builder().rules([rule]));
            }
            add(format!("slo(latency({time:?}))"), builder().slo(Slo::latency(0.99, time)));
            let period = Slo::availability(0.99).period(time);
            add(format!("slo(period({time:?}))"), builder().slo(period));
        }
        for number in [0, 1, u64::MAX] {
            let ratio = Rule::error_ratio(0.1).min_calls(number);
            add(format!("min_calls({number})"), builder().rule(ratio));
            let objective = Slo::availability(0.99).min_calls(number);
            add(format!("slo(min_calls({number}))"), builder().slo(objective));
        }
        for number in COUNTS {
            add(format!("timeout_after({number})"), builder().rule(Rule::timeout_after(number)));
        }
        for number in [f64::NAN, f64::NEG_INFINITY, 0.0, 0.5, 1.0, f64::MAX] {
            add(format!("error_ratio({number})"), builder().rule(Rule::error_ratio(number)));
            add(
                format!("retry_spend({number})"),
                builder().rule(Rule::retry_spend(number, number)),
            );
            add(format!("availability({number})"), builder().slo(Slo::availability(number)));
        }
        all
    }
}
