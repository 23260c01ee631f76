//! The scope that a thread runs in.

use std::cell::Cell;

use super::CallScope;
use crate::time::{self, Instant};

/// How the current scope came to be current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// There is no current scope.
    Outside,
    /// Around an inner `call`: a layer called now belongs to this scope.
    Call,
    /// Around an inner `poll`: a layer called now is called for something else.
    Poll,
}

/// The scope that this thread runs in. The mode is a cell of its own because most callers only read
/// that.
struct Current {
    mode: Cell<Mode>,
    scope: Cell<CallScope>,
    /// The reading of the clock by the first layer that asked, while a call goes down the stack.
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

/// A guard: while it exists, its scope is current. On drop, also in a panic, the scope takes over
/// what was noted, and the outer scope is restored.
pub(crate) struct Within<'a> {
    scope: &'a mut CallScope,
    outer_mode: Mode,
    outer: Option<CallScope>,
}

impl Current {
    /// Changes the mode, and returns the previous one. Clears the reading of the clock, which is
    /// good for one way down only, unless this goes further down.
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
    pub(super) fn new(scope: &'a mut CallScope, mode: Mode) -> Self {
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

/// The current scope, if its mode is one of those asked for.
#[inline]
pub(super) fn current_if(is: impl FnOnce(Mode) -> bool) -> Option<CallScope> {
    CURRENT.with(|current| is(current.mode.get()).then(|| current.scope.get()))
}

/// The time now. The layers that a call passes on its way down share one reading of the clock.
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

/// Notes for the layers above that the call is being sent.
#[inline]
pub(crate) fn note_sent(at: Instant) {
    note(|scope| scope.sent_at = Some(at));
}

/// Notes for the layers above whether the call waits in a queue of this crate.
pub(crate) fn note_queued(queued: bool) {
    note(|scope| scope.queued = queued);
}

/// Notes for the layers above which region failed, and whether another one should
/// be tried at once.
pub(crate) fn note_region(region: usize, rejected: bool, elsewhere: bool) {
    note(|scope| {
        scope.tried.push_failed(region, rejected);
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
