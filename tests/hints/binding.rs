//! Which limit is reached first.

use super::*;

fn binding(text: &str) -> Option<String> {
    Limits::from_headers(&headers(text)).binding().map(shown)
}

#[test]
fn nothing_left_comes_first_and_back_last() {
    let text = "
        ratelimit-policy: \"a\";q=100, \"b\";q=9, \"c\";q=9
        ratelimit: \"a\";r=1;t=90, \"b\";r=0;t=2, \"c\";r=0;t=5";
    assert_eq!(binding(text).unwrap(), "requests 0/9 in 5s");
}

#[test]
fn then_the_smallest_share() {
    let text = "
        x-ratelimit-limit-requests: 60
        x-ratelimit-remaining-requests: 59
        x-ratelimit-limit-tokens: 150000
        x-ratelimit-remaining-tokens: 1000";
    assert_eq!(binding(text).unwrap(), "tokens 1000/150000");
}

#[test]
fn of_equal_shares_the_one_with_less() {
    let text = "
        x-ratelimit-limit-requests: 60
        x-ratelimit-remaining-requests: 30
        x-ratelimit-limit-tokens: 150000
        x-ratelimit-remaining-tokens: 75000";
    assert_eq!(binding(text).unwrap(), "requests 30/60");
}

#[test]
fn an_unknown_limit_is_whole() {
    let text = "
        x-ratelimit-remaining-requests: 3
        x-ratelimit-limit-tokens: 150000
        x-ratelimit-remaining-tokens: 149999";
    assert_eq!(binding(text).unwrap(), "tokens 149999/150000");
    let text = "
        x-ratelimit-remaining-requests: 0
        x-ratelimit-limit-tokens: 150000
        x-ratelimit-remaining-tokens: 1";
    assert_eq!(binding(text).unwrap(), "requests 0/?");
}

#[test]
fn what_is_left_must_be_known() {
    assert_eq!(binding("x-ratelimit-limit: 60"), None);
    assert_eq!(binding(""), None);
}

#[test]
fn the_largest_numbers_compare() {
    let text = "
        x-ratelimit-limit-requests: 18446744073709551614
        x-ratelimit-remaining-requests: 18446744073709551613
        x-ratelimit-limit-tokens: 18446744073709551614
        x-ratelimit-remaining-tokens: 18446744073709551612";
    assert_eq!(binding(text).unwrap(), "tokens 18446744073709551612/18446744073709551614");
}

#[test]
fn a_resource_alone() {
    let limits = Limits::from_headers(&headers(
        "
        x-ratelimit-limit-requests-day: 1000
        x-ratelimit-remaining-requests-day: 10
        x-ratelimit-limit-requests-minute: 30
        x-ratelimit-remaining-requests-minute: 29
        x-ratelimit-remaining-tokens-minute: 0",
    ));
    let requests = limits.of(Resource::Requests);
    assert_eq!(requests.iter().count(), 2);
    assert_eq!(shown(requests.binding().unwrap()), "requests 10/1000 per 86400s");
    assert!(limits.of(Resource::OutputTokens).is_empty());
}

#[test]
fn a_bound_on_how_many() {
    let names = (0..1000).map(|n| format!("\"{n}\";r={n};t=5")).collect::<Vec<_>>();
    let limits = Limits::from_headers(&headers(&format!("ratelimit: {}", names.join(", "))));
    assert_eq!(limits.iter().count(), 16);
}
