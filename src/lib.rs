//! Tower layers for calls to an upstream that you do not control.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod classify;
pub mod error;
pub mod event;
pub mod head;
pub mod hint;
pub mod key;
pub mod scope;
mod sync;
mod time;

#[doc(inline)]
pub use self::error::{BoxError, InvalidConfig, cause_ref};
