//! What is measured: the layers, and beside each the peers that do the like.

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

/// One line of the report.
pub struct Row {
    pub name: String,
    /// How it is configured, and of which version a peer is.
    pub about: &'static str,
    make: Box<dyn Fn() -> Box<dyn Subject> + Send + Sync>,
}

impl Row {
    /// The service, made anew.
    pub fn subject(&self) -> Box<dyn Subject> {
        (self.make)()
    }

    /// Whether this is measured by many tasks at once: without an observer, and with the
    /// empty request, since the copies of another share its parts.
    pub fn is_contended(&self) -> bool {
        !self.is_realistic() && !self.is_observed()
    }

    pub fn is_realistic(&self) -> bool {
        self.name.ends_with(Bytes::SUFFIX)
    }

    pub fn is_observed(&self) -> bool {
        self.name.contains(OBSERVED)
    }

    /// The name of what this is measured over, with the same request.
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

    fn answers<B: Content, S: Serves<B>>(
        what: (&str, &'static str),
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        Self::new::<B, S>(what, Outcome::Answered, make)
    }

    fn rejects<S: Serves<()>>(
        what: (&str, &'static str),
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        Self::new::<(), S>(what, Outcome::Rejected, make)
    }
}

const OBSERVED: &str = "_observed";

/// A layer of ours, with each request, without an observer and with one.
fn ours<S: Serves<()> + Serves<Bytes>>(
    (name, about): (&str, &'static str),
    make: impl Fn(bool) -> S + Copy + Send + Sync + 'static,
) -> Vec<Row> {
    let observed = format!("{name}{OBSERVED}");
    let mut rows = peer((name, about), move || make(false));
    rows.extend(peer((&observed, about), move || make(true)));
    rows
}

/// Another's, with each request.
fn peer<S: Serves<()> + Serves<Bytes>>(
    what: (&str, &'static str),
    make: impl Fn() -> S + Copy + Send + Sync + 'static,
) -> Vec<Row> {
    typed(what, make, make)
}

/// Another's whose type names that of the request.
fn typed<S: Serves<()>, T: Serves<Bytes>>(
    what: (&str, &'static str),
    empty: impl Fn() -> S + Send + Sync + 'static,
    realistic: impl Fn() -> T + Send + Sync + 'static,
) -> Vec<Row> {
    vec![Row::answers::<(), S>(what, empty), Row::answers::<Bytes, T>(what, realistic)]
}

/// Returns an observer that is notified of every event and does nothing with it.
fn no_op_observer() -> impl Observer {
    observer_fn(|event: &Event<'_>| _ = std::hint::black_box(event))
}

/// What is measured without a layer.
pub const BARE: &str = "bare";
pub const COPY: &str = "request_copy";

/// Every row, the peers next to ours.
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
    fn every_call_ends_as_it_should() {
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
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a name stands twice");
    }

    #[test]
    fn each_row_is_measured_over_one_with_the_same_request() {
        let rows = rows();
        for row in &rows {
            assert!(rows.iter().any(|bare| bare.name == row.bare()), "{}", row.name);
        }
    }
}
