use benches::measure::loopback;
use benches::measure::overhead::Overhead;
use benches::measure::pairs::{Pairs, pairs};
use benches::rows::Row;
use benches::subject::Cloned;

use crate::run::Run;

/// Prints a table for each request, without observers and with one.
pub(crate) fn print(run: &Run) {
    if run.instructions.is_none() {
        println!("No instructions: valgrind isn't installed (apt-get install valgrind).");
    }
    for (realistic, request) in [(false, "Empty request"), (true, "Realistic request")] {
        for (observed, received) in [(false, ""), (true, ", with an observer")] {
            println!("\n{request}{received}");
            let shown =
                |row: &Row| (row.is_realistic(), row.is_observed()) == (realistic, observed);
            print_rows(run, shown);
        }
    }
    println!("\nThroughput of bare on two threads, relative to one: {}", known(run.cores(), 2));
    println!("Below 2 the machine was busy, and the shares of bare are too large.");
    println!("\n{:<52} {:>8} {:>8}", "Over hyper-util's client, bytes", "service", "future");
    for (name, sizes) in loopback::sizes() {
        println!("{name:<52} {:>8} {:>8}", sizes.service, sizes.future);
    }
}

fn print_rows(run: &Run, shown: impl Fn(&Row) -> bool) {
    println!(
        "{:<46} {:>8} {:>13} {:>8} {:>12} {:>25} {:>14} {:>8} {:>7}",
        "",
        "ns",
        "instructions",
        "- bare",
        "allocations",
        "2 threads, share of bare",
        "cloned a call",
        "service",
        "future",
    );
    for (at, row) in run.rows.iter().enumerate().filter(|(_, row)| shown(row)) {
        let Overhead { ns, allocations } = run.overheads[at];
        let instructions = run.instructions.as_ref().map(|counts| counts[at]);
        let above = run.above(&row.name, &row.bare()).and_then(|above| above.instructions);
        let share = |cloned| run.share_of_bare(&row.name, cloned);
        let sizes = row.subject().sizes();
        println!(
            "{:<46} {ns:>8.1} {:>13} {:>8} {allocations:>12.2} {:>25} {:>14} {:>8} {:>7}  {}",
            row.name,
            known(instructions, 0),
            known(above, 0),
            known(share(Cloned::ATask), 3),
            known(share(Cloned::ACall), 3),
            sizes.service,
            sizes.future,
            row.about,
        );
    }
}

/// Formats a number with this number of digits; an empty string for `None`.
pub(crate) fn known(number: Option<f64>, digits: usize) -> String {
    number.map(|number| format!("{number:.digits$}")).unwrap_or_default()
}

/// Prints each stack compared with the bare client, over real sockets.
pub(crate) fn print_pairs() {
    println!("Over loopback HTTP/1, in interleaved pairs with the bare client");
    println!(
        "{:<10} {:>16} {:>18} {:>18} {:>20} {:>10}",
        "",
        "calls at a time",
        "ratio of calls a s",
        "at least, by 95 %",
        "processor time a call",
        "bare"
    );
    for at_once in loopback::AT_ONCE {
        print_pair("stack", at_once, pairs(loopback::stacked, at_once));
        print_pair("upstream", at_once, pairs(loopback::upstream_of, at_once));
    }
}

fn print_pair(name: &str, at_once: u64, measured: Pairs) {
    let Pairs { ratio, lower_bound, bare_cpu, stack_cpu } = measured;
    println!(
        "{name:<10} {at_once:>16} {ratio:>18.3} {lower_bound:>18.3} {stack_cpu:>20.1?} {bare_cpu:>10.1?}"
    );
}
