//! A list that only grows: what is in it keeps its number for as long as the list lives.

use std::sync::OnceLock;

/// What is there from the start lies in one piece. What is put in later lies in another, which is
/// allocated when it is first needed.
#[derive(Debug)]
pub(super) struct Slots<T> {
    first: Box<[T]>,
    later: OnceLock<Box<[OnceLock<Box<T>>]>>,
}

/// How many can be put in later.
pub(super) const ROOM: usize = 1024;

impl<T> Slots<T> {
    pub(super) fn new(first: impl IntoIterator<Item = T>) -> Self {
        Self { first: first.into_iter().collect(), later: OnceLock::new() }
    }

    #[inline]
    pub(super) fn get(&self, number: usize) -> Option<&T> {
        match number.checked_sub(self.first.len()) {
            None => self.first.get(number),
            Some(later) => self.later.get()?.get(later)?.get().map(|slot| &**slot),
        }
    }

    /// All in the order of their numbers. It ends at the first number of the later ones that is empty.
    #[inline]
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        let later = self.later.get().map_or(&[][..], |later| &**later);
        self.first.iter().chain(later.iter().map_while(|slot| slot.get().map(|slot| &**slot)))
    }

    /// Puts a value in at this number. Returns false if there is one already, or there is no room.
    pub(super) fn put(&self, number: usize, value: T) -> bool {
        let empty = || (0..ROOM).map(|_| OnceLock::new()).collect();
        let later = number.checked_sub(self.first.len());
        later.is_some_and(|later| {
            let slots = self.later.get_or_init(empty);
            slots.get(later).is_some_and(|slot| slot.set(Box::new(value)).is_ok())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay() {
        let slots = Slots::new(["a", "b"]);
        assert_eq!((slots.get(0), slots.get(1), slots.get(2)), (Some(&"a"), Some(&"b"), None));
        assert!(!slots.put(1, "taken"));
        assert!(slots.put(2, "c") && !slots.put(2, "taken"));
        assert!(slots.put(ROOM + 1, "far") && !slots.put(ROOM + 2, "too far"));
        assert!(!slots.put(usize::MAX, "too far"));
        assert_eq!((slots.get(2), slots.get(ROOM + 1)), (Some(&"c"), Some(&"far")));
        assert_eq!(slots.iter().copied().collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
