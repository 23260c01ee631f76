//! Text that fits where it is shown.

/// As much of a text as fits into so many characters, with an ellipsis where it was cut.
///
/// What services count as a character differs for emoji; UTF-16 units are the most that any
/// counts. It isn't cut within what is seen as one character, as a Thai vowel over its
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
    // Up to where it can be cut and leave room for the ellipsis.
    let mut end = 0;
    for char in text.chars() {
        if units < most && !joins(previous, char) {
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

/// Whether `next` is seen as one with what stands before it.
fn joins(previous: char, next: char) -> bool {
    const ZERO_WIDTH_JOINER: char = '\u{200D}';
    previous == ZERO_WIDTH_JOINER
        || matches!(next,
            ZERO_WIDTH_JOINER
            | '\u{0300}'..='\u{036F}' // combining marks
            | '\u{0E31}' | '\u{0E34}'..='\u{0E3A}' | '\u{0E47}'..='\u{0E4E}' // Thai
            | '\u{20D0}'..='\u{20FF}' // enclosing marks
            | '\u{FE00}'..='\u{FE0F}' // variants
            | '\u{1F3FB}'..='\u{1F3FF}' // skin tones
        )
}

#[cfg(test)]
mod tests {
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
