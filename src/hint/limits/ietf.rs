//! `ratelimit` and `ratelimit-policy`, as the IETF's drafts write them.
//!
//! Drafts up to 06 have a header for each number (`name.rs` reads those), draft
//! 07 a dictionary, and those from 08 on a list of policies, each by its name.

use http::HeaderMap;

use super::super::value::{count, plausible, seconds, text};
use super::found::{Found, Key};
use super::list::{Item, items};
use super::{Limit, Resource};

pub(super) fn read<'a>(headers: &'a HeaderMap, found: &mut Found<'a>) {
    // The policies last: they tell what is counted, and the windows.
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

/// A member of draft 07's dictionary: the same limit as the headers of the drafts before.
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

/// `"day";r=50;t=30`: how many are left, and for how many seconds.
fn service_limit(item: Item<'_>) -> Limit {
    Limit {
        remaining: item.parameter("r").and_then(count),
        reset: item.parameter("t").and_then(seconds).and_then(plausible),
        ..Limit::of(Resource::Requests)
    }
}

/// `"day";q=100;qu="requests";w=60`: the quota, its unit, and the window in seconds.
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
