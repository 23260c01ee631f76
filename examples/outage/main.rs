//! The morning of an outage, replayed over real HTTP.
//!
//! Three clients of the same provider, each with its own key: one that retries without end, one with
//! a hand-written retry, one with this crate's layers. The primary hangs, the limit is
//! halved, regions go down one after the other and come back. At the end a table says what
//! it was worth.
//!
//! `cargo run --release --example outage -- --virtual`, and `--help` for more.

mod cli;
mod live;
pub(crate) mod replay;
pub(crate) mod table;
mod text;

use std::io::{Write, stdout};
use std::process::ExitCode;

use tower_upstream::BoxError;

use self::cli::{Asked, HELP, Options, Seeds};
use self::replay::check::check;
use self::replay::clock::Pace;

/// How much faster than lifetime it goes over sockets.
const FASTER: u32 = 20;

fn main() -> ExitCode {
    let options = match cli::parse(std::env::args().skip(1)) {
        Ok(Asked::Play(options)) => options,
        Ok(Asked::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("{wrong}; --help shows what there is");
            return ExitCode::from(2);
        }
    };
    match play(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the morning couldn't be played: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Plays what was asked for. Whether all of it shows what it has to.
fn play(options: &Options) -> Result<bool, BoxError> {
    let pace = if options.virtually { Pace::Virtual } else { Pace::Faster(FASTER) };
    let mut out = stdout();
    let (seeds, alone) = match &options.seeds {
        Seeds::One(seed) => (*seed..=*seed, true),
        Seeds::Each(seeds) => (seeds.clone(), false),
    };
    let mut all_held = true;
    for seed in seeds {
        let report = replay::play(pace, seed, |morning| {
            if alone && !options.json {
                live::watch(morning);
            }
        })?;
        let shown = check(&report);
        let held = shown.iter().all(|shown| shown.held);
        all_held &= held;
        if options.json {
            writeln!(out, "{}", report.json())?;
        } else if alone {
            table::print(&mut out, &report, &shown)?;
        } else {
            writeln!(out, "{}", table::line(seed, &report, &shown))?;
        }
        if options.json && !held {
            eprintln!("{}", table::line(seed, &report, &shown));
        }
    }
    Ok(all_held)
}
