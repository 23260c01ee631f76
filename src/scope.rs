//! What the layers of one stack share about one logical call.
//!
//! A logical call is what the caller asked for once, however often it is sent.
//! The layers below a retry need to know which attempt this is and when the
//! caller stops waiting; the layers above need to know whether anything left.
//! That can't travel in the request (`reqwest::Request` hides its extensions,
//! and a first insert into `http::Extensions` allocates three times), so it
//! travels beside it, as `tokio::task_local!` and tracing's spans do: a small
//! `Copy` value in a thread-local, set around each inner `call` and `poll`.
//!
//! # Where it reaches, and where not
//!
//! - A `call` made inside an outer layer's `call` belongs to the same logical
//!   call: an inner retry layer passes through, an inner limiter knows the deadline.
//! - A `call` made while a future is *polled* (a token refreshed through another
//!   stack, an `async` block) starts afresh. A middleware of yours that calls
//!   its inner service from an `async` block carries the scope over with
//!   [`CallScope::current`] and [`CallScope::enter`].
//! - It doesn't cross `tokio::spawn` or tower's `Buffer`. Below those, layers
//!   see no deadline and no attempt, and a second retry layer there makes
//!   attempts of its own: keep one retry layer a stack, above the `Buffer`.

use std::cell::Cell;

use crate::time::{self, Instant};

/// What is known about the logical call that is being made.
#[derive(Clone, Copy, Debug)]
pub struct CallScope {
    attempt: u32,
    deadline: Option<Instant>,
    above: Above,
    sent_at: Option<Instant>,
    region: Option<&'static str>,
    tried: Tried,
    elsewhere: bool,
    expired: bool,
}

/// What repeats the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Above {
    Nothing,
    /// A retry loop, which also moves the call from region to region.
    Retry,
    /// A failover below such a loop, which has that for its own regions.
    RetryAndFailover,
}

/// The regions that a call has tried, by number: at most so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tried {
    regions: [u16; Tried::MOST],
    len: u8,
}

impl Tried {
    /// How many regions one call can try.
    pub(crate) const MOST: usize = 7;

    pub(crate) const NONE: Self = Self { regions: [0; Self::MOST], len: 0 };

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.into()
    }

    #[inline]
    pub(crate) fn contains(&self, region: usize) -> bool {
        self.iter().any(|tried| tried == region)
    }

    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.regions[..self.len()].iter().map(|region| usize::from(*region))
    }

    /// Adds a region; past the bound it is forgotten.
    #[inline]
    pub(crate) fn push(&mut self, region: usize) {
        let len = self.len();
        if let (Some(place), Ok(region)) = (self.regions.get_mut(len), region.try_into()) {
            *place = region;
            self.len += 1;
        }
    }
}

/// How the current scope came to be current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// There is none.
    Outside,
    /// Around an inner `call`: a layer called now belongs to this scope.
    Call,
    /// Around an inner `poll`: a layer called now is called for something else.
    Poll,
}

/// The scope that this thread runs in, and how: apart, since what most ask is only the latter.
struct Current {
    mode: Cell<Mode>,
    scope: Cell<CallScope>,
    /// The clock as the first layer to ask has read it, while a call goes down the stack.
    reading: Cell<Option<Instant>>,
}

thread_local! {
    static CURRENT: Current = const {
        Current {
            mode: Cell::new(Mode::Outside),
            scope: Cell::new(CallScope::FIRST),
            reading: Cell::new(None),
        }
    };
}

/// The time that a scope is current. When that is over, also by a panic, the scope takes over
/// what was noted, and the outer one is put back.
pub(crate) struct Within<'a> {
    scope: &'a mut CallScope,
    outer_mode: Mode,
    outer: Option<CallScope>,
}

impl Current {
    /// Changes the mode; what it was. A reading is good for one way down only.
    #[inline]
    fn enter(&self, mode: Mode) -> Mode {
        let outer = self.mode.replace(mode);
        if (outer, mode) != (Mode::Call, Mode::Call) {
            self.reading.set(None);
        }
        outer
    }
}

impl<'a> Within<'a> {
    #[inline]
    fn new(scope: &'a mut CallScope, mode: Mode) -> Self {
        CURRENT.with(|current| {
            let outer_mode = current.enter(mode);
            let outer = (outer_mode != Mode::Outside).then(|| current.scope.get());
            current.scope.set(*scope);
            Self { scope, outer_mode, outer }
        })
    }
}

impl Drop for Within<'_> {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|current| {
            *self.scope = current.scope.get();
            current.mode.set(self.outer_mode);
            if let Some(outer) = self.outer {
                current.scope.set(outer);
            }
        });
    }
}

impl CallScope {
    /// That of a call's first attempt.
    const FIRST: Self = Self {
        attempt: 1,
        deadline: None,
        above: Above::Nothing,
        sent_at: None,
        region: None,
        tried: Tried::NONE,
        elsewhere: false,
        expired: false,
    };

    /// The scope of a call that begins here, or goes on from an outer layer's,
    /// with a deadline that is the earlier of the two.
    #[inline]
    pub(crate) fn begin(outer: Option<Self>, deadline: Option<Instant>) -> Self {
        let mut scope = outer.unwrap_or(Self::FIRST);
        scope.deadline = match (deadline, scope.deadline) {
            (Some(own), Some(outer)) => Some(own.min(outer)),
            (own, outer) => own.or(outer),
        };
        scope
    }

    /// The scope of the call that this code runs within, if a layer of this
    /// crate that keeps one (a retry) stands above.
    #[inline]
    #[must_use]
    pub fn current() -> Option<Self> {
        Self::where_mode(|mode| mode != Mode::Outside)
    }

    /// The scope that an outer layer's `call` hands to this layer's `call`.
    #[inline]
    pub(crate) fn offered() -> Option<Self> {
        Self::where_mode(|mode| mode == Mode::Call)
    }

    #[inline]
    fn where_mode(is: impl FnOnce(Mode) -> bool) -> Option<Self> {
        CURRENT.with(|current| is(current.mode.get()).then(|| current.scope.get()))
    }

    /// Which attempt of the logical call this is; the first is 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the caller stops waiting.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Runs `f`, in which an inner service may be called as part of this logical call.
    ///
    /// For middleware that calls its inner service from an `async` block: take
    /// [`current`](Self::current) in `call`, and wrap the inner `call` in this.
    pub fn enter<R>(self, f: impl FnOnce() -> R) -> R {
        let mut scope = self;
        let _within = scope.calling();
        f()
    }

    /// An inner `call` can be made within this scope, as long as this is held: not in a closure,
    /// which would move the request in and the future out.
    #[inline]
    pub(crate) fn calling(&mut self) -> Within<'_> {
        Within::new(self, Mode::Call)
    }

    /// Runs an inner `poll` in this scope, and takes over what it noted.
    #[inline]
    pub(crate) fn poll<R>(&mut self, f: impl FnOnce() -> R) -> R {
        let _within = Within::new(self, Mode::Poll);
        f()
    }

    /// Ends an attempt that has taken too long: what `end` drops isn't abandoned by
    /// its caller, but timed out.
    pub(crate) fn expire(&mut self, end: impl FnOnce()) {
        self.expired = true;
        self.poll(end);
        self.expired = false;
    }

    /// Whether what is dropped now is an attempt that has taken too long.
    pub(crate) fn has_expired() -> bool {
        Self::current().is_some_and(|scope| scope.expired)
    }

    /// The same scope at its next attempt. One that doesn't go to another region
    /// begins with all of them again.
    pub(crate) fn next_attempt(mut self) -> Self {
        self.attempt = self.attempt.saturating_add(1);
        self.sent_at = None;
        if !std::mem::take(&mut self.elsewhere) {
            self.tried = Tried::NONE;
        }
        self
    }

    /// The region that this attempt goes to, if a failover stands above.
    #[must_use]
    pub const fn region(&self) -> Option<&'static str> {
        self.region
    }

    #[inline]
    pub(crate) fn at_region(mut self, region: &'static str) -> Self {
        self.region = Some(region);
        if self.above == Above::Retry {
            self.above = Above::RetryAndFailover;
        }
        self
    }

    /// The same scope at its next attempt, in another region than this one.
    pub(crate) fn leave(mut self, region: usize) -> Self {
        self.tried.push(region);
        self.elsewhere = true;
        self.next_attempt()
    }

    pub(crate) const fn tried(&self) -> Tried {
        self.tried
    }

    /// Whether a failover below asks for another attempt, at once, in another region.
    pub(crate) const fn goes_elsewhere(&self) -> bool {
        self.elsewhere
    }

    /// The same scope with a retry loop in it; an inner one passes through.
    pub(crate) const fn with_retry(mut self) -> Self {
        self.above = Above::Retry;
        // Those of a failover above are its own.
        self.attempt = 1;
        self.among_new_regions()
    }

    /// The same scope for another set of regions, none of which was tried.
    pub(crate) const fn among_new_regions(mut self) -> Self {
        self.tried = Tried { regions: [0; Tried::MOST], len: 0 };
        self
    }

    /// Whether a retry loop stands above.
    pub(crate) fn has_retry(&self) -> bool {
        self.above != Above::Nothing
    }

    /// Whether that loop moves the call from region to region: no failover stands between.
    pub(crate) fn retry_moves(&self) -> bool {
        self.above == Above::Retry
    }

    /// When this attempt left this crate for the client, if it has.
    #[must_use]
    pub const fn sent_at(&self) -> Option<Instant> {
        self.sent_at
    }
}

/// Now; for the layers that a call passes on its way down one reading of the clock is enough.
#[inline]
pub(crate) fn now() -> Instant {
    CURRENT.with(|current| {
        if current.mode.get() != Mode::Call {
            return time::now();
        }
        current.reading.get().unwrap_or_else(|| {
            let now = time::now();
            current.reading.set(Some(now));
            now
        })
    })
}

/// Tells the layers above that the call is being sent.
#[inline]
pub(crate) fn note_sent(at: Instant) {
    note(|scope| scope.sent_at = Some(at));
}

/// Tells the layers above which region failed, and whether another one should
/// be tried at once.
pub(crate) fn note_region(region: usize, elsewhere: bool) {
    note(|scope| {
        scope.tried.push(region);
        scope.elsewhere = elsewhere;
    });
}

/// Changes the scope that this code runs within, for the layers above to see.
#[inline]
fn note(change: impl FnOnce(&mut CallScope)) {
    CURRENT.with(|current| {
        if current.mode.get() != Mode::Outside {
            let mut scope = current.scope.get();
            change(&mut scope);
            current.scope.set(scope);
        }
    });
}

/// Calls an inner service from a future's `poll`, as part of the logical call
/// that the future belongs to.
///
/// `belongs` is whether the layer's own `call` was [offered](CallScope::offered)
/// a scope: a future of another call that happens to be polled here isn't part
/// of the current one.
#[inline]
pub(crate) fn call_later<R>(belongs: bool, f: impl FnOnce() -> R) -> R {
    /// Puts the mode back, also on a panic.
    struct Restore(Mode);

    impl Drop for Restore {
        #[inline]
        fn drop(&mut self) {
            CURRENT.with(|current| current.mode.set(self.0));
        }
    }

    if !belongs || CURRENT.with(|current| current.mode.get()) == Mode::Outside {
        return f();
    }
    let _restore = Restore(CURRENT.with(|current| current.enter(Mode::Call)));
    f()
}

#[cfg(all(test, feature = "retry"))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

    use super::*;

    impl CallScope {
        fn call<R>(&mut self, f: impl FnOnce() -> R) -> R {
            let _within = self.calling();
            f()
        }
    }

    fn attempt() -> Option<u32> {
        CallScope::current().map(|scope| scope.attempt())
    }

    #[test]
    fn a_call_is_offered_the_scope_and_a_poll_is_not() {
        let mut scope = CallScope::begin(None, None);
        assert!(CallScope::current().is_none());
        scope.call(|| assert!(CallScope::offered().is_some()));
        scope.poll(|| {
            assert!(CallScope::offered().is_none());
            assert!(CallScope::current().is_some());
        });
        assert!(CallScope::current().is_none());
    }

    #[test]
    fn a_scope_within_another_gives_way_to_it_again() {
        let mut outer = CallScope::begin(None, None);
        let mut inner = outer.next_attempt();
        let carried = outer;
        outer.call(|| {
            inner.poll(|| {
                assert_eq!(attempt(), Some(2));
                carried.enter(|| assert!(CallScope::offered().is_some()));
                assert!(CallScope::offered().is_none());
            });
            assert_eq!(attempt(), Some(1));
            assert!(CallScope::offered().is_some());
        });
        assert_eq!((outer.attempt(), inner.attempt()), (1, 2));
        assert!(CallScope::current().is_none());
    }

    #[test]
    fn a_call_goes_on_from_the_one_it_belongs_to() {
        let now = time::now();
        let (soon, late) = (now + Duration::from_secs(1), now + Duration::from_secs(9));
        let until = |outer, own| CallScope::begin(outer, own).deadline();
        assert_eq!(until(None, None), None);
        assert_eq!(until(None, Some(late)), Some(late));
        let outer = CallScope::begin(None, Some(soon)).with_retry().next_attempt();
        assert_eq!(until(Some(outer), None), Some(soon));
        assert_eq!(until(Some(outer), Some(late)), Some(soon));
        assert_eq!(until(Some(CallScope::begin(None, Some(late))), Some(soon)), Some(soon));
        let inner = CallScope::begin(Some(outer), None);
        assert!(inner.has_retry() && inner.attempt() == 2);
        assert!(!CallScope::begin(None, None).has_retry());
    }

    #[cfg(feature = "rate-limit")]
    #[test]
    fn what_an_inner_layer_notes_reaches_the_outer_one() {
        let mut scope = CallScope::begin(None, None);
        let sent = time::now();
        scope.poll(|| call_later(true, || note_sent(sent)));
        assert_eq!(scope.sent_at(), Some(sent));
        assert_eq!(scope.next_attempt().sent_at(), None);
    }

    #[test]
    fn a_call_made_later_is_offered_the_scope_only_where_it_belongs() {
        let mut scope = CallScope::begin(None, None);
        scope.poll(|| {
            call_later(true, || assert!(CallScope::offered().is_some()));
            assert!(CallScope::offered().is_none());
            call_later(false, || assert!(CallScope::offered().is_none()));
        });
        call_later(true, || assert!(CallScope::current().is_none()));
    }

    #[test]
    fn the_clock_is_read_once_on_the_way_down_and_anew_each_time_else() {
        let moves = || {
            let (before, real) = (now(), time::now());
            while time::now() == real {}
            now() > before
        };
        let mut scope = CallScope::begin(None, None);
        let mut inner = scope;
        assert!(moves());
        assert!(!scope.call(moves));
        assert!(!scope.call(|| inner.call(moves)));
        assert!(scope.poll(moves));
        assert!(!scope.poll(|| call_later(true, moves)));
        let first = scope.call(now);
        assert!(moves() && scope.call(now) > first, "a reading is good for one way down");
        let first = scope.poll(|| call_later(true, now));
        assert!(moves() && scope.poll(|| call_later(true, now)) > first);
    }

    #[test]
    fn a_panic_leaves_no_scope_behind() {
        let caught = catch_unwind(|| {
            let mut scope = CallScope::begin(None, None);
            scope.call(|| panic!("an inner service panics"));
        });
        assert!(caught.is_err());
        assert!(CallScope::current().is_none());
    }

    #[test]
    fn a_panic_within_another_scope_puts_that_back() {
        let mut outer = CallScope::begin(None, None);
        let mut inner = outer.next_attempt();
        outer.call(|| {
            let panicking = || call_later(true, || panic!("an inner service panics"));
            let caught = catch_unwind(AssertUnwindSafe(|| inner.poll(panicking)));
            assert!(caught.is_err());
            assert_eq!(attempt(), Some(1));
            assert!(CallScope::offered().is_some());
        });
    }
}
