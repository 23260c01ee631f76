use crate::error::OpenReason;
use crate::verdict::Cause;

/// OpenCause a circuit opened: the reason, and the cause of the last result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenCause {
    pub(super) reason: OpenReason,
    pub(super) cause: Cause,
}
