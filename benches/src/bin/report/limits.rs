//! Limits of the rows of this crate, in a committed file.

use std::fmt::Write as _;
use std::fs;

use tower::BoxError;

use crate::run::{Above, Run};
use crate::table::known;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/limits.txt");

/// Instruction counts differ between compilers, so they are checked only with the compiler that set
/// the limits.
const RUSTC: &str = env!("RUSTC_VERSION");

/// Tolerance, as a share of the measured instructions. Counts vary only with the seeds of hash tables
/// and with the C library's choice of functions for the processor.
const MARGIN: f64 = 0.05;

pub(crate) struct Limits {
    rustc: String,
    each: Vec<InstructionLimit>,
}

/// The limit of one row, relative to another row.
struct InstructionLimit {
    name: String,
    over: String,
    measured: Above,
    goal: Above,
}

impl Limits {
    /// Reads the limits from the file.
    pub(crate) fn committed() -> Result<Self, BoxError> {
        let text = fs::read_to_string(PATH)?;
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let rustc = lines.next().ok_or("limits.txt has no compiler in its first line")?.to_owned();
        let each = lines.map(|line| {
            InstructionLimit::read(line)
                .ok_or_else(|| format!("invalid line in limits.txt: {line:?}"))
        });
        Ok(Self { rustc, each: each.collect::<Result<_, _>>()? })
    }

    /// Writes the file with the current measurements; the goals stay.
    pub(crate) fn set(mut self, run: &Run) -> Result<(), BoxError> {
        if run.instructions.is_none() {
            return Err("valgrind is needed to set limits: apt-get install valgrind".into());
        }
        for limit in &mut self.each {
            if let Some(measured) = run.above(&limit.name, &limit.over) {
                limit.measured = measured;
            }
        }
        let mut text = String::from(HEAD);
        _ = writeln!(text, "{RUSTC}");
        for InstructionLimit { name, over, measured, goal } in &self.each {
            _ = writeln!(text, "{name} {over} {} {}", measured.to_text(), goal.to_text());
        }
        Ok(fs::write(PATH, text)?)
    }

    /// Prints each row with its limit and its goal. Returns the number of rows above their limits.
    pub(crate) fn check(&self, run: &Run) -> usize {
        let same = self.rustc == RUSTC;
        if !same {
            println!(
                "\nInstructions aren't checked: the limits are for {}, this is {RUSTC}.",
                self.rustc
            );
        }
        println!(
            "\n{:<28} {:<23} {:>12} {:>8} {:>6} {:>12} {:>8} {:>6}",
            "Above", "", "instructions", "limit", "goal", "allocations", "limit", "goal"
        );
        self.each.iter().filter(|limit| limit.is_exceeded(run, same)).count()
    }
}

const HEAD: &str = "\
# Cost of a row above another row: row, other row, measured instructions and allocations, and the
# goals for both; - where there is none. The first line is the compiler of the measurements.
# Written by `cargo run --release -p benches -- --limits`; the goals are set by hand.
";

impl InstructionLimit {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().map(str::to_owned);
        let (name, over) = (words.next()?, words.next()?);
        let mut above = || Some(Above::read(&words.next()?, &words.next()?));
        Some(Self { name, over, measured: above()?, goal: above()? })
    }

    fn is_exceeded(&self, run: &Run, same_compiler: bool) -> bool {
        let Self { name, over, measured, goal } = self;
        let Some(now) = run.above(name, over) else {
            println!("{name:<28} or {over} is not a row: correct limits.txt");
            return true;
        };
        let most = measured.instructions.map(|count| count + MARGIN * count.abs());
        let instructions = now.instructions.zip(most).is_some_and(|(now, most)| now > most);
        let allocations =
            now.allocations.zip(measured.allocations).is_some_and(|(now, most)| now > most);
        let passed = allocations || instructions && same_compiler;
        println!(
            "{name:<28} {over:<23} {:>12} {:>8} {:>6} {:>12} {:>8} {:>6}{}",
            known(now.instructions, 0),
            known(most, 0),
            known(goal.instructions, 0),
            known(now.allocations, 2),
            known(measured.allocations, 2),
            known(goal.allocations, 2),
            if passed { "  ABOVE THE LIMIT" } else { "" },
        );
        passed
    }
}

impl Above {
    fn read(instructions: &str, allocations: &str) -> Self {
        Self { instructions: instructions.parse().ok(), allocations: allocations.parse().ok() }
    }

    fn to_text(self) -> String {
        let word = |number, digits| match known(number, digits) {
            known if known.is_empty() => "-".to_owned(),
            known => known,
        };
        format!("{} {}", word(self.instructions, 0), word(self.allocations, 2))
    }
}
