use benches::subject::Cloned;
use serde_json::{Value, json};

use crate::run::Run;

/// Returns one object: `rows`, per call, and `contended`, of all tasks together.
pub(crate) fn of(run: &Run) -> Value {
    let rows = run.rows.iter().zip(&run.overheads).enumerate().map(|(at, (row, overhead))| {
        let instructions = run.instructions.as_ref().map(|counts| counts[at].round() as u64);
        json!({
            "name": row.name,
            "ns": overhead.ns,
            "allocs": overhead.allocations,
            "instructions": instructions,
        })
    });
    let contended = run.contended.iter().map(|one| {
        let name = match one.sharing.cloned {
            Cloned::ATask => one.name.clone(),
            Cloned::ACall => format!("{}_cloned_a_call", one.name),
        };
        json!({
            "name": name,
            "threads": one.sharing.threads,
            "calls_per_s": one.calls_per_s,
            "share_of_bare": one.share_of_bare,
        })
    });
    json!({ "rows": rows.collect::<Value>(), "contended": contended.collect::<Value>() })
}
