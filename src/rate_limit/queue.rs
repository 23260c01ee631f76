//! The queue of waiting calls, first in, first out.
//!
//! Only the *head* of the queue takes units and sets a timer for its next attempt. The other calls
//! sleep until their wait limits expire. A head that leaves, whether admitted, rejected or dropped,
//! notifies the next call. So each admission wakes one call twice (as the new head, and by its
//! timer), however many calls wait.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::futures::OwnedNotified;

use super::cost::Costs;
use super::limiter::{Limiter, WaitLimit};
use super::permit::Permit;
use crate::error::BoxError;
use crate::event::LimitWaiting;
use crate::sharded::ShardRef;
use crate::time::{self, Instant, Sleep};
use crate::verdict::Verdict;

/// A call's position in the queue. Dropping it leaves the queue, and makes the next call the head.
#[derive(Debug)]
struct QueueEntry {
    limiter: ShardRef<Limiter>,
    costs: Costs,
    is_head: bool,
}

impl Drop for QueueEntry {
    fn drop(&mut self) {
        self.limiter.state.lock().leave_queue(&self.costs);
        if self.is_head {
            self.limiter.queue.head.notify_one();
        }
    }
}

pin_project! {
    /// A future that waits in the queue and takes a call's units. The order of the queue is the
    /// order of first polls.
    pub(super) struct QueuedCall {
        // Dropped before `entry`, so that `Notify` forwards a notification that arrives meanwhile.
        #[pin]
        stage: Stage,
        // For the head, the time of the next attempt. For other calls, the end of the wait limit.
        #[pin]
        timer: Option<Sleep>,
        // `None` after completion.
        entry: Option<QueueEntry>,
        wait_limit: WaitLimit,
    }
}

pin_project! {
    #[project = StageProject]
    enum Stage {
        // Behind other calls.
        Behind { #[pin] head: OwnedNotified },
        // At the head: take the units now.
        Head,
        // At the head, and not admitted before the timer expires or the state changes.
        HeadWaiting { #[pin] changed: OwnedNotified },
        // Complete. `Notify` forwards a notification that still arrives.
        Done,
    }
}

/// How much longer than its wait limit a call stays in the queue. If the wait limits of several
/// calls expire just when units become available, all of them become the head within this time.
const GRACE: Duration = Duration::from_millis(5);

impl QueuedCall {
    /// Adds a call that arrived `at` to the queue, or rejects it.
    pub(super) fn join(
        limiter: ShardRef<Limiter>,
        costs: Costs,
        at: Instant,
        wait_limit: WaitLimit,
    ) -> Result<Self, BoxError> {
        let (wait, ahead) = limiter.join_queue(&costs, at, wait_limit)?;
        let head = Arc::clone(&limiter.queue.head).notified_owned();
        let entry = QueueEntry { limiter, costs, is_head: false };
        entry.limiter.emit(|| LimitWaiting::new(&entry.limiter.name, wait, ahead));
        Ok(Self { stage: Stage::Behind { head }, timer: None, entry: Some(entry), wait_limit })
    }
}

impl Future for QueuedCall {
    type Output = Result<Reservation, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let wait_limit = *this.wait_limit;
        let entry = this.entry.as_mut().expect("future polled after completion");
        let (limiter, costs) = (&entry.limiter, entry.costs);
        let result = loop {
            match this.stage.as_mut().project() {
                StageProject::Behind { head } => {
                    if head.poll(cx).is_ready() {
                        entry.is_head = true;
                        this.stage.set(Stage::Head);
                        continue;
                    }
                    if this.timer.is_none() {
                        let end = time::after(wait_limit.until, GRACE);
                        this.timer.set(Some(time::sleep_until(end)));
                    }
                    ready!(time::poll_timer(this.timer.as_mut(), cx));
                    break Err(limiter.reject_expired(&costs, wait_limit));
                }
                StageProject::Head => match limiter.take(&costs, wait_limit) {
                    Ok(None) => {
                        let limiter = limiter.clone();
                        break Ok(Reservation { limiter, costs, wait_limit });
                    }
                    Ok(Some(at)) => {
                        let changed = Arc::clone(&limiter.queue.changed).notified_owned();
                        this.timer.set(Some(time::sleep_until(at)));
                        this.stage.set(Stage::HeadWaiting { changed });
                    }
                    Err(rejection) => break Err(rejection),
                },
                StageProject::HeadWaiting { changed } => {
                    if time::poll_timer(this.timer.as_mut(), cx).is_pending() {
                        ready!(changed.poll(cx));
                    }
                    this.stage.set(Stage::Head);
                }
                StageProject::Done => unreachable!("a completed call has no entry"),
            }
        };
        this.stage.set(Stage::Done);
        *this.entry = None;
        Poll::Ready(result)
    }
}

/// The units that a call has taken and not sent yet. Dropping it releases them.
#[derive(Debug)]
pub(super) struct Reservation {
    limiter: ShardRef<Limiter>,
    costs: Costs,
    wait_limit: WaitLimit,
}

impl Reservation {
    /// Spends the units, as the call is being sent. Returns `None` if the gate has closed since they
    /// were taken.
    pub(super) fn send(&mut self) -> Option<Permit> {
        let charges = self.limiter.state.lock().send(self.limiter.now(), &self.costs)?;
        self.costs = Costs::default();
        Some(Permit::locked(self.limiter.clone(), charges))
    }

    /// Releases the units, and joins the queue again for the rest of the wait limit.
    pub(super) fn rejoin(&mut self) -> Result<QueuedCall, BoxError> {
        let (limiter, costs) = (self.limiter.clone(), self.costs);
        self.release();
        QueuedCall::join(limiter, costs, time::now(), self.wait_limit)
    }

    /// Applies the verdict for which the call isn't sent.
    pub(super) fn apply_verdict(&self, verdict: &Verdict) {
        self.limiter.apply_verdict(verdict);
    }

    fn release(&mut self) {
        let costs = mem::take(&mut self.costs);
        if !costs.is_zero() {
            self.limiter.change(|state| state.release(&costs));
            self.limiter.emit_refunded(costs.units[0]);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests;
