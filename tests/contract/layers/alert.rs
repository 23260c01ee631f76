use std::convert::Infallible;

use bytes::Bytes;
use http::Response;
use tower::{Layer, service_fn};
use tower_upstream::alert::{AlertLayer, Alerts, AlertsBuilder, Severity, Slack};
use tower_upstream::classify::ErrorClassifier;
use tower_upstream::event::Observer;

use super::{COUNTS, DURATIONS, Extreme, SIZES, Subject, call};
use crate::upstream::{Answer, Upstream, request};

/// Alerts to one sink, which accepts them.
pub(crate) struct Alert {
    alerts: Alerts,
}

fn builder() -> AlertsBuilder {
    let slack = Slack::new("https://hooks.test/sk-top-secret");
    let accepts =
        service_fn(|_: http::Request<Bytes>| async { Ok::<_, Infallible>(Response::new(())) });
    Alerts::builder().sink(slack, Severity::Info, accepts)
}

impl Subject for Alert {
    type Layer = AlertLayer;
    type Plain = AlertLayer<ErrorClassifier>;

    fn observed(observer: impl Observer) -> Self {
        Self { alerts: builder().observer(observer).build().expect("it can work") }
    }

    fn layer(&self) -> AlertLayer {
        self.alerts.layer()
    }

    fn plain() -> Self::Plain {
        let alerts = builder().build().expect("it can work");
        alerts.layer().classifier(ErrorClassifier::new())
    }

    fn use_up(layer: &AlertLayer) {
        let upstream = Upstream::that_answers(Answer::Status(503));
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
            all.push(Extreme::checked(what, builder.build().map(|alerts| alerts.layer())));
        };
        for time in DURATIONS {
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
        for retries in COUNTS {
            add(format!("timeout_retries({retries})"), builder().timeout_retries(retries));
        }
        all
    }
}
