//! Cost of a call through each layer, and through each peer.

use std::time::Instant;

use benches::measure::loopback::runtime;
use benches::rows::rows;
use criterion::{Criterion, criterion_group, criterion_main};

fn overhead(criterion: &mut Criterion) {
    // For the timers of the stack.
    let runtime = runtime();
    let _within = runtime.enter();
    let mut group = criterion.benchmark_group("overhead");
    for row in rows() {
        let mut subject = row.subject();
        group.bench_function(&row.name, |bencher| {
            bencher.iter_custom(|calls| {
                let start = Instant::now();
                subject.call(calls);
                start.elapsed()
            });
        });
    }
}

criterion_group!(benches, overhead);
criterion_main!(benches);
