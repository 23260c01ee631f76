use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use tower::Layer;
use tower::util::MapResponse;
use tower_upstream::PeekLayer;
use tower_upstream::event::Observer;
use tower_upstream::peek::PeekBody;
use tower_upstream::peek::PeekBuilder;

use super::{DURATIONS, Extreme, SIZES, Subject, call};
use crate::upstream::{Mark, Reply, Response, Upstream, request};

/// Looks into every reply that it can, successes too.
pub(crate) struct Peek {
    layer: Marked,
}

/// The layer over replies that have bodies: a reply's number is one, and is read from what comes
/// out. A body that didn't come out whole would be another number, or none.
#[derive(Clone, Debug)]
pub(crate) struct Marked(PeekLayer);

type Written<S> = MapResponse<S, fn(Response) -> http::Response<Full<Bytes>>>;
type Peeked<S> = <PeekLayer as Layer<Written<S>>>::Service;

impl<S> Layer<S> for Marked {
    type Service = MapResponse<Peeked<S>, fn(http::Response<PeekBody<Full<Bytes>>>) -> Response>;

    fn layer(&self, inner: S) -> Self::Service {
        MapResponse::new(self.0.layer(MapResponse::new(inner, written)), read)
    }
}

fn written(response: Response) -> http::Response<Full<Bytes>> {
    response.map(|Mark(number)| Full::from(number.to_be_bytes().to_vec()))
}

fn read(response: http::Response<PeekBody<Full<Bytes>>>) -> Response {
    response.map(|body| {
        let collected = body.collect().now_or_never().expect("it is all there");
        let bytes = collected.expect("it can't fail").to_bytes();
        Mark(u64::from_be_bytes(bytes.as_ref().try_into().expect("eight bytes")))
    })
}

fn builder() -> PeekBuilder {
    PeekLayer::builder().also_successes().grpc_unary()
}

fn peek() -> PeekLayer {
    builder().build().unwrap()
}

impl Subject for Peek {
    type Layer = Marked;
    /// What isn't HTTP has no body.
    type Plain = ();

    /// It tells nobody but the layers above.
    fn observed(_: impl Observer) -> Self {
        Self { layer: Marked(peek()) }
    }

    fn layer(&self) -> Marked {
        self.layer.clone()
    }

    fn plain() -> Self::Plain {}

    fn use_up(layer: &Marked) {
        let upstream = Upstream::that_replies(Reply::Status(503));
        _ = crate::clock::at_once(call(layer.layer(upstream.inner()), request()));
    }

    fn held(&self) -> String {
        // A body, which is handed on.
        String::new()
    }

    fn spent(&self) -> String {
        // Nothing.
        String::new()
    }

    fn extremes() -> Vec<Extreme<Marked>> {
        let limits = SIZES.map(|bytes| (format!("limit({bytes})"), builder().limit(bytes)));
        let times = DURATIONS.map(|time| (format!("timeout({time:?})"), builder().timeout(time)));
        let all = limits.into_iter().chain(times);
        all.map(|(what, layer)| Extreme::checked(what, layer.build().map(Marked))).collect()
    }
}
