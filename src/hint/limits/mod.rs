//! What a server's headers say of its limits: how many, how many are left, and
//! when they are back. Who writes what is in the table of [`hint`](super).
//!
//! They differ in names more than in meaning, so names are read by one grammar
//! (`name.rs`): a family's prefix, one of `limit`, `remaining`, `reset`, and
//! around it words for the resource and the window. A reset is read in
//! whichever way it is written (`reset.rs`).

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

/// How many limits of one answer are kept: more than any known server tells.
const MOST: usize = 16;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Calls: also where a header doesn't name what it counts.
    Requests,
    /// Tokens of a model, read and written.
    Tokens,
    /// Tokens of a model, read.
    InputTokens,
    /// Tokens of a model, written.
    OutputTokens,
    /// Something else: bytes, images, reads of one kind.
    Other,
}

/// One limit, as far as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// What is counted.
    pub resource: Resource,
    /// How many are allowed, in a window. Never zero.
    pub limit: Option<u64>,
    /// How many are left; a fraction of one is none.
    pub remaining: Option<u64>,
    /// How long from the answer until the limit starts anew or, by the words
    /// of some servers, is full again: 1 ms to 366 days.
    pub reset: Option<Duration>,
    /// The length of the window. Not told of a month, as months differ.
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

/// The limits that an answer's headers tell, 16 at most; what is beyond is left out.
///
/// The headers are in [a table](crate::hint#limits). It is `Copy`, made without an
/// allocation of values that are well formed, and no classifier makes one of an
/// answer that succeeded.
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
    /// Nothing was said.
    pub const NONE: Self = Self { limits: [Limit::of(Resource::Other); MOST], len: 0 };

    /// The limits in an answer's headers, of whatever status.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        if !Self::may_be_in(headers) {
            return Self::NONE;
        }
        let mut found = Found::default();
        name::read(headers, &mut found);
        shopify::read(headers, &mut found);
        // After the names: policies tell the windows of limits.
        ietf::read(headers, &mut found);
        found.limits().filter(|limit| limit.limit != Some(0))
    }

    /// Whether a header may tell a limit: most answers have none, and every answer may be asked.
    #[inline]
    pub(crate) fn may_be_in(headers: &HeaderMap) -> bool {
        headers.keys().any(|name| {
            let name = name.as_str().as_bytes();
            // The first letters of all names that are known, which is quickly told.
            matches!(name.first(), Some(b'a' | b'r' | b'x'))
                && (name.starts_with(b"anthropic-") || name.windows(5).any(|part| part == b"limit"))
        })
    }

    /// The limits of one resource.
    #[must_use]
    pub fn of(&self, resource: Resource) -> Self {
        self.filter(|limit| limit.resource == resource)
    }

    /// The limit that is reached first: one with nothing left (of several, the
    /// one that is back last), else the one of which the smallest share is
    /// left. Of equal shares it is the one with less left. A share isn't known
    /// where the limit isn't, and counts as all of it; what is left must be known.
    ///
    /// Over several resources this compares shares of unlike things; ask for
    /// those [of](Self::of) one to meter by.
    #[must_use]
    pub fn binding(&self) -> Option<&Limit> {
        self.iter().filter(|limit| limit.remaining.is_some()).min_by(|a, b| binding::order(a, b))
    }

    /// How long until every limit with nothing left is back: the longest of
    /// their resets. `None` where nothing is at its end, or no reset is known.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.iter().filter(|limit| limit.is_exhausted()).filter_map(|limit| limit.reset).max()
    }

    /// Each of the limits.
    pub fn iter(&self) -> slice::Iter<'_, Limit> {
        self.as_slice().iter()
    }

    /// Whether nothing was said.
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
