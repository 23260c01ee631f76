use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::*;
use crate::time;

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
