use std::fmt;

use http::StatusCode;

use super::GrpcCode;

/// What was seen of an answer: its kind, never its text.
///
/// Errors can carry URLs, keys and bodies in their messages; a cause carries
/// none, so it is safe in logs, metrics and alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Not known, or not told by the classifier.
    Unknown,
    /// An HTTP status.
    Status(StatusCode),
    /// A gRPC status.
    Grpc(GrpcCode),
    /// No answer within the time given.
    Timeout,
    /// No connection could be made.
    Connect,
    /// The connection broke, or what came over it made no sense.
    Connection,
    /// The HTTP/2 peer refused the stream, or is going away, before processing it.
    RefusedStream,
    /// A circuit is open, or a failover has no healthy region: this crate answered.
    CircuitOpen,
    /// A limit on this side: this crate's rate limiter, or tower's load shed.
    LimitedHere,
    /// The call's own deadline passed.
    Deadline,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {}", status.as_u16()),
            Self::Grpc(code) => write!(f, "grpc status {code}"),
            Self::Unknown => f.write_str("unknown failure"),
            Self::Timeout => f.write_str("timeout"),
            Self::Connect => f.write_str("connection not made"),
            Self::Connection => f.write_str("connection broken"),
            Self::RefusedStream => f.write_str("stream refused"),
            Self::CircuitOpen => f.write_str("circuit open"),
            Self::LimitedHere => f.write_str("limited on this side"),
            Self::Deadline => f.write_str("deadline passed"),
        }
    }
}
