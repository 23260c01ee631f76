//! Errors of tower's own middleware, and tokio's.

use std::error::Error;

use super::Finding;
use crate::verdict::{Cause, Verdict};

pub(super) fn known(error: &(dyn Error + 'static)) -> Option<Finding> {
    // A timeout doesn't say where the time went: the request may have been
    // processed.
    let verdict = if error.is::<tower::timeout::error::Elapsed>()
        || error.is::<tokio::time::error::Elapsed>()
    {
        Verdict::transient().with_cause(Cause::Timeout)
    } else if error.is::<tower::load_shed::error::Overloaded>() {
        Verdict::new(crate::classify::Class::Local).with_cause(Cause::LocalLimit)
    } else {
        return None;
    };
    Some(Finding::Certain(verdict))
}
