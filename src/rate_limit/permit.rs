use std::sync::Arc;

use http::HeaderMap;

use super::RateLimitEventKind;
use super::books::Receipts;
use super::cost::Costs;
use super::lane::Passage;
use super::limiter::Limiter;
use crate::classify::Verdict;
use crate::error::InvalidConfig;
use crate::hint::Limits;
use crate::stripe::Handle;
use crate::sync::Mutex;

/// What was taken for one call. Dropped before it was sent, it is given back.
#[derive(Debug)]
pub(super) struct Permit {
    limiter: Handle<Limiter>,
    taken: Taken,
}

#[derive(Debug)]
enum Taken {
    /// By the lane, and sent.
    ByLane {
        units: u32,
        passage: Passage,
    },
    Sent {
        costs: Costs,
        receipts: Receipts,
    },
    /// Not sent yet.
    Reserved {
        costs: Costs,
    },
}

impl Permit {
    /// Of a call that passes by the lane.
    #[inline]
    pub(super) fn by_lane(limiter: Handle<Limiter>, costs: &Costs, passage: Passage) -> Self {
        Self { limiter, taken: Taken::ByLane { units: costs.units[0], passage } }
    }

    /// Of a call that passes at once.
    #[inline]
    pub(super) fn sent_at_once(limiter: Handle<Limiter>, costs: Costs, receipts: Receipts) -> Self {
        Self { limiter, taken: Taken::Sent { costs, receipts } }
    }

    /// Of a call that waited, and isn't sent yet.
    pub(super) fn reserved(limiter: Handle<Limiter>, costs: Costs) -> Self {
        Self { limiter, taken: Taken::Reserved { costs } }
    }

    /// The call is being sent: from here on only its answer can tell that it never left.
    pub(super) fn sent(&mut self) {
        if let Taken::Reserved { costs } = self.taken {
            let receipts = self.limiter.desk.books().send(self.limiter.now(), &costs);
            self.taken = Taken::Sent { costs, receipts };
        }
    }

    /// What was sent, and what giving it back takes.
    fn receipts(&self) -> Option<(Costs, Receipts)> {
        match self.taken {
            Taken::ByLane { units, passage } => Some((Costs::of(units), passage.into())),
            Taken::Sent { costs, receipts } => Some((costs, receipts)),
            Taken::Reserved { .. } => None,
        }
    }

    /// Takes in how the call ended.
    #[inline]
    pub(super) fn settle(&mut self, verdict: &Verdict) {
        if !verdict.is_success() {
            self.settle_failure(verdict);
        }
    }

    #[cold]
    fn settle_failure(&mut self, verdict: &Verdict) {
        self.limiter.obey(verdict);
        match self.receipts() {
            Some((costs, receipts)) if verdict.never_left() && !costs.are_nothing() => {
                let limiter = &self.limiter;
                limiter.change(|books| books.give_back(limiter.now(), &costs, &receipts));
                limiter.refunded(&costs);
            }
            Some(_) => {}
            None => self.put_back(),
        }
    }

    /// Gives back what wasn't sent.
    #[cold]
    fn put_back(&mut self) {
        if let Taken::Reserved { costs } = self.taken
            && !costs.are_nothing()
        {
            self.taken = Taken::Reserved { costs: Costs::default() };
            self.limiter.change(|books| books.put_back(&costs));
            self.limiter.refunded(&costs);
        }
    }

    /// Takes in the limits that the answer's headers tell.
    #[inline]
    pub(super) fn learn(&self, headers: &HeaderMap) {
        if self.limiter.rules.settings.taught && !headers.is_empty() {
            self.learn_limits(headers);
        }
    }

    fn learn_limits(&self, headers: &HeaderMap) {
        let limits = Limits::from_headers(headers);
        let Some((_, receipts)) = self.receipts().filter(|_| !limits.is_empty()) else {
            return;
        };
        let (now, longest) = (self.limiter.now(), self.limiter.rules.settings.max_pause);
        // There may be more to take than was known, or less.
        self.limiter.change(|books| books.learn(now, &limits, &receipts, longest));
    }

    /// What was taken for a call that was answered, to be settled when its true cost is known.
    pub(super) fn usage(&self) -> Usage {
        let (costs, receipts) = self.receipts().expect("what is answered was sent");
        let limiter = self.limiter.clone();
        Usage(Arc::new(Answered { limiter, costs: Mutex::new(costs), receipts }))
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if matches!(self.taken, Taken::Reserved { .. }) {
            self.put_back();
        }
    }
}

/// What was taken for a call that has been answered, to be settled when its true cost is known:
/// what was too much is given back, what was too little is owed. Until then, and
/// where it is never known, what was taken stays spent.
///
/// It can go wherever the cost will be known: into the response's extensions, into
/// the task that reads its body.
#[derive(Clone, Debug)]
pub struct Usage(Arc<Answered>);

#[derive(Debug)]
struct Answered {
    limiter: Handle<Limiter>,
    costs: Mutex<Costs>,
    receipts: Receipts,
}

impl Usage {
    /// The call cost this much of the quota that has this name, or counts the resource of this
    /// name (`tokens`). Told again, the last number counts.
    ///
    /// # Errors
    ///
    /// If the layer has no quota of that name.
    pub fn settle(&self, quota: &str, used: u32) -> Result<(), InvalidConfig> {
        let Answered { limiter, costs, receipts } = &*self.0;
        let limit = limiter.rules.place_of(quota)?;
        let mut costs = costs.lock();
        let taken = std::mem::replace(&mut costs.units[limit], used);
        limiter.change(|books| books.settle(limiter.now(), taken, used, receipts, limit));
        drop(costs);
        if used != taken {
            limiter.tell(|| RateLimitEventKind::Settled { taken, used });
        }
        Ok(())
    }
}
