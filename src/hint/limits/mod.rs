//! What a server's headers say about its limits: how many calls or tokens it allows, how many are left,
//! and when the limit is reset. The table in [`hint`](super) says which server sends what.
//!
//! Servers' headers differ more in names than in meaning, so one grammar reads all names
//! (`name.rs`): the prefix of a family, one of `limit`, `remaining` and `reset`, and
//! around it words for the resource and the window. A reset is read in
//! any of its formats (`reset.rs`).

mod binding;
mod found;
mod ietf;
mod list;
mod name;
mod reset;
mod shopify;

use std::slice;
use std::time::Duration;

use http::HeaderMap;

use self::found::Found;

/// The number of limits of one response that are kept: more than any known server sends.
const MOST: usize = 16;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Calls. Also used if a header doesn't name what it counts.
    Requests,
    /// Tokens that a model reads and writes.
    Tokens,
    /// Tokens that a model reads.
    InputTokens,
    /// Tokens that a model writes.
    OutputTokens,
    /// Something else: bytes, images, reads of one kind.
    Other,
}

/// One limit, as far as the headers describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// What is counted.
    pub resource: Resource,
    /// How many are allowed in a window. Never zero.
    pub limit: Option<u64>,
    /// How many are left, rounded down.
    pub remaining: Option<u64>,
    /// How long after the response the limit starts anew or, with some servers, is full again: 1 ms to
    /// 366 days.
    pub reset: Option<Duration>,
    /// The length of the window. Not known for a month, as months differ.
    pub window: Option<Duration>,
}

impl Limit {
    const fn of(resource: Resource) -> Self {
        Self { resource, limit: None, remaining: None, reset: None, window: None }
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_exhausted(&self) -> bool {
        matches!(self.remaining, Some(0))
    }
}

/// The limits in a response's headers: the first 16, if there are more.
///
/// [A table](crate::hint#limits) lists the headers. It is `Copy`, and reading well-formed headers
/// doesn't allocate. No classifier reads the limits of a success.
///
/// ```
/// use std::time::Duration;
/// use tower_upstream::hint::{Limits, Resource};
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("x-ratelimit-limit-tokens", "150000".parse()?);
/// headers.insert("x-ratelimit-remaining-tokens", "0".parse()?);
/// headers.insert("x-ratelimit-reset-tokens", "6m0s".parse()?);
///
/// let limits = Limits::from_headers(&headers);
/// let tokens = limits.of(Resource::Tokens);
/// assert_eq!(tokens.binding().and_then(|limit| limit.limit), Some(150_000));
/// assert_eq!(limits.wait(), Some(Duration::from_secs(360)));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    limits: [Limit; MOST],
    len: usize,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Self { limits: [Limit::of(Resource::Other); MOST], len: 0 };

    /// Reads the limits from the headers of a response with any status.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        if !Self::may_be_in(headers) {
            return Self::NONE;
        }
        let mut found = Found::default();
        name::read(headers, &mut found);
        shopify::read(headers, &mut found);
        // Read after the names, since policies describe the windows of known limits.
        ietf::read(headers, &mut found);
        found.limits().filter(|limit| limit.limit != Some(0))
    }

    /// Returns whether a header may hold a limit. It runs for each response, and most have none.
    pub(crate) fn may_be_in(headers: &HeaderMap) -> bool {
        headers.keys().any(|name| {
            let name = name.as_str().as_bytes();
            // All known names begin with one of these letters, which is quick to check.
            matches!(name.first(), Some(b'a' | b'r' | b'x'))
                && (name.starts_with(b"anthropic-") || name.windows(5).any(|part| part == b"limit"))
        })
    }

    /// Returns the limits of one resource.
    #[must_use]
    pub fn of(&self, resource: Resource) -> Self {
        self.filter(|limit| limit.resource == resource)
    }

    /// Returns the limit that is reached first: an exhausted one (of several, the one that is reset
    /// last), otherwise the one with the smallest share left. Of equal shares it is the one with less
    /// left. If only what is left is known, it counts as the whole limit. Limits of which that isn't
    /// known are passed over.
    ///
    /// With several resources this compares shares of unlike things: to meter by a limit, ask for
    /// those [of](Self::of) one resource.
    #[must_use]
    pub fn binding(&self) -> Option<&Limit> {
        self.iter().filter(|limit| limit.remaining.is_some()).min_by(|a, b| binding::order(a, b))
    }

    /// Returns how long it takes until all exhausted limits are reset. `None` if none is exhausted, or
    /// no reset is known.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.iter().filter(|limit| limit.is_exhausted()).filter_map(|limit| limit.reset).max()
    }

    /// Returns an iterator over the limits.
    pub fn iter(&self) -> slice::Iter<'_, Limit> {
        self.as_slice().iter()
    }

    /// Whether there are no limits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn as_slice(&self) -> &[Limit] {
        &self.limits[..self.len]
    }

    fn push(&mut self, limit: Limit) {
        if let Some(place) = self.limits.get_mut(self.len) {
            *place = limit;
            self.len += 1;
        }
    }

    fn filter(&self, keep: impl Fn(&Limit) -> bool) -> Self {
        let mut kept = Self::NONE;
        self.iter().filter(|limit| keep(limit)).for_each(|limit| kept.push(*limit));
        kept
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::NONE
    }
}

impl<'a> IntoIterator for &'a Limits {
    type Item = &'a Limit;
    type IntoIter = slice::Iter<'a, Limit>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
