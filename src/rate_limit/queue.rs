//! The line of waiting calls: first come, first served.
//!
//! One *turn* goes through the line, and only who holds it asks for a permit and
//! sets a timer for the next look; the others sleep until their patience ends. Who
//! leaves with the turn, served, turned away or dropped, hands it on. So a grant
//! wakes one waiter for the turn and once by its timer, however many wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::fence;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::RateLimited;
use super::limiter::{Limiter, Patience, Permit};
use crate::sync::{AtomicU64, AtomicUsize, Ordering};
use crate::time::{self, Sleep};

/// The line of one limiter.
#[derive(Debug)]
pub(super) struct Line {
    waiting: AtomicUsize,
    units: AtomicU64,
    /// Holds the turn as a stored notification while nobody else does.
    turn: Arc<Notify>,
    /// Stirs who holds the turn: there may be more to take than was foreseen, or less.
    stirred: Arc<Notify>,
}

impl Line {
    pub(super) fn new() -> Self {
        let turn = Notify::new();
        turn.notify_one();
        Self {
            waiting: AtomicUsize::new(0),
            units: AtomicU64::new(0),
            turn: Arc::new(turn),
            stirred: Arc::new(Notify::new()),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What all who wait will take.
    pub(super) fn units(&self) -> u64 {
        self.units.load(Ordering::Acquire)
    }

    /// Makes the head of the line look again. Called after the change.
    pub(super) fn stir(&self) {
        // Pairs with the one in `Place::take`: either this sees the new waiter,
        // or the waiter's first look sees the change.
        fence(Ordering::SeqCst);
        if !self.is_empty() {
            self.stirred.notify_one();
        }
    }
}

/// A place in the line. Leaving it hands on the turn.
#[derive(Debug)]
pub(super) struct Place {
    limiter: Arc<Limiter>,
    cost: u32,
    has_turn: bool,
}

impl Place {
    /// A place at the end, unless the line is full.
    pub(super) fn take(limiter: &Arc<Limiter>, cost: u32, most: usize) -> Option<Self> {
        let line = &limiter.line;
        let join = |waiting| (waiting < most).then(|| waiting + 1);
        line.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, join).ok()?;
        line.units.fetch_add(cost.into(), Ordering::AcqRel);
        fence(Ordering::SeqCst);
        Some(Self { limiter: Arc::clone(limiter), cost, has_turn: false })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let line = &self.limiter.line;
        line.waiting.fetch_sub(1, Ordering::SeqCst);
        line.units.fetch_sub(self.cost.into(), Ordering::AcqRel);
        if self.has_turn {
            line.turn.notify_one();
        }
    }
}

pin_project! {
    /// Waits in the line for a permit. The order is that of the first polls.
    pub(super) struct Ticket {
        // Before `place`, so that a turn that was handed to a ticket which is being
        // dropped goes on by itself.
        #[pin]
        stage: Stage,
        // In line: until our patience ends. At the head: until the next look.
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
        // Our turn, and nothing to take before the timer ends, unless we are stirred.
        Timed { #[pin] stirred: OwnedNotified },
        // Served or turned away; whatever notification still comes goes on to another.
        Done,
    }
}

impl Ticket {
    pub(super) fn new(place: Place, patience: Patience) -> Self {
        let turn = Arc::clone(&place.limiter.line.turn).notified_owned();
        Self { stage: Stage::InLine { turn }, timer: None, place: Some(place), patience }
    }
}

/// How much longer than its patience a call stays in the line: where the patience of
/// several ends when units come free, the turn must get through to the last of them.
const GRACE: Duration = Duration::from_millis(5);

fn expired(timer: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> Poll<()> {
    timer.as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(cx))
}

impl Future for Ticket {
    type Output = Result<Permit, RateLimited>;

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
                    ready!(expired(this.timer.as_mut(), cx));
                    let rejection = place.limiter.give_up(place.cost, *this.patience);
                    this.stage.set(Stage::Done);
                    *this.place = None;
                    return Poll::Ready(Err(rejection));
                }
                StageProject::Head => {
                    let result = match place.limiter.retake(place.cost, *this.patience) {
                        Ok(permit) => Ok(permit),
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
                    if expired(this.timer.as_mut(), cx).is_pending()
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
