use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, Parts, PathAndQuery, Uri};
use http::{HeaderMap, HeaderValue};

use super::region::RegionEntry;
use super::set::RegionSet;

/// A request whose target can be changed.
///
/// Implemented for `http::Request<B>` and, with the feature `reqwest`, for
/// `reqwest::Request`. For a request of your own:
///
/// ```
/// use tower_upstream::failover::{Route, Target};
///
/// struct Query {
///     uri: http::Uri,
///     text: String,
/// }
///
/// impl Route for Query {
///     fn route(&mut self, to: &Target<'_>) {
///         self.uri = to.rewrite(std::mem::take(&mut self.uri));
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` isn't a request that a failover can send to another region",
    label = "its target can't be changed",
    note = "`http::Request<B>` and, with the feature `reqwest`, `reqwest::Request` are understood; implement `Route` for your own type",
    note = "or give the failover one service a region: `failover.services(|region| ..)`"
)]
pub trait Route {
    /// Sends the request to this region, and to no other host.
    fn route(&mut self, to: &Target<'_>);
}

/// The region that a request goes to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    set: &'a RegionSet,
    place: &'a RegionEntry,
}

impl<'a> Target<'a> {
    pub(super) fn new(set: &'a RegionSet, place: &'a RegionEntry) -> Self {
        Self { set, place }
    }

    /// The region's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.place.name
    }

    /// Where the region's requests go: scheme, host, and the path before a request's own.
    #[must_use]
    pub fn uri(&self) -> Uri {
        let RegionEntry { scheme, authority, path, .. } = self.place;
        let base = Uri::builder().scheme(scheme.clone()).authority(authority.clone());
        // It can't fail, as the parts came from a URI.
        base.path_and_query(if path.is_empty() { "/" } else { path }).build().unwrap_or_default()
    }

    /// The region's host, and its port if it names one: what a `Host` header says.
    #[must_use]
    pub fn host(&self) -> &HeaderValue {
        &self.place.host
    }

    /// Rewrites a URI, of any region or relative to its base, to this region.
    ///
    /// The result always has the region's scheme and host. If the given path is below the base of one of
    /// the regions, that base is replaced by this region's; any other path is put after this base. If
    /// the result would be too long for a URI (65,534 bytes), it has no host, so that no client
    /// sends it.
    #[must_use]
    pub fn rewrite(&self, mut uri: Uri) -> Uri {
        self.take_over(&mut uri);
        uri
    }

    /// Does what [`rewrite`](Self::rewrite) does, in place.
    fn take_over(&self, uri: &mut Uri) {
        let RegionEntry { scheme, authority, .. } = self.place;
        let given = std::mem::take(uri).into_parts();
        let path = given.path_and_query.as_ref().map_or("/", PathAndQuery::as_str);
        let path = match self.path(given.authority.as_ref().map(Authority::as_str), path) {
            None => given.path_and_query,
            // Both halves were valid, so the whole is, unless it is too long.
            Some(path) => match PathAndQuery::from_maybe_shared(Bytes::from(path)) {
                Ok(path) => Some(path),
                Err(_) => return,
            },
        };
        let mut parts = Parts::default();
        (parts.scheme, parts.authority) = (Some(scheme.clone()), Some(authority.clone()));
        parts.path_and_query = path.or_else(|| Some(PathAndQuery::from_static("/")));
        if let Ok(taken_over) = Uri::from_parts(parts) {
            *uri = taken_over;
        }
    }

    /// Whether a request for this URI goes to this region without a change.
    fn is_there(&self, uri: &Uri) -> bool {
        let RegionEntry { scheme, authority, path, .. } = self.place;
        uri.authority().is_some_and(|given| given.as_str() == authority.as_str())
            // If two regions share a host, the path may be below the longer base of the other one.
            && !self.set.hosts_are_shared()
            && uri.scheme() == Some(scheme)
            && uri.path().strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The path in this region of a request for `given`, or `None` if it stays the same.
    fn path(&self, authority: Option<&str>, given: &str) -> Option<String> {
        let base = self.place.path;
        // It is relative to a base without a path, so it stays.
        if authority.is_none() && base.is_empty() && given.starts_with('/') {
            return None;
        }
        let below = self.below(authority, given);
        // `below` is the end of what was given. If the base is what comes before it, it stays.
        if given.strip_suffix(below) == Some(base) && below.starts_with('/') {
            return None;
        }
        // A request for the base itself, with or without a query, gets no slash at its end.
        let joins = below.starts_with('/') || (!base.is_empty() && !below.starts_with(is_word));
        let slash = if joins { "" } else { "/" };
        let mut path = String::with_capacity(base.len() + slash.len() + below.len());
        path.extend([base, slash, below]);
        Some(path)
    }

    /// The part of the path below a region's base: a request that names one of the regions means the
    /// same place in each. Any other path is returned whole.
    fn below<'p>(&self, authority: Option<&str>, path: &'p str) -> &'p str {
        let Some(authority) = authority else { return path };
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let places = self.set.slots.iter().map(|region_state| &region_state.place);
        places
            .filter(|place| place.is_host(authority))
            .filter_map(|place| path.strip_prefix(place.path))
            .filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
            .min_by_key(|rest| rest.len())
            .unwrap_or(path)
    }

    fn rewrite_host(&self, headers: &mut HeaderMap) {
        // A criteria instead of a look-up: few requests have a `Host` header, and comparing the names that
        // are there takes less time than hashing this one.
        if headers.keys().any(|name| *name == HOST) {
            headers.insert(HOST, self.place.host.clone());
        }
    }
}

impl<B> Route for http::Request<B> {
    fn route(&mut self, to: &Target<'_>) {
        if !to.is_there(self.uri()) {
            to.take_over(self.uri_mut());
        }
        to.rewrite_host(self.headers_mut());
    }
}

/// Whether a character is part of a path's segment, and doesn't end one.
fn is_word(first: char) -> bool {
    !matches!(first, '/' | '?')
}

#[cfg(feature = "reqwest")]
impl Route for reqwest::Request {
    fn route(&mut self, to: &Target<'_>) {
        let RegionEntry { scheme, authority, .. } = to.place;
        let url = self.url();
        let given = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => Some(format!("{host}:{port}")),
            (host, _) => host.map(str::to_owned),
        };
        let path = to.path(given.as_deref(), url.path());
        let url = self.url_mut();
        // None of these can fail on a URL of HTTP, as this one is.
        _ = url.set_scheme(scheme.as_str());
        _ = url.set_host(Some(authority.host()));
        _ = url.set_port(authority.port_u16());
        _ = url.set_username("");
        _ = url.set_password(None);
        if let Some(path) = path {
            url.set_path(&path);
        }
        to.rewrite_host(self.headers_mut());
    }
}
