//! Benchmarks of the layers and of comparable crates (the peers).
//!
//! Each subject is a service over an inner service that responds immediately, so that only the layer
//! is measured. `cargo run --release -p benches` prints one table of one run; `cargo bench -p benches`
//! runs the same rows, and more, with criterion.

pub mod bare;
pub mod content;
pub mod count;
pub mod measure;
pub mod rows;
pub mod subject;
