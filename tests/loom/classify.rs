//! The verdict's own files, without the clients whose errors they judge.

#[path = "../../src/classify/cause.rs"]
mod cause;
#[path = "../../src/classify/grpc.rs"]
mod grpc;
#[path = "../../src/classify/http.rs"]
mod http;
#[path = "../../src/classify/verdict.rs"]
mod verdict;

pub(crate) use self::cause::Cause;
pub(crate) use self::grpc::GrpcCode;
pub(crate) use self::verdict::{Class, Verdict};
