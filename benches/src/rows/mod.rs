//! Rows of the report: the layers, and beside each the comparable peers.

mod alert;
mod circuit_breaker;
mod failover;
mod rate_limit;
mod retry;
pub mod scaling;
pub mod stack;
pub mod upstream;

pub use self::failover::REGIONS;

use bytes::Bytes;
use tower_upstream::event::{Event, Observer, observer_fn};

use crate::bare::{Bare, Copied};
use crate::content::Content;
use crate::subject::{Measured, Outcome, Serves, Subject};

/// A row of the report.
pub struct Row {
    pub name: String,
    /// Configuration, and the version of a peer.
    pub about: &'static str,
    make: Box<dyn Fn() -> Box<dyn Subject> + Send + Sync>,
}

impl Row {
    /// Returns a new instance of the service.
    pub fn subject(&self) -> Box<dyn Subject> {
        (self.make)()
    }

    /// Returns whether the row is measured with many tasks. Only rows without an observer and with the
    /// empty request are, since clones of other requests share reference counts.
    pub fn is_contended(&self) -> bool {
        !self.is_realistic() && !self.is_observed()
    }

    pub fn is_realistic(&self) -> bool {
        self.name.ends_with(Bytes::SUFFIX)
    }

    pub fn is_observed(&self) -> bool {
        self.name.contains(OBSERVED)
    }

    /// Returns the name of the row of the inner service alone, with the same request.
    pub fn bare(&self) -> String {
        let suffix = if self.is_realistic() { Bytes::SUFFIX } else { <()>::SUFFIX };
        format!("{BARE}{suffix}")
    }

    fn new<B: Content, S: Serves<B>>(
        (name, about): (&str, &'static str),
        outcome: Outcome,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        let name = format!("{name}{}", B::SUFFIX);
        let make = Box::new(move || Box::new(Measured::<S, B>::new(make(), outcome)) as _);
        Self { name, about, make }
    }

    fn completes<B: Content, S: Serves<B>>(
        what: (&str, &'static str),
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        Self::new::<B, S>(what, Outcome::Completed, make)
    }

    fn rejects<S: Serves<()>>(
        what: (&str, &'static str),
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        Self::new::<(), S>(what, Outcome::Rejected, make)
    }
}

const OBSERVED: &str = "_observed";

/// Returns the rows of a layer of this crate: each request, without an observer and with one.
fn ours<S: Serves<()> + Serves<Bytes>>(
    (name, about): (&str, &'static str),
    make: impl Fn(bool) -> S + Copy + Send + Sync + 'static,
) -> Vec<Row> {
    let observed = format!("{name}{OBSERVED}");
    let mut rows = peer((name, about), move || make(false));
    rows.extend(peer((&observed, about), move || make(true)));
    rows
}

/// Returns the rows of a peer: each request.
fn peer<S: Serves<()> + Serves<Bytes>>(
    what: (&str, &'static str),
    make: impl Fn() -> S + Copy + Send + Sync + 'static,
) -> Vec<Row> {
    typed(what, make, make)
}

/// Returns the rows of a peer whose type depends on the request's type.
fn typed<S: Serves<()>, T: Serves<Bytes>>(
    what: (&str, &'static str),
    empty: impl Fn() -> S + Send + Sync + 'static,
    realistic: impl Fn() -> T + Send + Sync + 'static,
) -> Vec<Row> {
    vec![Row::completes::<(), S>(what, empty), Row::completes::<Bytes, T>(what, realistic)]
}

/// Returns an observer that is notified of every event and does nothing with it.
fn no_op_observer() -> impl Observer {
    observer_fn(|event: &Event<'_>| _ = std::hint::black_box(event))
}

/// Rows without a layer.
pub const BARE: &str = "bare";
pub const COPY: &str = "request_copy";

/// Returns all rows, the peers after the layers of this crate.
pub fn rows() -> Vec<Row> {
    [
        peer((BARE, "the inner service alone"), || Bare),
        peer((COPY, "the same, and a copy of the request"), || Copied(Bare)),
        retry::rows(),
        circuit_breaker::rows(),
        rate_limit::rows(),
        failover::rows(),
        alert::rows(),
        stack::rows(),
        upstream::rows(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::measure::loopback::runtime;

    #[test]
    fn rows_call_ends_with_expected_outcome() {
        let runtime = runtime();
        let _within = runtime.enter();
        let names: Vec<_> = rows()
            .into_iter()
            .chain(scaling::rows())
            .map(|row| {
                row.subject().call(3);
                row.name
            })
            .collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "duplicate name");
    }

    #[test]
    fn rows_bare_row_exists_for_each_request() {
        let rows = rows();
        for row in &rows {
            assert!(rows.iter().any(|bare| bare.name == row.bare()), "{}", row.name);
        }
    }
}
