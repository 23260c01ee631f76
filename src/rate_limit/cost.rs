use std::fmt;

/// Tells how much of the quota a request takes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't tell the cost of the request `{Req}`",
    label = "no cost for this request",
    note = "name the request's type in the closure: `.cost_fn(|request: &MyRequest| ..)`"
)]
pub trait Cost<Req> {
    /// How many units the request takes. 0 passes at once, unless the server has
    /// asked for a pause.
    fn cost(&self, request: &Req) -> u32;
}

/// Every request takes one unit: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneEach;

impl<Req> Cost<Req> for OneEach {
    fn cost(&self, _: &Req) -> u32 {
        1
    }
}

/// A closure as cost. Made by [`cost_fn`](super::RateLimitBuilder::cost_fn).
#[derive(Clone, Copy)]
pub struct CostFn<F>(pub(super) F);

impl<F, Req> Cost<Req> for CostFn<F>
where
    F: Fn(&Req) -> u32,
{
    fn cost(&self, request: &Req) -> u32 {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for CostFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CostFn")
    }
}
