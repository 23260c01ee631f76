//! Every interleaving of a few threads over the shipped types of one circuit, and of one limiter.
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release --all-features --test loom
//! ```
//!
//! `cfg(loom)` is seen by every dependency, and tokio has no network then, so that no
//! client builds. So the crate is empty under it, clients are no dependencies, and this
//! takes in, by path, the files that threads share these through: with `src/sync.rs`
//! giving them loom's atomics and locks instead of the standard library's.
#![cfg(loom)]
// Not everything in those files is used here.
#![allow(dead_code, unused_imports, unreachable_pub, unnameable_types)]

#[path = "../../src/error/mod.rs"]
mod error;
#[path = "../../src/hint/mod.rs"]
mod hint;
#[path = "../../src/random.rs"]
mod random;
#[path = "../../src/sliding_window.rs"]
mod sliding_window;
#[path = "../../src/sync.rs"]
mod sync;
#[path = "../../src/time.rs"]
mod time;
#[path = "../../src/verdict.rs"]
mod verdict;

mod circuit_breaker;
mod classify;
mod rate_limit;
