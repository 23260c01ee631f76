//! What calls cost: through the layers, and through their peers.
//!
//! Each subject is a service over an inner one that is ready at once, so that what is
//! measured is the layer and nothing else. `cargo run --release -p benches` prints one table
//! of one run, `cargo bench -p benches` runs the same by criterion, with more besides.

pub mod bare;
pub mod content;
pub mod count;
pub mod measure;
pub mod rows;
pub mod subject;
