use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};

use crate::error::InvalidConfig;

/// One place where the upstream can be called.
///
/// ```
/// use tower_upstream::failover::Region;
///
/// let region = Region::new("eu-west-1", "https://eu-api.example.com/v1").priority(2);
/// # let _ = region;
/// ```
#[derive(Clone)]
#[must_use]
pub struct Region {
    name: String,
    base: String,
    priority: u32,
}

impl Region {
    /// A region of this name, whose requests go below this base: a URI of scheme, host, and the path
    /// that is put before a request's own.
    ///
    /// Each different name and base is kept once for the lifetime of the process.
    pub fn new(name: impl Into<String>, base: impl Into<String>) -> Self {
        Self { name: name.into(), base: base.into(), priority: 1 }
    }

    /// Regions of a lower number are preferred. Default: 1.
    pub const fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }
}

/// The regions of an upstream, checked. The primary is the first one of the lowest priority number. A
/// [handle](super::FailoverHandle) changes the regions later.
#[derive(Clone, Debug)]
pub struct Regions(pub(super) Vec<RegionEntry>);

/// A checked region.
#[derive(Clone, Debug)]
pub(super) struct RegionEntry {
    pub(super) name: &'static str,
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    /// The authority as a header.
    pub(super) host: HeaderValue,
    /// The base's path, without a slash at its end; empty if requests go to the root.
    pub(super) path: &'static str,
    pub(super) priority: u32,
}

impl Regions {
    /// How many regions there can be.
    pub const MOST: usize = 1024;

    /// Checks these regions, and makes a set of them.
    ///
    /// # Errors
    ///
    /// If there is none, or more than [`MOST`](Self::MOST); if a name is empty or
    /// used twice; if a base isn't an absolute URI with scheme and host, or has a user
    /// name, a password, a query or a fragment.
    pub fn new(regions: impl IntoIterator<Item = Region>) -> Result<Self, InvalidConfig> {
        let mut places: Vec<RegionEntry> = Vec::new();
        for region in regions {
            let place = RegionEntry::new(region)?;
            if places.iter().any(|other| other.name == place.name) {
                let message = format!("two regions are called {:?}; give each its own", place.name);
                return Err(InvalidConfig::new(message));
            }
            places.push(place);
        }
        match places.len() {
            0 => Err(InvalidConfig::new("a failover needs at least one region")),
            1..=Self::MOST => Ok(Self(places)),
            many => Err(InvalidConfig::new(format!(
                "{many} regions are too many; a failover keeps up to {}",
                Self::MOST
            ))),
        }
    }

    /// The names, in the order given.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|place| place.name)
    }
}

/// Without the base, which may hold a password until it is checked.
impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, priority, base: _ } = self;
        f.debug_struct("Region")
            .field("name", name)
            .field("priority", priority)
            .finish_non_exhaustive()
    }
}

impl RegionEntry {
    /// Whether this authority is the region's; the scheme's own port may be left out.
    pub(super) fn is_host(&self, authority: &str) -> bool {
        let port = if self.scheme == Scheme::HTTPS { ":443" } else { ":80" };
        let host = self.authority.as_str();
        let host = host.strip_suffix(port).unwrap_or(host);
        host.eq_ignore_ascii_case(authority.strip_suffix(port).unwrap_or(authority))
    }

    pub(super) fn new(region: Region) -> Result<Self, InvalidConfig> {
        let Region { name, base, priority } = region;
        if name.is_empty() {
            return Err(InvalidConfig::new("a region needs a name, which events and status show"));
        }
        // The base isn't repeated in a message: it may hold a password.
        let wrong = |what: &str| InvalidConfig::new(format!("the base of region {name:?} {what}"));
        if base.contains('#') {
            return Err(wrong("has a fragment; leave it out"));
        }
        let uri: Uri = base.parse().map_err(|_| wrong("isn't a URI"))?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(wrong("needs a scheme and a host, as in https://api.example.com/v1"));
        };
        if authority.as_str().contains('@') {
            return Err(wrong("has a user name or password; send those in a header"));
        }
        let path = parts.path_and_query;
        if path.as_ref().is_some_and(|path| path.query().is_some()) {
            return Err(wrong("has a query; leave it out"));
        }
        let path = path.as_ref().map_or("", |path| path.path()).trim_end_matches('/');
        HeaderValue::from_str(authority.as_str())
            .map_err(|_| wrong("has a host that isn't text"))?;
        let authority = intern(authority.as_str());
        Ok(Self {
            name: intern(&name),
            scheme,
            authority: Authority::from_static(authority),
            host: HeaderValue::from_static(authority),
            path: intern(path),
            priority,
        })
    }
}

impl RegionEntry {
    /// Whether it is the same region; its priority may differ.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        (self.name, self.path) == (other.name, other.path)
            && self.scheme == other.scheme
            && self.authority == other.authority
    }
}

/// The same text, living as long as the process. Each text is saved once, however many sets use it.
///
/// This lets a call's scope, which is `Copy`, carry a region's name, and a request take a region's
/// host without counting references in a place that all threads share.
fn intern(text: &str) -> &'static str {
    static TEXTS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text) {
        return known;
    }
    let text = Box::leak(Box::from(text));
    texts.insert(text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(base: &str) -> Result<Regions, InvalidConfig> {
        Regions::new([Region::new("one", base)])
    }

    #[test]
    fn takes_bases_separately() {
        for (given, authority, path) in [
            ("https://api.example.com/v1", "api.example.com", "/v1"),
            ("https://api.example.com/v1/", "api.example.com", "/v1"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080", ""),
            ("http://[::1]:8080/", "[::1]:8080", ""),
        ] {
            let regions = base(given).unwrap();
            assert_eq!(regions.0[0].authority, authority);
            assert_eq!(regions.0[0].path, path);
        }
    }

    #[test]
    fn refuses_what_cannot_work() {
        for given in [
            "",
            "/v1",
            "api.example.com",
            "https://",
            "https://user:secret@api.example.com/v1",
            "https://api.example.com/v1?key=secret",
            "https://api.example.com/v1#top",
            "https://api example.com",
        ] {
            let error = base(given).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        let region = || Region::new("one", "https://api.example.com");
        assert!(Regions::new([]).is_err());
        assert!(Regions::new([region(), region()]).is_err());
        assert!(Regions::new([Region::new("", "https://api.example.com")]).is_err());
        let many = (0..=Regions::MOST).map(|n| Region::new(n.to_string(), "http://a"));
        assert!(Regions::new(many).is_err());
    }
}
