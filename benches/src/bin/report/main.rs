//! The report on the cost of calls: `cargo run --release -p benches`.
//!
//! | argument | |
//! |---|---|
//! | | a table of one run |
//! | `--json` | the same as one JSON object, and nothing else |
//! | `--rows NAME…` | the same of some rows and the bare service only |
//! | `--check` | the table; fails if a row exceeds its limit, or if a cost grows with the size of the state |
//! | `--chart` | writes the README's chart, `benches/costs.svg` |
//! | `--limits` | sets the limits to the current measurements |
//! | `--real` | the stacks compared with a bare client over real sockets |
//! | `calls NAME N` | N calls of a row, for valgrind and other profilers |

mod chart;
mod growth;
mod json;
mod limits;
mod run;
mod table;

use std::process::ExitCode;

use benches::count::Counting;
use benches::measure::{instructions, loopback};
use tower::BoxError;

use self::limits::Limits;
use self::run::Run;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> Result<ExitCode, BoxError> {
    // Tower's timeout creates its timer in `call`, which needs a runtime.
    let runtime = loopback::runtime();
    let _within = runtime.enter();
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] => _ = report()?,
        ["--check"] if report()? + growth::check()? > 0 => return Ok(ExitCode::FAILURE),
        ["--check"] => {}
        ["--chart"] => chart::save(&Run::now()?)?,
        ["--json"] => println!("{}", json::of(&Run::now()?)),
        ["--rows", ref names @ ..] => println!("{}", json::of(&Run::of_names(names)?)),
        ["--limits"] => Limits::committed()?.set(&Run::now()?)?,
        ["--real"] => table::print_pairs(),
        [instructions::SUBCOMMAND, name, calls] => {
            if !instructions::calls(name, calls.parse()?) {
                return Err(format!("no row is called {name:?}").into());
            }
        }
        _ => return Err("unknown arguments: see benches/src/bin/report/main.rs".into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a table of one run. Returns the number of rows above their limits.
fn report() -> Result<usize, BoxError> {
    let run = Run::now()?;
    table::print(&run);
    Ok(Limits::committed()?.check(&run))
}
