//! Where alerts go: alerts as an HTTP request.

mod alertmanager;
mod opsgenie;
mod pager_duty;
mod slack;
mod teams;
mod webhook;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::error::{BoxError, InvalidConfig};
use crate::event::{Alert, Severity};

pub use self::alertmanager::Alertmanager;
pub use self::opsgenie::Opsgenie;
pub use self::pager_duty::PagerDuty;
pub use self::slack::Slack;
pub use self::teams::Teams;
pub use self::webhook::Webhook;

/// Makes the HTTP request that notify alerts to a service.
///
/// The service accepted the alerts if it answers with 2xx. A sink is called in a task of its own: if it
/// panics, only the alerts of that request are lost.
///
/// ```
/// use std::sync::Arc;
///
/// use bytes::Bytes;
/// use http::Request;
/// use tower_upstream::alert::{Alert, Sink};
/// use tower_upstream::{BoxError, InvalidConfig};
///
/// /// Posts a line for each alert.
/// struct Plain {
///     url: String,
/// }
///
/// impl Sink for Plain {
///     fn name(&self) -> &'static str {
///         "plain"
///     }
///
///     fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError> {
///         let line = |alert: &Arc<Alert>| format!("{}: {}\n", alert.kind, alert.message);
///         let lines: String = alerts.iter().map(line).collect();
///         Ok(Request::post(&self.url).body(lines.into())?)
///     }
///
///     fn group_size(&self) -> usize {
///         20
///     }
///
///     fn check(&self) -> Result<(), InvalidConfig> {
///         let absolute = self.url.parse::<http::Uri>().is_ok_and(|url| url.scheme().is_some());
///         absolute.then_some(()).ok_or_else(|| InvalidConfig::new("`Plain` needs an absolute URL"))
///     }
/// }
/// # assert!(Plain { url: "https://alerts.example.com/".to_owned() }.check().is_ok());
/// # assert!(Plain { url: "alerts".to_owned() }.check().is_err());
/// ```
pub trait Sink: Send + Sync + 'static {
    /// The sink's name in events.
    fn name(&self) -> &'static str;

    /// The request that notify these alerts. They are at least one and at most
    /// [`group_size`](Self::group_size), all of one kind, and all begun or all over.
    ///
    /// # Errors
    ///
    /// If no request can be made of them: the alerts count as failed.
    fn request(&self, alerts: &[Arc<Alert>]) -> Result<Request<Bytes>, BoxError>;

    /// How many alerts of one kind one [request](Self::request) can emit. Default: 1.
    fn group_size(&self) -> usize {
        1
    }

    /// How long to leave between two requests. What comes sooner waits, and is coalesced. Default: 0.
    fn pause(&self) -> Duration {
        Duration::ZERO
    }

    /// Checks once, when the alerts are built, that the sink can work. Default: it can.
    ///
    /// # Errors
    ///
    /// If it can't. The message must show no secret.
    fn check(&self) -> Result<(), InvalidConfig> {
        Ok(())
    }
}

/// A `POST` of JSON. An error doesn't show the URL.
fn post(url: &str, body: &Value) -> Result<Request<Bytes>, BoxError> {
    let request = Request::post(url).header(CONTENT_TYPE, "application/json");
    Ok(request.body(serde_json::to_vec(body)?.into())?)
}

/// Checks that requests can be made for this URL.
fn check(url: &str, whose: &str) -> Result<(), InvalidConfig> {
    let absolute =
        |uri: http::Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    match url.parse().map(absolute) {
        Ok(true) => Ok(()),
        // The URL isn't repeated: it is a secret.
        _ => Err(InvalidConfig::new(format!(
            "the URL of {whose} must begin with https:// and a host"
        ))),
    }
}

/// What is known about an alert besides its message.
fn context(alert: &Alert) -> Value {
    let causes: Vec<String> = alert.causes.iter().map(ToString::to_string).collect();
    let mut context = json!({ "region": alert.region, "failures": causes });
    let names =
        [("circuit", &alert.circuit), ("limiter", &alert.limiter), ("objective", &alert.objective)];
    for (what, name) in names.into_iter().filter(|(_, name)| name.is_some()) {
        context[what] = json!(name);
    }
    if let Some(retries) = alert.retries {
        context["retry_count"] = json!(retries);
    }
    context
}

/// The severity to show where nothing else shows that the alert is over.
fn shown(alert: &Alert) -> Severity {
    if alert.resolved { Severity::Info } else { alert.severity }
}

/// The sign of a severity.
fn icon(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "🔴",
        Severity::Warning => "🟡",
        Severity::Info => "ℹ️",
    }
}

/// The severity of a message: that of its worst alert.
fn worst(alerts: &[Arc<Alert>]) -> Severity {
    alerts.iter().map(|alert| shown(alert)).max().unwrap_or(Severity::Info)
}

/// `2026-11-22T04:51:07.250Z`. A time before 1970 is shown as 1970, and one that RFC 3339 has no
/// year for as the last that jiff knows.
pub(super) fn rfc3339(at: SystemTime) -> String {
    let at = Timestamp::try_from(at.max(UNIX_EPOCH)).unwrap_or(Timestamp::MAX);
    format!("{at:.3}")
}

#[cfg(test)]
pub(super) mod tests;

/// A text that is never printed, such as a webhook's URL or a routing key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Makes a secret of this text.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Returns the text, to be sent where it belongs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Returns as much of a text as fits into `most` characters, with an ellipsis where it was cut.
///
/// Services count the characters of emoji differently; none counts more than the UTF-16 units, so these
/// count here. The text isn't cut within what is seen as one character, such as a Thai vowel over its
/// consonant or a family of emoji.
pub(super) fn fit(text: &str, most: usize) -> String {
    fit_escaped(text, most, |_| None)
}

/// The same for Slack's markup, in which `&`, `<` and `>` begin something else.
pub(super) fn fit_slack(text: &str, most: usize) -> String {
    fit_escaped(text, most, |char| match char {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        _ => None,
    })
}

fn fit_escaped(text: &str, most: usize, escape: fn(char) -> Option<&'static str>) -> String {
    let (mut out, mut units, mut previous) = (String::new(), 0, ' ');
    // Where the text can be cut and leave room for the ellipsis, and whether a flag is half there.
    let (mut end, mut half_flag) = (0, false);
    for char in text.chars() {
        half_flag = is_half_flag(char) && !half_flag;
        let completes_flag = is_half_flag(char) && !half_flag;
        if units < most && !joins(previous, char) && !completes_flag {
            end = out.len();
        }
        let escaped = escape(char);
        units += escaped.map_or(char.len_utf16(), str::len);
        if units > most {
            out.truncate(end);
            if most > 0 {
                out.push('…');
            }
            return out;
        }
        match escaped {
            Some(escaped) => out.push_str(escaped),
            None => out.push(char),
        }
        previous = char;
    }
    out
}

/// Whether this is a regional indicator: two of them, a country's letters, are a flag.
fn is_half_flag(char: char) -> bool {
    ('\u{1F1E6}'..='\u{1F1FF}').contains(&char)
}

/// Whether `next` is seen as one with what stands before it.
fn joins(previous: char, next: char) -> bool {
    const ZERO_WIDTH_JOINER: char = '\u{200D}';
    previous == ZERO_WIDTH_JOINER
        || matches!(next,
            ZERO_WIDTH_JOINER
            | '\u{0300}'..='\u{036F}' // combining marks
            | '\u{0591}'..='\u{05BD}' | '\u{064B}'..='\u{065F}' // Hebrew, Arabic
            | '\u{0900}'..='\u{0903}' | '\u{093A}'..='\u{094F}' // Devanagari
            | '\u{0E31}' | '\u{0E33}'..='\u{0E3A}' | '\u{0E47}'..='\u{0E4E}' // Thai
            | '\u{0EB1}' | '\u{0EB3}'..='\u{0EBC}' | '\u{0EC8}'..='\u{0ECE}' // Lao
            | '\u{20D0}'..='\u{20FF}' // enclosing marks
            | '\u{FE00}'..='\u{FE0F}' // variants
            | '\u{1F3FB}'..='\u{1F3FF}' // skin tones
            | '\u{E0020}'..='\u{E007F}' // tags, as of a region's flag
        )
}

#[cfg(test)]
mod text_tests {
    use super::*;

    #[test]
    fn what_fits_stays_as_it_is() {
        for text in ["", "plain", "ภาษาไทย", "👩‍🚒🔥"] {
            assert_eq!(fit(text, 20), text);
            assert_eq!(fit(text, text.encode_utf16().count()), text);
        }
    }

    #[test]
    fn what_does_not_is_cut_between_characters() {
        for (text, most, expected) in [
            ("abcdef", 6, "abcdef"),
            ("abcdef", 5, "abcd…"),
            ("abcdef", 1, "…"),
            ("abcdef", 0, ""),
            ("ab🔥🔥", 5, "ab🔥…"),
            ("ab🔥🔥", 4, "ab…"),
            // The vowel stays on its consonant, the helmet with its bearer.
            ("กกีก", 3, "ก…"),
            ("a👩‍🚒b", 5, "a…"),
            ("a👍🏽b", 5, "a…"),
            // So does what a Thai vowel has before it, and a flag is one.
            ("กกำก", 3, "ก…"),
            ("a🇹🇭🇱🇦b", 8, "a🇹🇭…"),
            ("a🇹🇭🇱🇦b", 10, "a🇹🇭🇱🇦b"),
            ("a🏴\u{E0067}\u{E0062}\u{E007F}b", 5, "a…"),
            ("नमस्ते", 4, "नम…"),
        ] {
            assert_eq!(fit(text, most), expected, "{text} in {most}");
            assert!(fit(text, most).encode_utf16().count() <= most);
        }
    }

    #[test]
    fn slack_markup_is_escaped_and_an_escape_is_not_cut() {
        assert_eq!(fit_slack("<!channel> & co", 100), "&lt;!channel&gt; &amp; co");
        for most in 0..30 {
            let shown = fit_slack("<<<<<&&&&&", most);
            assert!(shown.len() <= most + 2, "an ellipsis has three bytes");
            assert!(shown.split('&').skip(1).all(|part| part.contains(';')), "{shown}");
        }
    }
}

#[cfg(test)]
mod calendar_tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn milliseconds_are_always_shown_and_not_rounded_up() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999_999_999, "2000-02-28T23:59:59.999Z"),
            (1_735_689_600_001_000_000, "2025-01-01T00:00:00.001Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_nanos(nanos)), expected);
        }
    }

    #[test]
    fn a_time_out_of_reach_is_the_nearest_within() {
        let century = Duration::from_secs(100 * 365 * 86_400);
        for (at, expected) in [
            (UNIX_EPOCH - Duration::from_nanos(1), "1970-01-01T00:00:00.000Z"),
            (UNIX_EPOCH - 1000 * century, "1970-01-01T00:00:00.000Z"),
            (UNIX_EPOCH + 1000 * century, "9999-12-30T22:00:00.999Z"),
        ] {
            assert_eq!(rfc3339(at), expected);
        }
    }
}
