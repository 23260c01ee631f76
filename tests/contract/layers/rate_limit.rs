use std::time::Duration;

use tower_upstream::classify::{ErrorClassifier, HttpClassifier};
use tower_upstream::event::Observer;
use tower_upstream::key::{ByCredential, KeyRef, RequestKeyFn, request_key_fn};
use tower_upstream::rate_limit::{RateLimitBuilder, RateLimitStatus, RateLimited};
use tower_upstream::{Quota, RateLimitLayer};

use super::{COUNTS, DURATIONS, Extreme, Keyed, Rejects, SIZES, Subject, Waits, drain};
use crate::upstream::{CREDENTIAL, Reply, Request, Upstream, request};

/// A limit of 100 in ten seconds, above which calls wait.
pub(crate) struct RateLimit {
    layer: RateLimitLayer,
}

/// The same limit, above which calls are rejected.
pub(crate) struct RateLimitRejecting {
    layer: RateLimitLayer,
}

/// The same as [`RateLimit`] for each credential.
pub(crate) struct RateLimitByCredential {
    layer: RateLimitLayer<HttpClassifier, ByCredential>,
}

const LIMIT: u32 = 100;

fn builder(observer: impl Observer) -> RateLimitBuilder {
    RateLimitLayer::builder(Quota::new(LIMIT, Duration::from_secs(10))).observer(observer)
}

fn use_up<K>(layer: &RateLimitLayer<HttpClassifier, K>)
where
    RateLimitLayer<HttpClassifier, K>: tower::Layer<crate::upstream::Inner, Service: super::Client>,
{
    drain(layer, Reply::Status(200), LIMIT as usize, request);
}

fn held(status: &RateLimitStatus) -> String {
    format!("{} waiting, paused until {:?}", status.waiting, status.paused_until)
}

fn spent(status: &RateLimitStatus) -> String {
    format!("{} remaining", status.remaining)
}

impl Subject for RateLimit {
    type Layer = RateLimitLayer;
    type Plain = RateLimitLayer<ErrorClassifier>;

    fn observed(observer: impl Observer) -> Self {
        Self { layer: builder(observer).build().unwrap() }
    }

    fn layer(&self) -> Self::Layer {
        self.layer.clone()
    }

    fn plain() -> Self::Plain {
        RateLimitLayer::builder(Quota::per_second(100))
            .classifier(ErrorClassifier::new())
            .build()
            .unwrap()
    }

    fn use_up(layer: &Self::Layer) {
        use_up(layer);
    }

    fn held(&self) -> String {
        held(&self.layer.handle().status())
    }

    fn spent(&self) -> String {
        spent(&self.layer.handle().status())
    }

    fn look(&self) -> String {
        let handle = self.layer.handle();
        format!("{:?} {:?}", handle.status(), handle.all())
    }

    fn extremes() -> Vec<Extreme<Self::Layer>> {
        extremes(RateLimitLayer::builder)
    }
}

impl Waits for RateLimit {
    fn make_wait(&self, _: &Upstream) {
        use_up(&self.layer);
    }
}

impl Subject for RateLimitRejecting {
    type Layer = RateLimitLayer;
    type Plain = RateLimitLayer<ErrorClassifier>;

    fn observed(observer: impl Observer) -> Self {
        Self { layer: builder(observer).no_wait().build().unwrap() }
    }

    fn layer(&self) -> Self::Layer {
        self.layer.clone()
    }

    fn plain() -> Self::Plain {
        let builder = RateLimitLayer::builder(Quota::per_second(100)).no_wait();
        builder.classifier(ErrorClassifier::new()).build().unwrap()
    }

    fn use_up(layer: &Self::Layer) {
        use_up(layer);
    }

    fn held(&self) -> String {
        held(&self.layer.handle().status())
    }

    fn spent(&self) -> String {
        spent(&self.layer.handle().status())
    }

    fn extremes() -> Vec<Extreme<Self::Layer>> {
        extremes(|quota| RateLimitLayer::builder(quota).no_wait())
    }
}

impl Rejects for RateLimitRejecting {
    type Rejection = RateLimited;
    #[cfg(feature = "tonic")]
    const CODE: tonic::Code = tonic::Code::ResourceExhausted;
}

impl RateLimitByCredential {
    fn status(&self) -> Option<RateLimitStatus> {
        self.layer.handle().status_of(&KeyRef::secret(CREDENTIAL.as_bytes()))
    }
}

impl Subject for RateLimitByCredential {
    type Layer = RateLimitLayer<HttpClassifier, ByCredential>;
    type Plain = RateLimitLayer<ErrorClassifier, RequestKeyFn<fn(&u32) -> KeyRef<'_>>>;

    fn observed(observer: impl Observer) -> Self {
        Self { layer: builder(observer).by_credential().build().unwrap() }
    }

    fn layer(&self) -> Self::Layer {
        self.layer.clone()
    }

    fn plain() -> Self::Plain {
        let key: fn(&u32) -> KeyRef<'_> = |request| KeyRef::Number(u64::from(*request));
        let builder = RateLimitLayer::builder(Quota::per_second(100));
        builder.classifier(ErrorClassifier::new()).key(request_key_fn(key)).build().unwrap()
    }

    fn use_up(layer: &Self::Layer) {
        use_up(layer);
    }

    fn held(&self) -> String {
        self.status().map_or_else(|| "0 waiting, paused until None".into(), |status| held(&status))
    }

    fn spent(&self) -> String {
        self.status().map_or_else(|| format!("{LIMIT} remaining"), |status| spent(&status))
    }

    fn look(&self) -> String {
        format!("{:?} {:?}", self.status(), self.layer.handle().all())
    }

    fn extremes() -> Vec<Extreme<Self::Layer>> {
        extremes(|quota| RateLimitLayer::builder(quota).by_credential())
    }
}

impl Waits for RateLimitByCredential {
    fn make_wait(&self, _: &Upstream) {
        use_up(&self.layer);
    }
}

impl Keyed for RateLimitByCredential {
    fn request_of(n: usize) -> Request {
        let mut request = request();
        let credential = http::HeaderValue::from_str(&format!("Bearer key-{n}"));
        request.headers_mut().insert("authorization", credential.expect("a valid value"));
        request
    }

    fn states(&self) -> usize {
        self.layer.handle().all().len()
    }

    fn with_room(keys: usize) -> Self {
        Self { layer: builder(()).by_credential().max_keys(keys).build().unwrap() }
    }
}

fn extremes<K>(
    builder: impl Fn(Quota) -> RateLimitBuilder<HttpClassifier, K>,
) -> Vec<Extreme<RateLimitLayer<HttpClassifier, K>>> {
    let mut all = Vec::new();
    for limit in COUNTS {
        for window in DURATIONS {
            let quota = Quota::new(limit, window);
            let what = format!("Quota::new({limit}, {window:?})");
            all.push(Extreme::new(&what, builder(quota.clone()).build().unwrap()));
            for burst in COUNTS {
                let layer = builder(quota.clone().burst(burst)).build().unwrap();
                all.push(Extreme::new(format!("{what}.burst({burst})"), layer));
            }
            for margin in DURATIONS {
                let layer = builder(quota.clone().margin(margin)).build().unwrap();
                all.push(Extreme::new(format!("{what}.margin({margin:?})"), layer));
            }
        }
        for (name, quota) in [
            ("per_second", Quota::per_second(limit)),
            ("per_minute", Quota::per_minute(limit)),
            ("per_hour", Quota::per_hour(limit)),
        ] {
            all.push(Extreme::new(format!("{name}({limit})"), builder(quota).build().unwrap()));
        }
    }
    all.push(Extreme::new("Quota::learned()", builder(Quota::learned()).build().unwrap()));
    for learn in [true, false] {
        let quota = Quota::per_minute(1);
        let layer = builder(quota).learn_limits(learn).seed(u64::MAX).build().unwrap();
        all.push(Extreme::new(format!("learn_limits({learn})"), layer));
    }
    let one = Quota::per_minute(1);
    for time in DURATIONS {
        for waiting in SIZES {
            let what = format!("max_wait({time:?}), max_waiting({waiting})");
            let layer = builder(one.clone()).max_wait(time).max_waiting(waiting).build().unwrap();
            let extreme = Extreme::new(what, layer);
            all.push(if time == Duration::MAX { extreme.may_wait() } else { extreme });
        }
        for limit in COUNTS {
            let what = format!("max_pause({time:?}), per_minute({limit})");
            let layer = builder(Quota::per_minute(limit)).max_pause(time).build().unwrap();
            all.push(Extreme::new(what, layer));
        }
    }
    for keys in SIZES {
        all.push(Extreme::new(
            format!("max_keys({keys})"),
            builder(one.clone()).max_keys(keys).build().unwrap(),
        ));
    }
    all
}
