use std::fmt;

/// The largest number of quotas of one layer. A call's charges are an array of this length, so that
/// a call allocates nothing.
pub(super) const MAX_QUOTAS: usize = 4;

mod sealed {
    #[allow(unnameable_types)] // Sealed traits have no name outside.
    pub trait Sealed {}
}

pub(super) use self::sealed::Sealed;

/// Calculates a request's cost. Sealed; implemented by closures through
/// [`cost_fn`](super::RateLimitBuilder::cost_fn).
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't calculate the cost of the request `{Req}`",
    label = "no cost for this request",
    note = "name the request's type in the closure: `.cost_fn(|request: &MyRequest| ..)`"
)]
pub trait Cost<Req>: Sealed {
    /// Returns the number of units that the request takes from each of the layer's quotas. A request
    /// that costs 0 of all quotas passes at once, unless the server has requested a pause.
    fn costs(&self, request: &Req) -> Costs;
}

/// The units that a request takes from each of a layer's quotas, in the order of the quotas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    pub(super) units: [u32; MAX_QUOTAS],
    quotas: usize,
}

impl Costs {
    pub(super) const fn new(units: u32) -> Self {
        Self { units: [units, 0, 0, 0], quotas: 1 }
    }

    /// Adds the units of the next quota.
    pub(super) fn and(mut self, units: u32) -> Self {
        self.units[self.quotas] = units;
        self.quotas += 1;
        self
    }

    pub(super) fn is_zero(&self) -> bool {
        self.units == [0; MAX_QUOTAS]
    }
}

/// A cost of one unit for every request: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnitCost;

impl Sealed for UnitCost {}

impl<Req> Cost<Req> for UnitCost {
    fn costs(&self, _: &Req) -> Costs {
        Costs::new(1)
    }
}

/// A cost that a closure calculates. Created by [`cost_fn`](super::RateLimitBuilder::cost_fn).
#[derive(Clone, Copy)]
pub struct CostFn<F> {
    pub(super) cost_fn: F,
}

impl<F> Sealed for CostFn<F> {}

impl<F, Req> Cost<Req> for CostFn<F>
where
    F: Fn(&Req) -> u32,
{
    fn costs(&self, request: &Req) -> Costs {
        Costs::new((self.cost_fn)(request))
    }
}

impl<F> fmt::Debug for CostFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CostFn")
    }
}

/// The cost of several quotas: `costs` for all but the last, and a closure for the last one. Created
/// by [`and`](super::RateLimitBuilder::and).
#[derive(Clone, Copy)]
pub struct AndCost<W, F> {
    pub(super) costs: W,
    pub(super) cost_fn: F,
}

impl<W, F> Sealed for AndCost<W, F> {}

impl<W, F, Req> Cost<Req> for AndCost<W, F>
where
    W: Cost<Req>,
    F: Fn(&Req) -> u32,
{
    fn costs(&self, request: &Req) -> Costs {
        self.costs.costs(request).and((self.cost_fn)(request))
    }
}

impl<W: fmt::Debug, F> fmt::Debug for AndCost<W, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AndCost").field("costs", &self.costs).finish_non_exhaustive()
    }
}
