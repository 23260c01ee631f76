//! The verdict tables, without the clients whose errors they classify.

#[path = "../../src/classify/grpc.rs"]
mod grpc;
#[path = "../../src/classify/http.rs"]
mod http;

pub(crate) use crate::verdict::{Cause, Class, GrpcCode, Verdict};
