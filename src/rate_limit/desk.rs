use std::ops::{Deref, DerefMut};

use super::lane::Lane;
use super::meter::Paced;
use crate::sync::{Mutex, MutexGuard};

/// The books under their lock, and the lane beside it.
#[derive(Debug)]
pub(super) struct Desk<B: Lend> {
    /// `None` if there was nothing to lend when this was made.
    pub(super) lane: Option<Lane>,
    books: Mutex<B>,
}

/// Books that can lend their one number to the lane.
pub(super) trait Lend {
    /// The paced quota, if it alone decides.
    fn loan(&self) -> Option<&Paced>;

    /// Takes back the arrival time that was lent, as it is now.
    fn take_back(&mut self, arrival: u64);
}

/// The books, with nothing lent. On drop the paced number is lent to the lane again, if it alone
/// decides.
pub(super) struct Open<'a, B: Lend> {
    lane: Option<&'a Lane>,
    books: MutexGuard<'a, B>,
}

impl<B: Lend> Desk<B> {
    pub(super) fn new(books: B) -> Self {
        let lane = books.loan().map(|loan| Lane::new(loan.pace()));
        let desk = Self { lane, books: Mutex::new(books) };
        drop(desk.books());
        desk
    }

    #[inline]
    pub(super) fn books(&self) -> Open<'_, B> {
        let mut books = self.books.lock();
        if let Some(lane) = &self.lane
            && let Some(arrival) = lane.take_back()
        {
            books.take_back(arrival);
        }
        Open { lane: self.lane.as_ref(), books }
    }
}

impl<B: Lend> Drop for Open<'_, B> {
    #[inline]
    fn drop(&mut self) {
        if let Some(lane) = self.lane
            && let Some(loan) = self.books.loan()
        {
            lane.lend(loan);
        }
    }
}

impl<B: Lend> Deref for Open<'_, B> {
    type Target = B;

    fn deref(&self) -> &B {
        &self.books
    }
}

impl<B: Lend> DerefMut for Open<'_, B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.books
    }
}
