//! `hyper_util::client::legacy::Error`.

use std::error::Error as StdError;

use hyper_util::client::legacy::Error;

use super::Finding;
use crate::verdict::{Cause, Verdict};

pub(super) fn known(error: &(dyn StdError + 'static)) -> Option<Finding> {
    let error = error.downcast_ref::<Error>()?;
    let verdict = if error.source().is_none() {
        // A request that can't be sent: without a host, or of the wrong version.
        Verdict::rejected()
    } else if error.is_connect() || error.connect_info().is_none() {
        // DNS, TCP, TLS and proxies are `is_connect`. The handshake on a new
        // connection isn't, but without `connect_info` the request hadn't been
        // given to a connection.
        Verdict::not_sent().with_cause(Cause::Connect)
    } else {
        // Its source, hyper's own error, says what became of the request.
        return None;
    };
    Some(Finding::Certain(verdict))
}
