//! The line of waiting calls: first come, first served.
//!
//! One *turn* goes through the line. Only the call that holds it asks for a permit and sets a timer
//! for its next look; the others sleep until their patience ends. A call that leaves with the turn,
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
use super::limiter::{Limiter, Patience};
use super::permit::Reservation;
use crate::error::BoxError;
use crate::sharded::ShardRef;
use crate::time::{self, Sleep};

/// The line of one limiter. The limiter's books count the calls in it.
#[derive(Debug)]
pub(super) struct Line {
    /// Holds the turn as a stored notification while nobody else does.
    turn: Arc<Notify>,
    /// Wakes the call that holds the turn: there may be more to take than was foreseen, or less.
    stirred: Arc<Notify>,
}

impl Line {
    pub(super) fn new() -> Self {
        let turn = Notify::new();
        turn.notify_one();
        Self { turn: Arc::new(turn), stirred: Arc::new(Notify::new()) }
    }

    /// Makes the head of the line look again.
    pub(super) fn stir(&self) {
        self.stirred.notify_one();
    }
}

/// A place in the line. Leaving it hands on the turn.
#[derive(Debug)]
pub(super) struct Place {
    limiter: ShardRef<Limiter>,
    costs: Costs,
    has_turn: bool,
}

impl Place {
    /// The place of a call that has joined the line in the books.
    pub(super) fn joined(limiter: ShardRef<Limiter>, costs: Costs) -> Self {
        Self { limiter, costs, has_turn: false }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limiter.desk.books().leave(&self.costs);
        if self.has_turn {
            self.limiter.line.turn.notify_one();
        }
    }
}

pin_project! {
    /// PendingCall in the line for a permit. The order is that of the first polls.
    pub(super) struct Ticket {
        // Dropped before `place`: a notification that arrives during the drop is then forwarded by
        // `Notify`.
        #[pin]
        stage: Stage,
        // In line it runs until our patience ends, at the head until the next look.
        #[pin]
        timer: Option<Sleep>,
        place: Option<Place>,
        patience: Patience,
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

impl Ticket {
    pub(super) fn new(place: Place, patience: Patience) -> Self {
        let turn = Arc::clone(&place.limiter.line.turn).notified_owned();
        Self { stage: Stage::InLine { turn }, timer: None, place: Some(place), patience }
    }
}

/// How much longer than its patience a call stays in the line. If the patience of several calls
/// ends just when units come free, the turn needs this time to get to the last of them.
const GRACE: Duration = Duration::from_millis(5);

impl Future for Ticket {
    type Output = Result<Reservation, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let place = this.place.as_mut().expect("polled after it was done");
        loop {
            match this.stage.as_mut().project() {
                StageProject::InLine { turn } => {
                    if turn.poll(cx).is_ready() {
                        place.has_turn = true;
                        this.stage.set(Stage::Head);
                        continue;
                    }
                    if this.timer.is_none() {
                        let end = time::after(this.patience.until, GRACE);
                        this.timer.set(Some(time::sleep_until(end)));
                    }
                    ready!(time::poll_timer(this.timer.as_mut(), cx));
                    let rejection = place.limiter.give_up(place.costs, *this.patience);
                    this.stage.set(Stage::Done);
                    *this.place = None;
                    return Poll::Ready(Err(rejection));
                }
                StageProject::Head => {
                    let patience = *this.patience;
                    let result = match place.limiter.retake(place.costs, patience) {
                        Ok(()) => {
                            let limiter = place.limiter.clone();
                            Ok(Reservation::new(limiter, place.costs, patience))
                        }
                        Err(Err(rejection)) => Err(rejection),
                        Err(Ok(at)) => {
                            let stirred = Arc::clone(&place.limiter.line.stirred).notified_owned();
                            this.timer.set(Some(time::sleep_until(at)));
                            this.stage.set(Stage::Timed { stirred });
                            continue;
                        }
                    };
                    this.stage.set(Stage::Done);
                    *this.place = None;
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
