//! What a call through each layer costs: `cargo bench -p benches`.

use benches::{Visit, call_once, visit_all};
use criterion::{
    BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use http::{Request, Response};
use tower::{BoxError, Service};

struct Group<'a>(BenchmarkGroup<'a, WallTime>);

impl Visit for Group<'_> {
    fn visit<S>(&mut self, name: &'static str, mut subject: S)
    where
        S: Service<Request<()>, Response = Response<()>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        self.0.bench_function(name, |bencher| bencher.iter(|| call_once(&mut subject)));
    }
}

fn overhead(criterion: &mut Criterion) {
    visit_all(&mut Group(criterion.benchmark_group("overhead")));
}

criterion_group!(benches, overhead);
criterion_main!(benches);
