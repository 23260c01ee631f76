//! Cost of a call where 64 tasks share one state, on one thread and on two.

use benches::measure::contended::Sharing;
use benches::rows::rows;
use benches::subject::TASKS;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn contended(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("contended");
    for sharing in Sharing::ALL {
        let (runtime, Sharing { threads, cloned }) = (sharing.runtime(), sharing);
        for row in rows().iter().filter(|row| row.is_contended()) {
            let subject = row.subject();
            let id = BenchmarkId::new(&row.name, format!("{threads} threads, cloned {cloned:?}"));
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|calls| {
                    let calls_a_task = calls.div_ceil(TASKS.into());
                    let took = subject.crowd(&runtime, calls_a_task, cloned);
                    took.mul_f64(calls as f64 / (calls_a_task * u64::from(TASKS)) as f64)
                });
            });
        }
    }
}

criterion_group!(benches, contended);
criterion_main!(benches);
