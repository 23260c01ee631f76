//! Reads headers that hold one number each, by a grammar of their names:
//! `x-ratelimit-remaining-tokens-minute` has the prefix of a family, the kind of number, and
//! words for the resource and the window, in any order.

use std::time::Duration;

use http::HeaderMap;

use super::super::value::{count, plausible, seconds, text};
use super::found::{Found, Key};
use super::list::items;
use super::{Limit, Resource, reset};

/// The prefixes of names, and what such headers count unless they name it.
const FAMILIES: [(&str, Resource); 9] = [
    ("x-ratelimit-", Resource::Requests),
    ("ratelimit-", Resource::Requests),
    ("x-rate-limit-", Resource::Requests),
    ("x-app-limit-", Resource::Requests),
    ("x-user-limit-", Resource::Requests),
    ("x-ms-ratelimit-", Resource::Requests),
    ("x-tokenlimit-", Resource::Tokens),
    ("anthropic-ratelimit-", Resource::Requests),
    ("anthropic-priority-", Resource::Requests),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    Limit,
    Remaining,
    Reset,
    /// A time from now, while `Reset` may also be a date.
    ResetAfter,
}

struct Name<'a> {
    number: Number,
    key: Key<'a>,
    /// A limit with the resource and the window in the name.
    named: Limit,
}

pub(super) fn read<'a>(headers: &'a HeaderMap, found: &mut Found<'a>) {
    // Discord sends both. A wait is preferred, as it needs no clock that agrees with ours.
    let after = headers.contains_key("x-ratelimit-reset-after");
    for (name, value) in headers {
        let (Some(name), Some(text)) = (parse(name.as_str()), text(value)) else { continue };
        let Name { number, key, named } = name;
        match number {
            Number::Limit => limit(text, key, named, found),
            Number::Remaining => found.add(key, Limit { remaining: count(text), ..named }),
            Number::Reset if after => {}
            Number::Reset => found.add(key, Limit { reset: reset::read(text, headers), ..named }),
            Number::ResetAfter => {
                found.add(key, Limit { reset: seconds(text).and_then(plausible), ..named });
            }
        }
    }
}

/// Reads a number or, as Envoy and earlier drafts write it, the number in force and
/// then every policy: `10, 10;w=1, 1000;w=3600`.
fn limit<'a>(text: &'a str, key: Key<'a>, named: Limit, found: &mut Found<'a>) {
    let in_force = items(text).next().and_then(|item| count(item.bare()));
    found.add(key, Limit { limit: in_force, ..named });
    for item in items(text) {
        if let Some((quota, window)) = count(item.bare()).zip(item.window()) {
            found.add_unnamed(quota, window);
        }
    }
}

fn parse(name: &str) -> Option<Name<'_>> {
    let (prefix, default) = FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix))?;
    let mut start = prefix.len();
    for word in name[start..].split('-') {
        let end = start + word.len();
        let (before, after) = (&name[..start], &name[end..]);
        let number = match (word, after) {
            ("limit", _) => Some((Number::Limit, after)),
            ("remaining", _) => Some((Number::Remaining, after)),
            ("reset", "-after") => Some((Number::ResetAfter, "")),
            ("reset", _) => Some((Number::Reset, after)),
            _ => None,
        };
        if let Some((number, after)) = number {
            let words = before[prefix.len()..].split(['-', '_']).chain(after.split(['-', '_']));
            let named = named(words.filter(|word| !word.is_empty()), *default);
            return Some(Name { number, key: Key::Header(before, after), named });
        }
        start = end + 1;
    }
    None
}

/// Returns the resource and the window in the words of a name. An unknown word names
/// another resource, unless it stands beside a known one (`project-tokens`).
fn named<'a>(words: impl Iterator<Item = &'a str>, default: Resource) -> Limit {
    let mut tokens = default == Resource::Tokens;
    let (mut input, mut output, mut requests, mut other) = (false, false, false, false);
    let mut window = None;
    for word in words {
        match word {
            "tokens" => tokens = true,
            "input" | "prompt" => input = true,
            "output" | "generated" => output = true,
            "requests" | "req" => requests = true,
            // Windows without a fixed length.
            "month" | "year" => {}
            _ => match window_of(word) {
                Some(length) => window = Some(length),
                None => other = true,
            },
        }
    }
    let resource = match (tokens, input, output) {
        (true, true, _) => Resource::InputTokens,
        (true, _, true) => Resource::OutputTokens,
        (true, ..) => Resource::Tokens,
        _ if requests => Resource::Requests,
        (_, false, false) if !other => default,
        _ => Resource::Other,
    };
    Limit { window, ..Limit::of(resource) }
}

/// Reads a window such as `minute`, `24hour` or `5h`.
fn window_of(word: &str) -> Option<Duration> {
    match word {
        "second" => Some(Duration::from_secs(1)),
        "minute" => Some(Duration::from_secs(60)),
        "hour" => Some(Duration::from_secs(3_600)),
        "day" => Some(Duration::from_secs(86_400)),
        _ if word.starts_with(|first: char| first.is_ascii_digit()) => reset::duration(word),
        _ => None,
    }
}
