use std::fmt;

use super::Usage;
use crate::hint::Resource;

/// Tells how much of each quota a request takes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't tell the cost of the request `{Req}`",
    label = "no cost for this request",
    note = "name the request's type in the closure: `.cost_fn(|request: &MyRequest| ..)`"
)]
pub trait Cost<Req> {
    /// How many units the request takes, of each of the layer's quotas. A request that costs 0 of
    /// all of them passes at once, unless the server has asked for a pause.
    fn costs(&self, request: &Req) -> Costs;
}

/// What a request takes of each of a layer's quotas, in the order in which they were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    pub(super) units: [u32; Costs::MOST],
    quotas: usize,
}

impl Costs {
    /// How many quotas one layer keeps at most.
    pub(super) const MOST: usize = 4;

    /// The cost where there is only one quota.
    #[must_use]
    pub const fn of(units: u32) -> Self {
        Self { units: [units, 0, 0, 0], quotas: 1 }
    }

    pub(super) fn are_nothing(&self) -> bool {
        self.units == [0; Self::MOST]
    }

    /// Adds the units of the next quota.
    pub(super) fn and(mut self, units: u32) -> Self {
        self.units[self.quotas] = units;
        self.quotas += 1;
        self
    }
}

/// What the type of a cost says of the quotas that it is for.
pub trait Quotas {
    /// How many they are.
    const COUNT: usize;
    /// What the first quota counts, unless [that is set](super::Quota::of).
    const FIRST: Option<Resource>;
}

/// Takes in what an answer tells of a call's true cost.
///
/// Implemented by [`Settled`]. Costs that know nothing of answers implement it by doing nothing.
pub trait Settle<Res> {
    /// Takes in what this answer tells.
    fn settle(&self, response: &mut Res, usage: impl FnOnce() -> Usage) {
        _ = (response, usage);
    }
}

/// Every request takes one unit: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnitCost;

impl<Req> Cost<Req> for UnitCost {
    fn costs(&self, _: &Req) -> Costs {
        Costs::of(1)
    }
}

impl Quotas for UnitCost {
    const COUNT: usize = 1;
    const FIRST: Option<Resource> = Some(Resource::Requests);
}

impl<Res> Settle<Res> for UnitCost {}

/// A closure as cost. Made by [`cost_fn`](super::RateLimitBuilder::cost_fn).
#[derive(Clone, Copy)]
pub struct CostFn<F>(pub(super) F);

impl<F, Req> Cost<Req> for CostFn<F>
where
    F: Fn(&Req) -> u32,
{
    fn costs(&self, request: &Req) -> Costs {
        Costs::of((self.0)(request))
    }
}

impl<F> Quotas for CostFn<F> {
    const COUNT: usize = 1;
    const FIRST: Option<Resource> = None;
}

impl<F, Res> Settle<Res> for CostFn<F> {}

impl<F> fmt::Debug for CostFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CostFn")
    }
}

/// Other costs, and a closure for the cost of one more quota. Made by
/// [`and`](super::RateLimitBuilder::and).
#[derive(Clone, Copy)]
pub struct And<W, F>(pub(super) W, pub(super) F);

impl<W, F, Req> Cost<Req> for And<W, F>
where
    W: Cost<Req>,
    F: Fn(&Req) -> u32,
{
    fn costs(&self, request: &Req) -> Costs {
        self.0.costs(request).and((self.1)(request))
    }
}

impl<W: Quotas, F> Quotas for And<W, F> {
    const COUNT: usize = W::COUNT + 1;
    const FIRST: Option<Resource> = W::FIRST;
}

/// Settles as the other costs do, whichever of `and` and `settle_fn` was called first.
impl<W: Settle<Res>, F, Res> Settle<Res> for And<W, F> {
    fn settle(&self, response: &mut Res, usage: impl FnOnce() -> Usage) {
        self.0.settle(response, usage);
    }
}

impl<W: fmt::Debug, F> fmt::Debug for And<W, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("And").field(&self.0).finish()
    }
}

/// Costs that a closure over the answer settles. Made by
/// [`settle_fn`](super::RateLimitBuilder::settle_fn).
#[derive(Clone, Copy)]
pub struct Settled<W, G>(pub(super) W, pub(super) G);

impl<W: Cost<Req>, G, Req> Cost<Req> for Settled<W, G> {
    fn costs(&self, request: &Req) -> Costs {
        self.0.costs(request)
    }
}

impl<W: Quotas, G> Quotas for Settled<W, G> {
    const COUNT: usize = W::COUNT;
    const FIRST: Option<Resource> = W::FIRST;
}

impl<W, G, Res> Settle<Res> for Settled<W, G>
where
    G: Fn(&mut Res, Usage),
{
    fn settle(&self, response: &mut Res, usage: impl FnOnce() -> Usage) {
        (self.1)(response, usage());
    }
}

impl<W: fmt::Debug, G> fmt::Debug for Settled<W, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Settled").field(&self.0).finish()
    }
}
