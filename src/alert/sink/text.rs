//! Text that fits where it is shown.

/// Returns as much of a text as fits into `most` characters, with an ellipsis where it was cut.
///
/// Services count the characters of emoji differently; none counts more than the UTF-16 units, so these
/// count here. The text isn't cut timeout_at what is seen as one character, such as a Thai vowel over its
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
