//! A bare client and the full stacks, over loopback sockets.

use std::time::Instant;

use benches::measure::loopback::{AT_ONCE, call, client, runtime, serve, stacked, upstream_of};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn real(criterion: &mut Criterion) {
    let (runtime, server) = (runtime(), serve());
    let (bare, stack, upstream) = (client(), stacked(server), upstream_of(server));
    let mut group = criterion.benchmark_group("real");
    for at_once in AT_ONCE {
        group.bench_function(BenchmarkId::new("bare", at_once), |bencher| {
            bencher.iter_custom(|calls| {
                let start = Instant::now();
                runtime.block_on(call(&bare, server, calls, at_once));
                start.elapsed()
            });
        });
        group.bench_function(BenchmarkId::new("stack", at_once), |bencher| {
            bencher.iter_custom(|calls| {
                let start = Instant::now();
                runtime.block_on(call(&stack, server, calls, at_once));
                start.elapsed()
            });
        });
        group.bench_function(BenchmarkId::new("upstream", at_once), |bencher| {
            bencher.iter_custom(|calls| {
                let start = Instant::now();
                runtime.block_on(call(&upstream, server, calls, at_once));
                start.elapsed()
            });
        });
    }
}

criterion_group!(benches, real);
criterion_main!(benches);
