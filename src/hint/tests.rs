use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Hint;
use crate::time;

const RA: &str = "retry-after";
const MS: &str = "retry-after-ms";
const AZURE: &str = "x-ms-retry-after-ms";
const SHOULD: &str = "x-should-retry";
const PUSHBACK: &str = "grpc-retry-pushback-ms";
const DATE: &str = "date";

/// Two dates with 90 s between them, in the three formats of HTTP dates.
const NOON: &str = "Fri, 15 May 2026 12:00:00 GMT";
const LATER: &str = "Fri, 15 May 2026 12:01:30 GMT";
const LATER_850: &str = "Friday, 15-May-26 12:01:30 GMT";
const LATER_ASCTIME: &str = "Fri May 15 12:01:30 2026";

const YES: Option<bool> = Some(true);
const NO: Option<bool> = Some(false);

type Header = (&'static str, &'static [u8]);
type Case = (&'static [Header], Option<f64>, Option<bool>);

/// Headers, the wait in seconds they mean, and whether to retry at all.
#[rustfmt::skip]
const CASES: &[Case] = &[
    (&[], None, None),
    // Seconds.
    (&[(RA, b"1")], Some(1.0), None),
    (&[(RA, b"120")], Some(120.0), None),
    (&[(RA, b"007")], Some(7.0), None),
    (&[(RA, b"1.5")], Some(1.5), None),
    (&[(RA, b".25")], Some(0.25), None),
    (&[(RA, b"2.")], Some(2.0), None),
    (&[(RA, b"0.001")], Some(0.001), None),
    (&[(RA, b"0.000999")], None, None),
    (&[(RA, b"0.0000000001")], None, None),
    (&[(RA, b"31622400")], Some(31_622_400.0), None),
    (&[(RA, b"31622401")], None, None),
    // Spaces around a value are ignored.
    (&[(RA, b" 3 ")], Some(3.0), None),
    (&[(RA, b"\t3\t")], Some(3.0), None),
    (&[(RA, b"1 2")], None, None),
    // What isn't a wait.
    (&[(RA, b"")], None, None),
    (&[(RA, b" ")], None, None),
    (&[(RA, b".")], None, None),
    (&[(RA, b"1.2.3")], None, None),
    (&[(RA, b"0")], None, None),
    (&[(RA, b"0.0")], None, None),
    (&[(RA, b"-0")], None, None),
    (&[(RA, b"-1")], None, None),
    (&[(RA, b"-5.5")], None, None),
    (&[(RA, b"+5")], None, None),
    (&[(RA, b"NaN")], None, None),
    (&[(RA, b"inf")], None, None),
    (&[(RA, b"infinity")], None, None),
    (&[(RA, b"1e9")], None, None),
    (&[(RA, b"0x10")], None, None),
    (&[(RA, b"1_000")], None, None),
    (&[(RA, b"1,000")], None, None),
    (&[(RA, b"5s")], None, None),
    (&[(RA, b"6m0s")], None, None),
    (&[(RA, b"soon")], None, None),
    (&[(RA, b"\xd9\xa5")], None, None),
    (&[(RA, b"5\xff")], None, None),
    // Sentinels, and numbers past all bounds.
    (&[(RA, b"2147483647")], None, None),
    (&[(RA, b"4294967295")], None, None),
    (&[(RA, b"18446744073709551615")], None, None),
    (&[(RA, b"18446744073709551616")], None, None),
    (&[(RA, &[b'9'; 400])], None, None),
    // Dates, relative to the response's own.
    (&[(RA, LATER.as_bytes()), (DATE, NOON.as_bytes())], Some(90.0), None),
    (&[(RA, LATER_850.as_bytes()), (DATE, NOON.as_bytes())], Some(90.0), None),
    (&[(RA, LATER_ASCTIME.as_bytes()), (DATE, NOON.as_bytes())], Some(90.0), None),
    (&[(RA, b" Fri, 15 May 2026 12:01:30 GMT "), (DATE, NOON.as_bytes())], Some(90.0), None),
    (&[(RA, NOON.as_bytes()), (DATE, NOON.as_bytes())], None, None),
    (&[(RA, NOON.as_bytes()), (DATE, LATER.as_bytes())], None, None),
    (&[(RA, b"Sat, 15 May 2027 12:00:00 GMT"), (DATE, NOON.as_bytes())], Some(31_536_000.0), None),
    (&[(RA, b"Fri, 31 Dec 9999 23:59:59 GMT"), (DATE, NOON.as_bytes())], None, None),
    // Without a date of its own, or an unreadable one, by the wall clock.
    (&[(RA, b"Thu, 01 Jan 1970 00:00:00 GMT")], None, None),
    (&[(RA, b"Sun, 06 Nov 1994 08:49:37 GMT"), (DATE, b"now")], None, None),
    // A server whose clock stands still since 1970 still yields a difference.
    (&[(RA, b"Thu, 01 Jan 1970 00:01:00 GMT"), (DATE, b"Thu, 01 Jan 1970 00:00:00 GMT")], Some(60.0), None),
    // Texts that look like dates but aren't.
    (&[(RA, b"Fri, 32 May 2026 12:01:30 GMT"), (DATE, NOON.as_bytes())], None, None),
    (&[(RA, b"2026-05-15T12:01:30Z"), (DATE, NOON.as_bytes())], None, None),
    (&[(RA, b"Fri, 15 May 2026 12:01:30 +0200"), (DATE, NOON.as_bytes())], None, None),
    // Milliseconds.
    (&[(MS, b"1500")], Some(1.5), None),
    (&[(MS, b"1")], Some(0.001), None),
    (&[(MS, b"1.5")], Some(0.001_5), None),
    (&[(MS, b"0.9999")], None, None),
    (&[(MS, b"0")], None, None),
    (&[(MS, b"-1")], None, None),
    (&[(MS, b"NaN")], None, None),
    (&[(MS, b"99999999999999")], None, None),
    (&[(AZURE, b"250")], Some(0.25), None),
    (&[(AZURE, LATER.as_bytes()), (DATE, NOON.as_bytes())], None, None),
    // The more precise header counts, if its value is known.
    (&[(RA, b"2"), (MS, b"1500")], Some(1.5), None),
    (&[(RA, b"2"), (AZURE, b"1500")], Some(1.5), None),
    (&[(AZURE, b"900"), (MS, b"1500")], Some(1.5), None),
    (&[(RA, b"2"), (MS, b"soon")], Some(2.0), None),
    (&[(RA, b"2"), (MS, b"0")], Some(2.0), None),
    (&[(RA, b"2"), (MS, b"-1"), (AZURE, b"99999999999999")], Some(2.0), None),
    (&[(RA, b"2"), (MS, b"\xff")], Some(2.0), None),
    (&[(AZURE, b"900"), (MS, b"0")], Some(0.9), None),
    // Twice.
    (&[(RA, b"2"), (RA, b"5")], Some(5.0), None),
    (&[(RA, b"5"), (RA, b"2")], Some(5.0), None),
    (&[(RA, b"junk"), (RA, b"2")], Some(2.0), None),
    (&[(RA, b"2"), (RA, b"4294967295")], Some(2.0), None),
    (&[(RA, b"10"), (RA, LATER.as_bytes()), (DATE, NOON.as_bytes())], Some(90.0), None),
    (&[(RA, b"2, 5")], None, None),
    // Whether to retry.
    (&[(SHOULD, b"true")], None, YES),
    (&[(SHOULD, b"false")], None, NO),
    (&[(SHOULD, b" True ")], None, YES),
    (&[(SHOULD, b"FALSE")], None, NO),
    (&[(SHOULD, b"")], None, None),
    (&[(SHOULD, b"1")], None, None),
    (&[(SHOULD, b"yes")], None, None),
    (&[(SHOULD, b"\xff")], None, None),
    (&[(SHOULD, b"true"), (SHOULD, b"false")], None, NO),
    (&[(SHOULD, b"maybe"), (SHOULD, b"true")], None, YES),
    (&[(SHOULD, b"false"), (RA, b"2")], Some(2.0), NO),
    // Pushback: only a plain number of 32 bits with a sign is a wait.
    (&[(PUSHBACK, b"250")], Some(0.25), None),
    (&[(PUSHBACK, b"0")], Some(0.0), None),
    (&[(PUSHBACK, b" 250 ")], Some(0.25), None),
    (&[(PUSHBACK, b"2147483647")], Some(2_147_483.647), None),
    (&[(PUSHBACK, b"2147483648")], None, NO),
    (&[(PUSHBACK, b"4294967295")], None, NO),
    (&[(PUSHBACK, b"-1")], None, NO),
    (&[(PUSHBACK, b"-2147483648")], None, NO),
    (&[(PUSHBACK, b"+250")], None, NO),
    (&[(PUSHBACK, b"2.5")], None, NO),
    (&[(PUSHBACK, b"")], None, NO),
    (&[(PUSHBACK, b"soon")], None, NO),
    (&[(PUSHBACK, b"\xff")], None, NO),
    (&[(PUSHBACK, b"1"), (PUSHBACK, b"2")], None, NO),
    (&[(PUSHBACK, b"250"), (RA, b"9"), (MS, b"9")], Some(0.25), None),
    (&[(PUSHBACK, b"-1"), (RA, b"9")], None, NO),
    (&[(PUSHBACK, b"-1"), (SHOULD, b"true")], None, NO),
    (&[(PUSHBACK, b"250"), (SHOULD, b"true")], Some(0.25), YES),
    (&[(PUSHBACK, b"250"), (SHOULD, b"false")], Some(0.25), NO),
];

fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
    });
    let mut headers = HeaderMap::new();
    pairs.for_each(|(name, value)| _ = headers.append(name, value));
    headers
}

#[test]
fn a_header_means_what_the_table_says() {
    for (pairs, wait, should_retry) in CASES {
        let hint = Hint::from_headers(&headers(pairs));
        let shown: Vec<_> = pairs.iter().map(|(n, v)| (n, v.escape_ascii().to_string())).collect();
        assert_eq!(hint.retry_after, wait.map(Duration::from_secs_f64), "wait of {shown:?}");
        assert_eq!(hint.should_retry, *should_retry, "retry of {shown:?}");
    }
}

#[test]
fn milliseconds_are_exact() {
    for millis in (1..100_000).chain([86_399_999]) {
        let mut headers = HeaderMap::new();
        headers.insert(MS, HeaderValue::from(millis));
        let hint = Hint::from_headers(&headers);
        assert_eq!(hint.retry_after, Some(Duration::from_millis(millis)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_date_alone_is_measured_against_the_wall_clock() {
    let then = time::wall_now() + Duration::from_secs(100);
    let headers = headers(&[(RA, httpdate::fmt_http_date(then).as_bytes())]);
    let wait = || Hint::from_headers(&headers).retry_after;

    // A date has no fractions, and the wall clock doesn't stand quite still.
    let near = |wait: Option<Duration>, secs: u64| {
        let wait = wait.unwrap().as_secs_f64();
        let secs = Duration::from_secs(secs).as_secs_f64();
        assert!(wait > secs - 5.0 && wait <= secs, "{wait} for {secs}");
    };
    near(wait(), 100);
    tokio::time::advance(Duration::from_secs(60)).await;
    near(wait(), 40);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(wait(), None);
}
