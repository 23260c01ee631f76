//! Which calls share one circuit, or one quota.
//!
//! A layer keeps one state for all calls, or one a key: [`ByAuthority`], [`ByRegion`],
//! [`ByCredential`], two of these at once ([`ByBoth`]), or what a closure says ([`key_fn`], [`request_key_fn`]).
//! Keys are looked up as text or as a hash, so no layer names a request type.

mod both;
mod registry;

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, OnceLock};

use http::header::{AUTHORIZATION, HeaderName};

use crate::head::{HttpRequest, RequestHead};
use crate::scope::CallScope;

pub use self::both::{Both, ByBoth};
pub(crate) use self::registry::LastKey;
pub(crate) use self::registry::{Keyed, Registry};

/// A function from a request to its key.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no key for the request `{Req}`",
    label = "no key for this request",
    note = "`ByAuthority`, `ByCredential` and `key_fn` read `http::Request<B>` and, with the feature `reqwest`, `reqwest::Request`",
    note = "for other requests use `.key(request_key_fn(|request: &MyRequest| ..))`",
    note = "a circuit breaker looks for credentials, unless it is built with `.credential(AllCalls)`"
)]
pub trait Key<Req> {
    /// The key of this request.
    fn key<'a>(&'a self, request: &'a Req) -> KeyRef<'a>;
}

/// A key, borrowed from the request where it can be.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyRef<'a> {
    /// No key: all such calls share one state.
    Shared,
    /// A text that may be shown, such as a tenant or a model.
    Text(Cow<'a, str>),
    /// A number that may be shown, such as a shard's.
    Number(u64),
    /// A hash of something that must not be shown. Made by [`KeyRef::secret`].
    Hash(u64),
    /// Two of these at once.
    Both(Both<'a>),
}

impl<'a> KeyRef<'a> {
    /// A text that may be shown, borrowed or owned.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// The key of something that must never be shown, such as a credential: a
    /// hash of it, salted anew in each process.
    #[must_use]
    pub fn secret(secret: &[u8]) -> Self {
        Self::Hash(salted(secret))
    }
}

/// A hash that differs from process to process.
fn salted(value: impl Hash) -> u64 {
    static SALT: OnceLock<RandomState> = OnceLock::new();
    SALT.get_or_init(RandomState::new).hash_one(value)
}

impl KeyRef<'_> {
    /// A hash that is the same in every process of one build; `None` for no key.
    #[cfg(feature = "failover")]
    #[inline]
    pub(crate) fn hashed(&self) -> Option<u64> {
        use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
        let hash = || BuildHasherDefault::<DefaultHasher>::default().hash_one(self);
        (!matches!(self, Self::Shared)).then(hash)
    }

    /// The same key, which outlives its request.
    fn kept(&self) -> KeyRef<'static> {
        match self {
            Self::Shared => KeyRef::Shared,
            Self::Text(text) => KeyRef::text(text.clone().into_owned()),
            Self::Number(number) => KeyRef::Number(*number),
            Self::Hash(hash) => KeyRef::Hash(*hash),
            Self::Both(both) => {
                let (a, b) = both.parts();
                KeyRef::both(a.kept(), b.kept())
            }
        }
    }

    /// The name of this key's state in the layer of this name.
    pub(crate) fn name_in(&self, layer: &Arc<str>) -> Arc<str> {
        match self {
            Self::Shared => Arc::clone(layer),
            key => format!("{layer}/{key}").into(),
        }
    }
}

impl fmt::Display for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared => f.write_str("all"),
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Hash(hash) => write!(f, "#{hash:016x}"),
            Self::Both(both) => both.fmt(f),
        }
    }
}

impl fmt::Debug for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRef({self})")
    }
}

/// One state for all calls: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllCalls;

impl<Req> Key<Req> for AllCalls {
    fn key<'a>(&'a self, _: &'a Req) -> KeyRef<'a> {
        KeyRef::Shared
    }
}

/// One state for each host and port, exactly as requests write them: `API.example.com` and
/// `api.example.com` are two keys, and so are a host with `:443` and one without a port.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByAuthority;

impl<Req: HttpRequest> Key<Req> for ByAuthority {
    fn key<'a>(&'a self, request: &'a Req) -> KeyRef<'a> {
        request.head().authority().map_or(KeyRef::Shared, KeyRef::text)
    }
}

/// One state for each region of a [failover](crate::scope::CallScope::region) above, under the region's
/// name; where there is none, for each host and port.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByRegion;

impl<Req> Key<Req> for ByRegion
where
    ByAuthority: Key<Req>,
{
    fn key<'a>(&'a self, request: &'a Req) -> KeyRef<'a> {
        let region = CallScope::offered().and_then(|scope| scope.region());
        region.map_or_else(|| ByAuthority.key(request), KeyRef::text)
    }
}

/// One state for each credential: the `Authorization` header, else `x-api-key`,
/// `api-key` (Azure) or `x-goog-api-key`. Kept and shown as a salted hash only.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByCredential;

impl<Req: HttpRequest> Key<Req> for ByCredential {
    fn key<'a>(&'a self, request: &'a Req) -> KeyRef<'a> {
        // `HeaderName`s, since a text is parsed at each look-up.
        static OTHERS: [HeaderName; 3] = [
            HeaderName::from_static("x-api-key"),
            HeaderName::from_static("api-key"),
            HeaderName::from_static("x-goog-api-key"),
        ];
        let headers = request.head().headers();
        let credential =
            headers.get(AUTHORIZATION).or_else(|| OTHERS.iter().find_map(|name| headers.get(name)));
        credential.map_or(KeyRef::Shared, |value| KeyRef::secret(value.as_bytes()))
    }
}

/// A closure over the request's head as key. Made by [`key_fn`].
#[derive(Clone, Copy)]
pub struct KeyFn<F>(F);

/// Makes a key of a closure over a request's head. Calls for which it returns `None` share one
/// state.
///
/// The closure needs no type annotation, and works over every client. What it returns is shown in
/// events and status: for a secret use [`ByCredential`].
///
/// ```
/// use tower_upstream::key::key_fn;
///
/// let by_tenant = key_fn(|head| head.header("x-tenant"));
/// # let _ = by_tenant;
/// ```
pub const fn key_fn<F>(f: F) -> KeyFn<F>
where
    F: for<'a> Fn(RequestHead<'a>) -> Option<&'a str>,
{
    KeyFn(f)
}

impl<F, Req> Key<Req> for KeyFn<F>
where
    F: for<'a> Fn(RequestHead<'a>) -> Option<&'a str>,
    Req: HttpRequest,
{
    fn key<'a>(&'a self, request: &'a Req) -> KeyRef<'a> {
        (self.0)(request.head()).map_or(KeyRef::Shared, KeyRef::text)
    }
}

impl<F> fmt::Debug for KeyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFn")
    }
}

/// A closure over the whole request as key. Made by [`request_key_fn`].
#[derive(Clone, Copy)]
pub struct RequestKeyFn<F>(F);

/// Makes a key of a closure over the whole request, of any type.
///
/// ```
/// use tower_upstream::key::{KeyRef, request_key_fn};
///
/// struct Query { shard: u64 }
/// let by_shard = request_key_fn(|query: &Query| KeyRef::Number(query.shard));
/// # let _ = by_shard;
/// ```
pub const fn request_key_fn<Req, F>(f: F) -> RequestKeyFn<F>
where
    F: for<'a> Fn(&'a Req) -> KeyRef<'a>,
{
    RequestKeyFn(f)
}

impl<F, Req> Key<Req> for RequestKeyFn<F>
where
    F: for<'a> Fn(&'a Req) -> KeyRef<'a>,
{
    fn key<'a>(&'a self, request: &'a Req) -> KeyRef<'a> {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for RequestKeyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestKeyFn")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_key_is_the_key_that_it_was_made_of_and_no_other() {
        let keys = [
            KeyRef::Shared,
            KeyRef::text("a"),
            KeyRef::text("1"),
            KeyRef::Number(1),
            KeyRef::Number(2),
            KeyRef::Hash(1),
            KeyRef::both(KeyRef::text("a"), KeyRef::Number(1)),
            KeyRef::both(KeyRef::text("a"), KeyRef::Number(2)),
            KeyRef::both(KeyRef::Number(1), KeyRef::text("a")),
        ];
        for key in &keys {
            let kept = key.kept();
            assert!(keys.iter().all(|other| (kept == *other) == (key == other)), "{key}");
        }
    }

    #[test]
    fn only_a_secret_is_shown_as_a_hash() {
        let shown = [KeyRef::text("tenant"), KeyRef::Number(7), KeyRef::Hash(7), KeyRef::Shared];
        let shown = shown.map(|key| key.to_string());
        assert_eq!(shown, ["tenant", "7", "#0000000000000007", "all"]);
        assert!(matches!(KeyRef::secret(b"key"), KeyRef::Hash(_)));
    }
}
