use std::ops::{Deref, DerefMut};

use super::Quota;
use super::books::Books;
use super::lane::Lane;
use crate::sync::{Mutex, MutexGuard};

/// The books under their lock, and the lane beside it.
#[derive(Debug)]
pub(super) struct Desk {
    /// Where the only quota was paced when this was made.
    pub(super) lane: Option<Lane>,
    books: Mutex<Books>,
}

/// The books, with nothing lent. What alone decides by the end is lent again.
pub(super) struct Open<'a> {
    lane: Option<&'a Lane>,
    books: MutexGuard<'a, Books>,
}

impl Desk {
    pub(super) fn new(quotas: &[Quota]) -> Self {
        let books = Books::new(quotas);
        let lane = books.loan().map(|loan| Lane::new(loan.pace()));
        let desk = Self { lane, books: Mutex::new(books) };
        drop(desk.books());
        desk
    }

    #[inline]
    pub(super) fn books(&self) -> Open<'_> {
        let mut books = self.books.lock();
        if let Some(lane) = &self.lane
            && let Some(arrival) = lane.take_back()
        {
            books.take_back(arrival);
        }
        Open { lane: self.lane.as_ref(), books }
    }
}

impl Drop for Open<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(lane) = self.lane
            && let Some(loan) = self.books.loan()
        {
            lane.lend(loan);
        }
    }
}

impl Deref for Open<'_> {
    type Target = Books;

    fn deref(&self) -> &Books {
        &self.books
    }
}

impl DerefMut for Open<'_> {
    fn deref_mut(&mut self) -> &mut Books {
        &mut self.books
    }
}
