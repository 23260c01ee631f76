//! What servers' headers mean, through the public API: as the providers
//! document them, malformed, and made of any bytes at all.

#![allow(clippy::unwrap_used)] // what isn't a test itself is a test's

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;
use tower_upstream::classify::{Class, Outcome};
use tower_upstream::hint::{Hint, Limit, Limits, Resource};

#[path = "hints/binding.rs"]
mod binding;
#[path = "hints/gateways.rs"]
mod gateways;
#[path = "hints/malformed.rs"]
mod malformed;
#[path = "hints/models.rs"]
mod models;
#[path = "hints/verdicts.rs"]
mod verdicts;

/// Who says it, the headers, the limits in them, and the wait of a refusal. A
/// limit reads `requests 59/60 in 1s per 60s`: left, allowed, reset, window.
type Case = (&'static str, &'static str, &'static [&'static str], Option<f64>);

/// When every reply of the tables was sent: 1778846400 in epoch seconds.
const DATE: &str = "Fri, 15 May 2026 12:00:00 GMT";

fn headers(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap();
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
    }
    headers.entry("date").or_insert(HeaderValue::from_static(DATE));
    headers
}

fn shown(limit: &Limit) -> String {
    let resource = match limit.resource {
        Resource::Requests => "requests",
        Resource::Tokens => "tokens",
        Resource::InputTokens => "input",
        Resource::OutputTokens => "output",
        _ => "other",
    };
    let number = |number: Option<u64>| number.map_or("?".to_owned(), |number| number.to_string());
    let length = |word, length: Option<Duration>| {
        length.map_or(String::new(), |length| format!(" {word} {length:?}"))
    };
    let (left, all) = (number(limit.remaining), number(limit.limit));
    format!("{resource} {left}/{all}{}{}", length("in", limit.reset), length("per", limit.window))
}

fn check(cases: &[Case]) {
    for (who, text, limits, wait) in cases {
        let headers = headers(text);
        let mut said: Vec<_> = Limits::from_headers(&headers).iter().map(shown).collect();
        let mut meant = limits.to_vec();
        said.sort();
        meant.sort_unstable();
        assert_eq!(said, meant, "limits of {who}");
        let hint = Hint::from_headers(&headers);
        assert_eq!(hint.retry_after, wait.map(Duration::from_secs_f64), "wait of {who}");
    }
}

#[test]
fn providers_mean_what_they_document() {
    check(models::CASES);
    check(gateways::CASES);
}

#[test]
fn what_is_malformed_is_unknown() {
    check(malformed::CASES);
}

/// Names that mean something, and some near them.
const NAMES: &[&str] = &[
    "retry-after",
    "retry-after-ms",
    "x-ms-retry-after-ms",
    "x-should-retry",
    "date",
    "ratelimit",
    "ratelimit-policy",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-reset-after",
    "x-ratelimit-limit-tokens-minute",
    "x-ratelimit-remaining-tokens-minute",
    "x-ratelimit-reset-tokens-minute",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
    "x-shopify-shop-api-call-limit",
    "x-ratelimit-",
    "x-ratelimit-reset-",
    "x-ratelimit--reset-5h",
];

/// Any bytes that a header can hold, and texts that are nearly a value.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(prop_oneof![Just(b'\t'), 0x20..0x7f_u8, 0x80..=0xff_u8], 0..40),
        "[-+]?[0-9]{0,25}[.]?[0-9]{0,12}(ms|s|m|h|d)?([0-9]{1,20}s)?".prop_map(String::into_bytes),
        "[0-9]{1,5}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})"
            .prop_map(String::into_bytes),
        "\"?[a-z0-9]{0,3}\"?([;,=\"]([rtqwl]=?)?[0-9]{0,20}){0,6}".prop_map(String::into_bytes),
        Just(b"0".to_vec()),
        Just(DATE.as_bytes().to_vec()),
    ]
}

fn any_headers() -> impl Strategy<Value = HeaderMap> {
    let pair = (prop::sample::select(NAMES), value());
    prop::collection::vec(pair, 0..40).prop_map(|pairs| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_bytes(&value).unwrap());
        }
        headers
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_header_panics_or_means_zero_or_over_a_year(headers in any_headers()) {
        let meant = Duration::from_millis(1)..=Duration::from_secs(366 * 86_400);
        let hint = Hint::from_headers(&headers);
        prop_assert!(hint.retry_after.is_none_or(|wait| meant.contains(&wait)), "{hint:?}");
        let limits = Limits::from_headers(&headers);
        for limit in &limits {
            prop_assert!(limit.reset.is_none_or(|reset| meant.contains(&reset)), "{limit:?}");
            prop_assert!(limit.window.is_none_or(|window| meant.contains(&window)), "{limit:?}");
            prop_assert!(limit.limit != Some(0), "{limit:?}");
        }
        prop_assert_eq!(limits.is_empty(), limits.iter().next().is_none());
        if let Some(binding) = limits.binding() {
            prop_assert!(limits.iter().any(|limit| limit == binding));
            let exhausted = limits.iter().any(Limit::is_exhausted);
            prop_assert_eq!(binding.is_exhausted(), exhausted);
        }
    }
}
