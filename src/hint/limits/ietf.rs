//! `ratelimit` and `ratelimit-policy`, as the IETF's drafts write them.
//!
//! Drafts up to 06 have a header for each number (`name.rs` reads those), draft
//! 07 has a dictionary, and drafts from 08 on have a list of named policies.

use http::HeaderMap;

use super::super::value::{count, plausible, seconds, text};
use super::found::{Found, Key};
use super::list::{Item, items};
use super::{Limit, Resource};

pub(super) fn read<'a>(headers: &'a HeaderMap, found: &mut Found<'a>) {
    // Policies are read last, since they describe the resource and the window of a known limit.
    for item in items_of(headers, "ratelimit") {
        match item.member() {
            Some((field, value)) => number(field, value, found),
            None => found.add(Key::Policy(item.name()), service_limit(item)),
        }
    }
    for item in items_of(headers, "ratelimit-policy") {
        match count(item.bare()) {
            Some(quota) => {
                item.window().into_iter().for_each(|window| found.add_unnamed(quota, window));
            }
            None => found.add(Key::Policy(item.name()), policy(item)),
        }
    }
}

fn items_of<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = Item<'a>> {
    headers.get_all(name).into_iter().filter_map(text).flat_map(items)
}

/// Adds a member of draft 07's dictionary, to the same limit as the headers of earlier drafts.
fn number(field: &str, value: &str, found: &mut Found<'_>) {
    let nothing = Limit::of(Resource::Requests);
    let part = match field {
        "limit" => Limit { limit: count(value), ..nothing },
        "remaining" => Limit { remaining: count(value), ..nothing },
        "reset" => Limit { reset: seconds(value).and_then(plausible), ..nothing },
        _ => return,
    };
    found.add(Key::Header("ratelimit-", ""), part);
}

/// Reads `"day";r=50;t=30`: how many are left, and in how many seconds the limit is reset.
fn service_limit(item: Item<'_>) -> Limit {
    Limit {
        remaining: item.parameter("r").and_then(count),
        reset: item.parameter("t").and_then(seconds).and_then(plausible),
        ..Limit::of(Resource::Requests)
    }
}

/// Reads `"day";q=100;qu="requests";w=60`: the quota, its unit, and the window in seconds.
fn policy(item: Item<'_>) -> Limit {
    let resource = match item.parameter("qu") {
        None | Some("\"requests\"") => Resource::Requests,
        Some(_) => Resource::Other,
    };
    Limit {
        limit: item.parameter("q").and_then(count),
        window: item.window(),
        ..Limit::of(resource)
    }
}
