//! The state of a circuit and its counts in one word.

use crate::error::CircuitState;

/// A result would have to be late by exactly 8 million transitions to be taken for a current one.
pub(super) const GENERATIONS: u32 = 1 << 23;

/// The largest count that fits.
pub(super) const MAX_COUNT: u32 = (1 << 19) - 1;

const COUNT_BITS: u32 = 19;
const STATE_SHIFT: u32 = 2 * COUNT_BITS;
const GENERATION_SHIFT: u32 = STATE_SHIFT + 3;

/// The failures that the simple trip policies count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Failures in a row.
    pub(super) consecutive: u32,
    /// The leaky count: up one a failure, down one a success.
    pub(super) leaky: u32,
}

/// The unpacked word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PackedState {
    pub(super) generation: u32,
    pub(super) state: CircuitState,
    pub(super) counts: Counts,
}

impl PackedState {
    pub(super) fn new(generation: u32, state: CircuitState) -> Self {
        Self { generation, state, counts: Counts::default() }
    }

    pub(super) fn pack(self) -> u64 {
        let state: u64 = match self.state {
            CircuitState::Closed => 0,
            CircuitState::Open => 1,
            CircuitState::HalfOpen => 2,
            CircuitState::RampUp => 3,
            CircuitState::ForcedOpen => 4,
            CircuitState::ForcedClosed => 5,
        };
        u64::from(self.generation % GENERATIONS) << GENERATION_SHIFT
            | state << STATE_SHIFT
            | u64::from(self.counts.consecutive.min(MAX_COUNT)) << COUNT_BITS
            | u64::from(self.counts.leaky.min(MAX_COUNT))
    }

    #[allow(clippy::cast_possible_truncation)] // each field is masked to its bits
    pub(super) fn unpack(word: u64) -> Self {
        let state = match (word >> STATE_SHIFT) & 7 {
            0 => CircuitState::Closed,
            1 => CircuitState::Open,
            2 => CircuitState::HalfOpen,
            3 => CircuitState::RampUp,
            4 => CircuitState::ForcedOpen,
            _ => CircuitState::ForcedClosed,
        };
        let count = |shift: u32| (word >> shift) as u32 & MAX_COUNT;
        Self {
            generation: (word >> GENERATION_SHIFT) as u32,
            state,
            counts: Counts { consecutive: count(COUNT_BITS), leaky: count(0) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [CircuitState; 6] = [
        CircuitState::Closed,
        CircuitState::Open,
        CircuitState::HalfOpen,
        CircuitState::RampUp,
        CircuitState::ForcedOpen,
        CircuitState::ForcedClosed,
    ];

    #[test]
    fn packs_and_unpacks() {
        for generation in [0, 1, 77, GENERATIONS - 1] {
            for state in STATES {
                for (consecutive, leaky) in [(0, 0), (1, MAX_COUNT), (MAX_COUNT, 1)] {
                    let counts = Counts { consecutive, leaky };
                    let word = PackedState { generation, state, counts };
                    assert_eq!(PackedState::unpack(word.pack()), word);
                }
            }
        }
    }
}
