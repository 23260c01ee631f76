//! Lists of items with parameters: the part of RFC 9651 (structured fields)
//! that rate limits are written in.
//!
//! Unlike the RFC, which ignores a header with one unreadable item, this reads the other items.

use std::time::Duration;

use super::super::value::{plausible, seconds};

/// An item with its parameters, such as `10;w=1;name="ip"`.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    bare: &'a str,
    parameters: &'a str,
}

/// Returns the items of a list.
pub(super) fn items(text: &str) -> impl Iterator<Item = Item<'_>> {
    split(text, ',').map(|item| {
        let bare = split(item, ';').next().unwrap_or_default();
        Item { bare: bare.trim(), parameters: &item[bare.len()..] }
    })
}

impl<'a> Item<'a> {
    /// Returns the item without its parameters.
    pub(super) fn bare(self) -> &'a str {
        self.bare
    }

    /// Returns key and value of a dictionary's member, such as `limit=10`. A quoted string is no member,
    /// even if it contains `=`.
    pub(super) fn member(self) -> Option<(&'a str, &'a str)> {
        let (key, value) = self.bare.split_once('=')?;
        (!key.starts_with('"')).then(|| (key.trim(), value.trim()))
    }

    /// Returns the item as a name, without the quotation marks of a string.
    pub(super) fn name(self) -> &'a str {
        self.bare.trim_matches('"')
    }

    pub(super) fn parameter(self, name: &str) -> Option<&'a str> {
        let mut parameters = split(self.parameters, ';').filter_map(|part| part.split_once('='));
        parameters.find_map(|(key, value)| (key.trim() == name).then(|| value.trim()))
    }

    /// Returns the window, the parameter `w` in seconds.
    pub(super) fn window(self) -> Option<Duration> {
        plausible(seconds(self.parameter("w")?)?)
    }
}

/// Splits a text at the separator, but not within quotation marks.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        c == separator && !quoted
    })
}
