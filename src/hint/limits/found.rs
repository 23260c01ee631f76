//! Collects limits from headers, each of which holds a part.

use std::time::Duration;

use super::{Limit, Limits, MOST, Resource};

/// The identity of a limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Key<'a> {
    /// What stands before and after `limit`, `remaining` or `reset` in a header's name.
    Header(&'a str, &'a str),
    /// A policy's name.
    Policy(&'a str),
    /// A policy without a name.
    Unnamed(u64, Duration),
}

pub(super) struct Found<'a> {
    /// The keys of the limits, in the same order.
    keys: [Key<'a>; MOST],
    limits: Limits,
}

impl Default for Found<'_> {
    fn default() -> Self {
        Self { keys: [Key::Policy(""); MOST], limits: Limits::NONE }
    }
}

impl<'a> Found<'a> {
    /// Adds a part of a limit, if it isn't empty.
    pub(super) fn add(&mut self, key: Key<'a>, part: Limit) {
        if part.limit.or(part.remaining).is_none() && part.reset.is_none() {
            return;
        }
        let len = self.limits.len;
        match self.keys[..len].iter().position(|known| *known == key) {
            Some(at) => self.limits.limits[at] = merged(self.limits.limits[at], part),
            None if len < MOST => {
                self.keys[len] = key;
                self.limits.push(part);
            }
            None => {}
        }
    }

    /// Adds a policy without a name. If it repeats a known limit, it is that limit's window;
    /// otherwise it is a limit of its own.
    pub(super) fn add_unnamed(&mut self, quota: u64, window: Duration) {
        let part =
            Limit { limit: Some(quota), window: Some(window), ..Limit::of(Resource::Requests) };
        let repeats = |known: &Limit| {
            known.resource == part.resource
                && known.limit == part.limit
                && known.window.is_none_or(|known| known == window)
        };
        match self.limits.iter().position(repeats) {
            Some(at) => self.limits.limits[at].window = part.window,
            None => self.add(Key::Unnamed(quota, window), part),
        }
    }

    pub(super) fn limits(self) -> Limits {
        self.limits
    }
}

/// Merges two parts into the most cautious of both. The newer part names the resource: policies
/// are read last, and know best what they count.
fn merged(known: Limit, part: Limit) -> Limit {
    let least = |a: Option<u64>, b| a.into_iter().chain(b).min();
    Limit {
        resource: part.resource,
        limit: least(known.limit, part.limit),
        remaining: least(known.remaining, part.remaining),
        reset: known.reset.max(part.reset),
        window: known.window.max(part.window),
    }
}
