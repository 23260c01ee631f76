//! The texts of messages: context, times and sizes.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde_json::Value;

use crate::event::{Alert, Severity};

/// Returns the context of an alert: what a message shows besides its text, time, service and region.
pub(super) fn context(alert: &Alert) -> impl Iterator<Item = (&'static str, String)> {
    let causes: Vec<_> = alert.causes.iter().map(ToString::to_string).collect();
    let context = [
        ("type", Some(alert.kind.to_string())),
        ("failures", Some(causes.join(", ")).filter(|causes| !causes.is_empty())),
        ("retry_count", alert.retries.map(|retries| retries.to_string())),
        ("circuit", alert.circuit.clone()),
        ("limiter", alert.limiter.clone()),
        ("objective", alert.objective.clone()),
    ];
    context.into_iter().filter_map(|(name, text)| Some((name, text?)))
}

/// Returns the title of a name in the context, such as `Retry count`.
pub(super) fn title(name: &str) -> String {
    name[..1].to_uppercase() + &name[1..].replace('_', " ")
}

/// Returns the context as one line.
pub(super) fn context_line(alert: &Alert) -> String {
    let fields = context(alert).map(|(name, text)| format!("{}: {text}", title(name)));
    fields.collect::<Vec<_>>().join(" · ")
}

/// Returns the context and the region as an object of texts of at most `max` characters.
pub(super) fn details(alert: &Alert, max: usize) -> Value {
    let region = alert.region.clone().map(|region| ("region", region));
    context(alert).chain(region).map(|(name, text)| (name, fit(&text, max))).collect()
}

/// Returns the emoji and severity of a message, that of its most severe alert. Resolved alerts are
/// information.
pub(super) fn severity(alerts: &[Arc<Alert>]) -> (&'static str, Severity) {
    let shown = |alert: &Arc<Alert>| if alert.resolved { Severity::Info } else { alert.severity };
    let severity = alerts.iter().map(shown).max().unwrap_or(Severity::Info);
    let emoji = match severity {
        Severity::Critical => "🔴",
        Severity::Warning => "🟡",
        Severity::Info => "ℹ️",
    };
    (emoji, severity)
}

/// Returns the header of a message, such as `🟡 Alert: WARNING (2)`.
pub(super) fn header(alerts: &[Arc<Alert>]) -> String {
    let (emoji, severity) = severity(alerts);
    let count = if alerts.len() > 1 { format!(" ({})", alerts.len()) } else { String::new() };
    format!("{emoji} Alert: {}{count}", severity.name().to_uppercase())
}

/// Formats a time as RFC 3339 does, in UTC: `2026-11-22T04:51:07.250Z`. A time before 1970 is shown as
/// 1970, and one past the last year of RFC 3339 as the last time that jiff supports.
pub(super) fn rfc3339(at: SystemTime) -> String {
    let at = Timestamp::try_from(at.max(UNIX_EPOCH)).unwrap_or(Timestamp::MAX);
    format!("{at:.3}")
}

/// Cuts a text to `max` characters, with an ellipsis at the cut.
///
/// Services count the characters of emoji differently, but none counts more than the UTF-16 units, which
/// count here. The text is not cut within a visible character, such as a Thai vowel over its consonant or
/// a sequence of emoji.
pub(super) fn fit(text: &str, max: usize) -> String {
    fit_escaped(text, max, |_| None)
}

/// Cuts a text and escapes it for Slack's markup.
pub(super) fn fit_slack(text: &str, max: usize) -> String {
    fit_escaped(text, max, |char| match char {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        _ => None,
    })
}

fn fit_escaped(text: &str, max: usize, escape: fn(char) -> Option<&'static str>) -> String {
    let (mut out, mut units, mut previous) = (String::new(), 0, ' ');
    // Where the text can be cut with room for the ellipsis, and whether the last character is half a flag.
    let (mut end, mut half_flag) = (0, false);
    for char in text.chars() {
        half_flag = is_half_flag(char) && !half_flag;
        let completes_flag = is_half_flag(char) && !half_flag;
        if units < max && !joins(previous, char) && !completes_flag {
            end = out.len();
        }
        let escaped = escape(char);
        units += escaped.map_or(char.len_utf16(), str::len);
        if units > max {
            out.truncate(end);
            if max > 0 {
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

/// Returns whether this is a regional indicator: two of them are a flag.
fn is_half_flag(char: char) -> bool {
    ('\u{1F1E6}'..='\u{1F1FF}').contains(&char)
}

/// Returns whether `next` is part of the same visible character.
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
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fit_short_text_is_unchanged() {
        for text in ["", "plain", "ภาษาไทย", "👩‍🚒🔥"] {
            assert_eq!(fit(text, 20), text);
            assert_eq!(fit(text, text.encode_utf16().count()), text);
        }
    }

    #[test]
    fn fit_long_text_is_cut_between_characters() {
        for (text, max, expected) in [
            ("abcdef", 6, "abcdef"),
            ("abcdef", 5, "abcd…"),
            ("abcdef", 1, "…"),
            ("abcdef", 0, ""),
            ("ab🔥🔥", 5, "ab🔥…"),
            ("ab🔥🔥", 4, "ab…"),
            // A vowel and its consonant are one, as is a sequence of emoji.
            ("กกีก", 3, "ก…"),
            ("a👩‍🚒b", 5, "a…"),
            ("a👍🏽b", 5, "a…"),
            // A Thai vowel and its consonant are one, as are the two halves of a flag.
            ("กกำก", 3, "ก…"),
            ("a🇹🇭🇱🇦b", 8, "a🇹🇭…"),
            ("a🇹🇭🇱🇦b", 10, "a🇹🇭🇱🇦b"),
            ("a🏴\u{E0067}\u{E0062}\u{E007F}b", 5, "a…"),
            ("नमस्ते", 4, "नम…"),
        ] {
            assert_eq!(fit(text, max), expected, "{text} in {max}");
            assert!(fit(text, max).encode_utf16().count() <= max);
        }
    }

    #[test]
    fn fit_slack_escapes_are_not_cut() {
        assert_eq!(fit_slack("<!channel> & co", 100), "&lt;!channel&gt; &amp; co");
        for max in 0..30 {
            let shown = fit_slack("<<<<<&&&&&", max);
            assert!(shown.len() <= max + 2, "an ellipsis has three bytes");
            assert!(shown.split('&').skip(1).all(|part| part.contains(';')), "{shown}");
        }
    }

    #[test]
    fn rfc3339_has_milliseconds_not_rounded_up() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999_999_999, "2000-02-28T23:59:59.999Z"),
            (1_735_689_600_001_000_000, "2025-01-01T00:00:00.001Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_nanos(nanos)), expected);
        }
    }

    #[test]
    fn rfc3339_time_out_of_range_is_nearest() {
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
