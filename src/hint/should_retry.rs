//! `x-should-retry`.

use http::HeaderMap;

/// If there are several values, one *no* decides.
pub(super) fn parse(headers: &HeaderMap) -> Option<bool> {
    let values = headers.get_all("x-should-retry").iter();
    let texts = values.filter_map(|value| value.to_str().ok().map(str::trim));
    let values = texts.filter_map(|text| {
        if text.eq_ignore_ascii_case("true") {
            Some(true)
        } else if text.eq_ignore_ascii_case("false") {
            Some(false)
        } else {
            None
        }
    });
    values.reduce(|all, one| all && one)
}
