//! What a closed circuit takes in, and what speaks for opening: a list, counted anew each time.

use tower_upstream::circuit_breaker::OpenReason;

use crate::config::{Config, Over, Rate};

/// A result that a closed circuit took in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) at: u64,
    pub(crate) failed: bool,
    pub(crate) slow: bool,
    /// Until when it asked to be left alone.
    pub(crate) asked: u64,
}

/// All of one model_state, and of a ramp before it.
#[derive(Debug)]
pub(crate) struct AllTaken {
    config: Config,
    since: u64,
    all: Vec<Taken>,
}

impl AllTaken {
    pub(crate) fn new(config: Config, since: u64) -> Self {
        Self { config, since, all: Vec::new() }
    }

    /// Takes one more in; why it opens the circuit, if it does.
    pub(crate) fn take(&mut self, taken: Taken) -> Option<OpenReason> {
        self.all.push(taken);
        let config = self.config;
        let reached = |count, at: Option<u64>| taken.failed && at.is_some_and(|at| count >= at);
        if reached(in_a_row(&self.all), config.consecutive()) {
            Some(OpenReason::Consecutive)
        } else if reached(leaky(&self.all), config.leaky) {
            Some(OpenReason::Leaky)
        } else if self.is_over(config.failures, |taken| taken.failed) {
            Some(OpenReason::FailureRate)
        } else {
            let rate = config.slow.map(|(_, rate)| rate);
            self.is_over(rate, |taken| taken.slow).then_some(OpenReason::SlowCallRate)
        }
    }

    /// What counts towards opening, in a row or leaky.
    pub(crate) fn failures(&self) -> u64 {
        self.failures_of(&self.all)
    }

    fn failures_of(&self, taken: &[Taken]) -> u64 {
        let in_a_row = self.config.consecutive().map_or(0, |_| in_a_row(taken));
        in_a_row.max(self.config.leaky.map_or(0, |_| leaky(taken)))
    }

    /// Until when it was asked for since all was well.
    pub(crate) fn asked(&self) -> u64 {
        let bad = |taken: &Taken| taken.failed || taken.slow;
        let after = |number: &usize| bad(&self.all[*number]) && self.is_well(&self.all[..*number]);
        let first = (0..self.all.len()).rev().find(after).unwrap_or_default();
        self.all[first..].iter().map(|taken| taken.asked).max().unwrap_or_default()
    }

    /// Whether after these nothing speaks for opening.
    fn is_well(&self, taken: &[Taken]) -> bool {
        let full_of_good = |rate: Rate, bad: fn(&Taken) -> bool| match rate.over {
            Over::Calls(calls) => {
                let good = taken.iter().rev().take_while(|taken| !bad(taken));
                good.count() >= calls as usize
            }
            Over::Time(_) => false,
        };
        self.failures_of(taken) == 0
            && self.config.failures.is_none_or(|rate| full_of_good(rate, |taken| taken.failed))
            && self.config.slow.is_none_or(|(_, rate)| full_of_good(rate, |taken| taken.slow))
    }

    /// Whether the rate is reached by the last result: a bad one, or the one from which on there
    /// are enough.
    fn is_over(&self, rate: Option<Rate>, bad: impl Fn(&Taken) -> bool) -> bool {
        let Some(rate) = rate else { return false };
        let (last, before) = self.all.split_last().expect("one was taken in");
        let fills = (self.window(rate, before).len() as u64) < rate.min_calls;
        let window = self.window(rate, &self.all);
        let all = window.len() as u64;
        let failed = window.into_iter().filter(|taken| bad(taken)).count() as u64;
        (bad(last) || fills) && all >= rate.min_calls && failed * 100 >= rate.at * all
    }

    fn window<'a>(&self, rate: Rate, taken: &'a [Taken]) -> Vec<&'a Taken> {
        match rate.over {
            Over::Calls(calls) => taken.iter().rev().take(calls as usize).collect(),
            Over::Time(bucket) => {
                let number = |at| (at - self.since) / bucket;
                let last = taken.last().map_or(0, |last| number(last.at));
                taken.iter().filter(|taken| number(taken.at) + 64 > last).collect()
            }
        }
    }
}

fn in_a_row(taken: &[Taken]) -> u64 {
    taken.iter().rev().take_while(|taken| taken.failed).count() as u64
}

fn leaky(taken: &[Taken]) -> u64 {
    let step = |count: u64, taken: &Taken| {
        if taken.failed { count + 1 } else { count.saturating_sub(1) }
    };
    taken.iter().fold(0, step)
}
