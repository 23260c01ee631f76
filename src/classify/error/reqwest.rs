//! `reqwest::Error`.

use std::error::Error;

use super::Finding;
use crate::classify::http;
use crate::verdict::{Cause, Verdict};

pub(super) fn known(error: &(dyn Error + 'static)) -> Option<Finding> {
    let error = error.downcast_ref::<reqwest::Error>()?;
    // Whether it failed to connect is left to the client's error in the chain.
    // `is_connect` is also true if the request's body comes from another
    // upstream, and that one couldn't be reached.
    let cause = if error.is_timeout() { Cause::Timeout } else { Cause::Connection };
    let broken = Verdict::transient().with_cause(cause);
    if let Some(status) = error.status() {
        Some(Finding::Certain(http::status_verdict(status)))
    } else if error.is_builder() || error.is_redirect() {
        Some(Finding::Certain(Verdict::rejected()))
    } else if error.is_body() || error.is_decode() || error.is_upgrade() {
        // The head of a response has been seen.
        Some(Finding::Certain(broken))
    } else if error.is_timeout() {
        // The timeout was that of the whole request, or of connecting. If it was
        // the latter, the source says so.
        Some(Finding::Provisional(broken))
    } else {
        None
    }
}
