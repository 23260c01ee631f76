use http::header::HOST;
use http::uri::{PathAndQuery, Uri};

use super::region::Place;

/// A request whose target can be changed.
///
/// Implemented for `http::Request<B>` and, with the feature `reqwest`, for
/// `reqwest::Request`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` isn't a request that a failover can send to another region",
    label = "its target can't be changed",
    note = "`http::Request<B>` and, with the feature `reqwest`, `reqwest::Request` are understood",
    note = "for other requests give the failover one service a region: `failover.services(|region| ..)`"
)]
pub trait Route {
    /// Makes the request one to this region.
    fn route(&mut self, to: &Target<'_>);
}

/// The region that a request goes to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    places: &'a [Place],
    region: usize,
}

impl<'a> Target<'a> {
    pub(super) fn new(places: &'a [Place], region: usize) -> Self {
        Self { places, region }
    }

    /// The region's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.place().name
    }

    /// Where the region's requests go: scheme, host, and the path before a request's own.
    #[must_use]
    pub fn uri(&self) -> Uri {
        let Place { scheme, authority, path, .. } = self.place();
        let base = Uri::builder().scheme(scheme.clone()).authority(authority.clone());
        // The parts were those of a URI.
        base.path_and_query(if path.is_empty() { "/" } else { path }).build().unwrap_or_default()
    }

    fn place(&self) -> &'a Place {
        &self.places[self.region]
    }

    /// The path below a region's base: a request that names one of the regions
    /// means the same place in each; any other path is taken as it is.
    fn below<'p>(&self, authority: Option<&str>, path: &'p str) -> &'p str {
        let Some(authority) = authority else { return path };
        self.places
            .iter()
            .filter(|place| place.authority == authority)
            .filter_map(|place| path.strip_prefix(&*place.path))
            .filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
            .min_by_key(|rest| rest.len())
            .unwrap_or(path)
    }
}

impl<B> Route for http::Request<B> {
    fn route(&mut self, to: &Target<'_>) {
        let place = to.place();
        let mut parts = std::mem::take(self.uri_mut()).into_parts();
        let given = parts.path_and_query.as_ref().map_or("/", PathAndQuery::as_str);
        let authority = parts.authority.as_ref().map(http::uri::Authority::as_str);
        let below = to.below(authority, given);
        if !place.path.is_empty() || below.len() != given.len() {
            let slash = if below.starts_with('/') { "" } else { "/" };
            let joined = format!("{}{slash}{below}", place.path);
            // Both halves were valid, so the whole is.
            parts.path_and_query = joined.parse().ok();
        }
        parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
        parts.scheme = Some(place.scheme.clone());
        parts.authority = Some(place.authority.clone());
        *self.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        if let Some(host) = self.headers_mut().get_mut(HOST) {
            *host = place.host.clone();
        }
    }
}

#[cfg(feature = "reqwest")]
impl Route for reqwest::Request {
    fn route(&mut self, to: &Target<'_>) {
        let place = to.place();
        let url = self.url();
        let authority = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => Some(format!("{host}:{port}")),
            (host, _) => host.map(str::to_owned),
        };
        let path = format!("{}{}", place.path, to.below(authority.as_deref(), url.path()));
        let url = self.url_mut();
        // None of these can fail on a URL that is sent over HTTP, as this one is.
        _ = url.set_scheme(place.scheme.as_str());
        _ = url.set_host(Some(place.authority.host()));
        _ = url.set_port(place.authority.port_u16());
        _ = url.set_username("");
        _ = url.set_password(None);
        url.set_path(&path);
        if let Some(host) = self.headers_mut().get_mut(HOST) {
            *host = place.host.clone();
        }
    }
}
