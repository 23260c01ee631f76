//! Lists of items with parameters: the part of RFC 9651 (structured fields)
//! that rate limits are written in.
//!
//! It is lenient where the RFC has the whole header ignored: one unreadable
//! item doesn't hide the others.

use std::time::Duration;

use super::super::value::{plausible, seconds};

/// `10;w=1;name="ip"`
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    bare: &'a str,
    parameters: &'a str,
}

/// The items of a list.
pub(super) fn items(text: &str) -> impl Iterator<Item = Item<'_>> {
    split(text, ',').map(|item| {
        let bare = split(item, ';').next().unwrap_or_default();
        Item { bare: bare.trim(), parameters: &item[bare.len()..] }
    })
}

impl<'a> Item<'a> {
    /// The item without its parameters.
    pub(super) fn bare(self) -> &'a str {
        self.bare
    }

    /// The item as a dictionary's member: `limit=10`. A string may hold any sign.
    pub(super) fn member(self) -> Option<(&'a str, &'a str)> {
        let (key, value) = self.bare.split_once('=')?;
        (!key.starts_with('"')).then(|| (key.trim(), value.trim()))
    }

    /// The item as a name: a string or a token.
    pub(super) fn name(self) -> &'a str {
        self.bare.trim_matches('"')
    }

    pub(super) fn parameter(self, name: &str) -> Option<&'a str> {
        let mut parameters = split(self.parameters, ';').filter_map(|part| part.split_once('='));
        parameters.find_map(|(key, value)| (key.trim() == name).then(|| value.trim()))
    }

    /// The window `w`, in seconds.
    pub(super) fn window(self) -> Option<Duration> {
        plausible(seconds(self.parameter("w")?)?)
    }
}

/// Splits outside of quotation marks.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        c == separator && !quoted
    })
}
