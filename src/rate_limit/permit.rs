use std::mem;

use http::HeaderMap;

use super::Usage;
use super::books::Receipts;
use super::cost::{Costs, Settle};
use super::lane::Passage;
use super::limiter::{Arrival, Limiter, Patience};
use super::queue::Ticket;
use crate::classify::Classify;
use crate::error::BoxError;
use crate::hint::Limits;
use crate::sharded::ShardRef;
use crate::time;
use crate::verdict::Verdict;

/// What was taken for a call that isn't sent yet. If this is dropped before the call is sent, the
/// units are given back.
#[derive(Debug)]
pub(super) struct Reservation {
    limiter: ShardRef<Limiter>,
    costs: Costs,
    patience: Patience,
}

/// What was taken for a call that was sent.
#[derive(Debug)]
pub(super) struct Permit {
    limiter: ShardRef<Limiter>,
    taken: Taken,
}

#[derive(Clone, Copy, Debug)]
enum Taken {
    ByLane { units: u32, passage: Passage },
    ByBooks { costs: Costs, receipts: Receipts },
}

impl Reservation {
    pub(super) fn new(limiter: ShardRef<Limiter>, costs: Costs, patience: Patience) -> Self {
        Self { limiter, costs, patience }
    }

    /// The call is being sent: from here on only its answer can tell that it never left.
    /// `None`: the gate has closed since it was let through.
    pub(super) fn send(&mut self) -> Option<Permit> {
        let receipts = self.limiter.desk.books().send(self.limiter.now(), &self.costs)?;
        let costs = mem::take(&mut self.costs);
        Some(Permit::by_books(self.limiter.clone(), costs, receipts))
    }

    /// Gives back what was taken, and lines up again with the patience that is left.
    pub(super) fn line_up_anew(&mut self) -> Result<Ticket, BoxError> {
        let (limiter, costs) = (self.limiter.clone(), self.costs);
        self.put_back();
        Arrival { limiter, costs, at: time::now() }.wait(self.patience)
    }

    fn put_back(&mut self) {
        let costs = mem::take(&mut self.costs);
        if !costs.are_nothing() {
            self.limiter.change(|books| books.put_back(&costs));
            self.limiter.refunded(&costs);
        }
    }

    /// Takes in why the call isn't sent.
    pub(super) fn settle(&self, verdict: &Verdict) {
        self.limiter.obey(verdict);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.put_back();
    }
}

impl Permit {
    #[inline]
    pub(super) fn by_lane(limiter: ShardRef<Limiter>, costs: &Costs, passage: Passage) -> Self {
        Self { limiter, taken: Taken::ByLane { units: costs.units[0], passage } }
    }

    #[inline]
    pub(super) fn by_books(limiter: ShardRef<Limiter>, costs: Costs, receipts: Receipts) -> Self {
        Self { limiter, taken: Taken::ByBooks { costs, receipts } }
    }

    /// What was sent, and what is needed to give it back.
    fn receipts(&self) -> (Costs, Receipts) {
        match self.taken {
            Taken::ByLane { units, passage } => (Costs::of(units), passage.into()),
            Taken::ByBooks { costs, receipts } => (costs, receipts),
        }
    }

    /// Takes in what a response tells.
    #[inline]
    pub(super) fn take_in<Res, C, W>(&self, response: &mut Res, classifier: &C, cost: &W)
    where
        C: Classify<Res>,
        W: Settle<Res>,
    {
        let verdict = classifier.classify(Ok(response));
        if !verdict.is_success() {
            self.settle(&verdict);
        }
        if let Some(headers) = classifier.headers(response) {
            self.learn(headers);
        }
        if !verdict.is_unsent() {
            cost.settle(response, || self.usage());
        }
    }

    /// Takes in how the call failed.
    #[cold]
    pub(super) fn settle(&self, verdict: &Verdict) {
        let limiter = &self.limiter;
        limiter.obey(verdict);
        if verdict.is_unsent() {
            let (costs, receipts) = self.receipts();
            if !costs.are_nothing() {
                limiter.change(|books| books.give_back(limiter.now(), &costs, &receipts));
                limiter.refunded(&costs);
            }
        }
    }

    /// Takes in the limits that the answer's headers tell.
    #[inline]
    fn learn(&self, headers: &HeaderMap) {
        if !headers.is_empty() && self.limiter.rules.settings.taught {
            self.learn_limits(headers);
        }
    }

    fn learn_limits(&self, headers: &HeaderMap) {
        let limits = Limits::from_headers(headers);
        if !limits.is_empty() {
            let (_, receipts) = self.receipts();
            let (now, longest) = (self.limiter.now(), self.limiter.rules.settings.max_pause);
            // By `change`, which wakes the head of the line: there may be more to take than it
            // knew, or less.
            self.limiter.change(|books| books.learn(now, &limits, &receipts, longest));
        }
    }

    /// What was taken for a call that was answered, to be settled when its true cost is known.
    fn usage(&self) -> Usage {
        let (costs, receipts) = self.receipts();
        Usage::new(self.limiter.clone(), &costs, &receipts)
    }
}
