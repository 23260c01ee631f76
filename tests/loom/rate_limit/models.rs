//! What must hold in every interleaving.

use loom::sync::Arc;
use loom::thread;

use super::Quota;
use super::desk::{Desk, Lend};
use super::meter::{Pace, Paced};

/// Books that are a paced quota alone, and lend it unless somebody waits.
struct Books {
    paced: Paced,
    waiting: bool,
}

impl Lend for Books {
    fn loan(&self) -> Option<&Paced> {
        (!self.waiting).then_some(&self.paced)
    }

    fn take_back(&mut self, arrival: u64) {
        self.paced.arrival = arrival;
    }
}

/// Time stands still in every model.
const NOW: u64 = 1_000_000_000;

/// One unit a second, and so many at once.
fn desk(burst: u32) -> Arc<Desk<Books>> {
    let paced = Paced::since(0, Pace::new(&Quota::per_second(1), burst));
    Arc::new(Desk::new(Books { paced, waiting: false }))
}

/// A call passes by the lane or by the books: its mark.
fn pass(desk: &Desk<Books>) -> Option<u64> {
    let by_lane = desk.lane.as_ref().and_then(|lane| lane.pass(NOW, 1));
    by_lane.map(|passage| passage.mark).or_else(|| {
        let mut books = desk.books();
        books.paced.admit(NOW, 0, 1).ok()?;
        Some(books.paced.send(NOW, 1))
    })
}

/// Runs each on a thread of its own, the first on this one, and tells what they made of it.
fn on_threads<T: 'static, const N: usize>(
    desk: &Arc<Desk<Books>>,
    threads: [fn(&Desk<Books>) -> T; N],
) -> Vec<T> {
    let others: Vec<_> = threads[1..]
        .iter()
        .map(|other| {
            let (desk, other) = (Arc::clone(desk), *other);
            thread::spawn(move || other(&desk))
        })
        .collect();
    let mine = threads[0](desk);
    std::iter::once(mine).chain(others.into_iter().map(|other| other.join().unwrap())).collect()
}

#[test]
fn no_unit_is_lost_or_won_between_the_lane_and_the_books() {
    loom::model(|| {
        let desk = desk(2);
        let calls = |desk: &Desk<Books>| usize::from(pass(desk).is_some());
        let looks = |desk: &Desk<Books>| {
            // Somebody who looks at the books, and takes a unit in hand meanwhile.
            let mut books = desk.books();
            let taken = books.paced.admit(NOW, 0, 1).is_ok();
            if taken {
                books.paced.send(NOW, 1);
            }
            usize::from(taken)
        };
        let passed = on_threads(&desk, [calls, calls, looks]);
        assert_eq!(passed.iter().sum::<usize>(), 2);
        assert_eq!(desk.books().paced.used(NOW), 2);
    });
}

/// A call that never leaves.
fn refused(desk: &Desk<Books>) {
    if let Some(mark) = pass(desk) {
        desk.books().paced.give_back(NOW, 1, NOW, Some(mark));
    }
}

#[test]
fn what_is_given_back_beside_other_calls_is_no_more_than_was_taken() {
    loom::model(|| {
        let desk = desk(2);
        let calls = |desk: &Desk<Books>| {
            pass(desk).expect("there is one for each");
        };
        on_threads(&desk, [refused, calls]);
        // At one moment nothing is replenished, so all of it came back.
        assert_eq!(desk.books().paced.used(NOW), 1);
        assert!(pass(&desk).is_some() && pass(&desk).is_none());
    });
}

#[test]
fn what_is_given_back_beside_another_that_is_comes_back_whole() {
    loom::model(|| {
        let desk = desk(2);
        on_threads(&desk, [refused, refused]);
        assert_eq!(desk.books().paced.used(NOW), 0);
    });
}

#[test]
fn nobody_passes_by_the_lane_while_somebody_waits() {
    loom::model(|| {
        let desk = desk(3);
        let waits = |desk: &Desk<Books>| {
            desk.books().waiting = true;
            let passed = desk.lane.as_ref().is_some_and(|lane| lane.pass(NOW, 1).is_some());
            desk.books().waiting = false;
            assert!(!passed);
        };
        let calls = |desk: &Desk<Books>| _ = pass(desk);
        on_threads(&desk, [waits, calls]);
        assert_eq!(desk.books().paced.used(NOW), 1);
    });
}
