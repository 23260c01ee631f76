//! The queue of waiting calls: first come, first served.
//!
//! One *turn* goes through the queue. Only the call that holds it asks for a permit and sets a timer
//! for its next look; the others sleep until their wait limit ends. A call that leaves with the turn,
//! whether served, turned away or dropped, hands it on. So a grant wakes one call twice, by the
//! turn and by its timer, however many wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::cost::Costs;
use super::limiter::{Limiter, WaitLimit};
use super::permit::Reservation;
use crate::error::BoxError;
use crate::sharded::ShardRef;
use crate::time::{self, Sleep};

/// The queue of one limiter. The limiter's state count the calls in it.
#[derive(Debug)]
pub(super) struct WaitQueue {
    /// Holds the turn as a stored notification while nobody else does.
    turn: Arc<Notify>,
    /// Wakes the call that holds the turn: there may be more to take than was predicted, or less.
    stirred: Arc<Notify>,
}

impl WaitQueue {
    pub(super) fn new() -> Self {
        let turn = Notify::new();
        turn.notify_one();
        Self { turn: Arc::new(turn), stirred: Arc::new(Notify::new()) }
    }

    /// Makes the head of the queue look again.
    pub(super) fn notify_head(&self) {
        self.stirred.notify_one();
    }
}

/// A entry in the queue. Leaving it hands on the turn.
#[derive(Debug)]
pub(super) struct QueueEntry {
    limiter: ShardRef<Limiter>,
    costs: Costs,
    has_turn: bool,
}

impl QueueEntry {
    /// The entry of a call that has joined the queue in the state.
    pub(super) fn joined(limiter: ShardRef<Limiter>, costs: Costs) -> Self {
        Self { limiter, costs, has_turn: false }
    }
}

impl Drop for QueueEntry {
    fn drop(&mut self) {
        self.limiter.state_lock.state().leave(&self.costs);
        if self.has_turn {
            self.limiter.queue.turn.notify_one();
        }
    }
}

pin_project! {
    /// PendingCall in the queue for a permit. The order is that of the first polls.
    pub(super) struct QueuedCall {
        // Dropped before `entry`: a notification that arrives during the drop is then forwarded by
        // `Notify`.
        #[pin]
        stage: Stage,
        // In queue it runs until our wait limit ends, at the head until the next look.
        #[pin]
        timer: Option<Sleep>,
        entry: Option<QueueEntry>,
        wait_limit: WaitLimit,
    }
}

pin_project! {
    #[project = StageProject]
    enum Stage {
        // Others are before us; we sleep until the turn is handed to us.
        InLine { #[pin] turn: OwnedNotified },
        // Our turn: look now.
        Head,
        // Our turn, and nothing to take before the timer ends, unless `stirred` is notified first.
        Timed { #[pin] stirred: OwnedNotified },
        // Served or turned away. A notification that still arrives is forwarded to another call.
        Done,
    }
}

impl QueuedCall {
    pub(super) fn new(entry: QueueEntry, wait_limit: WaitLimit) -> Self {
        let turn = Arc::clone(&entry.limiter.queue.turn).notified_owned();
        Self { stage: Stage::InLine { turn }, timer: None, entry: Some(entry), wait_limit }
    }
}

/// How much longer than its wait limit a call stays in the queue. If the wait limit of several calls
/// ends just when units come free, the turn needs this time to get to the last of them.
const GRACE: Duration = Duration::from_millis(5);

impl Future for QueuedCall {
    type Output = Result<Reservation, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let entry = this.entry.as_mut().expect("polled after it was done");
        loop {
            match this.stage.as_mut().project() {
                StageProject::InLine { turn } => {
                    if turn.poll(cx).is_ready() {
                        entry.has_turn = true;
                        this.stage.set(Stage::Head);
                        continue;
                    }
                    if this.timer.is_none() {
                        let end = time::after(this.wait_limit.until, GRACE);
                        this.timer.set(Some(time::sleep_until(end)));
                    }
                    ready!(time::poll_timer(this.timer.as_mut(), cx));
                    let rejection = entry.limiter.give_up(entry.costs, *this.wait_limit);
                    this.stage.set(Stage::Done);
                    *this.entry = None;
                    return Poll::Ready(Err(rejection));
                }
                StageProject::Head => {
                    let wait_limit = *this.wait_limit;
                    let result = match entry.limiter.retake(entry.costs, wait_limit) {
                        Ok(()) => {
                            let limiter = entry.limiter.clone();
                            Ok(Reservation::new(limiter, entry.costs, wait_limit))
                        }
                        Err(Err(rejection)) => Err(rejection),
                        Err(Ok(at)) => {
                            let stirred = Arc::clone(&entry.limiter.queue.stirred).notified_owned();
                            this.timer.set(Some(time::sleep_until(at)));
                            this.stage.set(Stage::Timed { stirred });
                            continue;
                        }
                    };
                    this.stage.set(Stage::Done);
                    *this.entry = None;
                    return Poll::Ready(result);
                }
                StageProject::Timed { stirred } => {
                    if time::poll_timer(this.timer.as_mut(), cx).is_pending()
                        && stirred.poll(cx).is_pending()
                    {
                        return Poll::Pending;
                    }
                    this.stage.set(Stage::Head);
                }
                StageProject::Done => panic!("polled after it was done"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
