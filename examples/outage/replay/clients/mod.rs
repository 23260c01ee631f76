//! Three clients of the same provider.

mod by_hand;
mod http;
mod layered;
mod naive;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use tower::{Service, util::BoxCloneSyncService};
use tower_upstream::{BoxError, alert::Alerts};

pub(crate) use self::by_hand::by_hand;
pub(crate) use self::http::{Counters, Plain, Wire, plain, wire};
pub(crate) use self::layered::{Layered, layered};
pub(crate) use self::naive::naive;

pub(crate) type Request = ::http::Request<Full<Bytes>>;
pub(crate) type Response = ::http::Response<Incoming>;

/// A client, ready to use.
pub(crate) struct Client {
    pub(crate) service: BoxCloneSyncService<Request, Response, BoxError>,
    /// Who tells people of it, where somebody does.
    pub(crate) alerts: Option<Alerts>,
}

impl Client {
    /// A client without alerts.
    fn silent<S>(service: S) -> Self
    where
        S: Service<Request, Response = Response, Error = BoxError> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self { service: BoxCloneSyncService::new(service), alerts: None }
    }
}
