//! `x-shopify-shop-api-call-limit`: `32/40`, how much of a leaky bucket is used.

use http::HeaderMap;

use super::super::value::{count, text};
use super::found::{Found, Key};
use super::{Limit, Resource};

const NAME: &str = "x-shopify-shop-api-call-limit";

pub(super) fn read(headers: &HeaderMap, found: &mut Found<'_>) {
    for value in headers.get_all(NAME) {
        let numbers = text(value).and_then(|text| text.split_once('/'));
        let Some((used, limit)) = numbers.and_then(|(a, b)| count(a).zip(count(b))) else {
            continue;
        };
        let remaining = Some(limit.saturating_sub(used));
        let named = Limit { limit: Some(limit), remaining, ..Limit::of(Resource::Requests) };
        found.add(Key::Header(NAME, ""), named);
    }
}
