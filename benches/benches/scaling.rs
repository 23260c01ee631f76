//! Cost of a call as windows, keys, regions and queues grow.

use std::time::Instant;

use benches::measure::loopback::runtime;
use benches::rows::scaling::rows;
use criterion::{Criterion, criterion_group, criterion_main};

fn scaling(criterion: &mut Criterion) {
    // For the timer that the first in line sets.
    let runtime = runtime();
    let _within = runtime.enter();
    let mut group = criterion.benchmark_group("scaling");
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

criterion_group!(benches, scaling);
criterion_main!(benches);
