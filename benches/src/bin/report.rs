//! One table of one run: `cargo run --release -p benches`.

use std::time::{Duration, Instant};

use benches::count::{Counting, allocations};
use benches::{Visit, call_once, visit_all};
use http::{Request, Response};
use tower::{BoxError, Service};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CALLS: u32 = 20_000;
const ROUNDS: usize = 15;

struct Report {
    bare: Option<f64>,
}

impl Visit for Report {
    fn visit<S>(&mut self, name: &'static str, mut subject: S)
    where
        S: Service<Request<()>, Response = Response<()>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        for _ in 0..CALLS {
            call_once(&mut subject);
        }
        let before = allocations();
        for _ in 0..CALLS {
            call_once(&mut subject);
        }
        let allocated = (allocations() - before) as f64 / f64::from(CALLS);
        // The fastest round is the one that the machine disturbed least.
        let round = || {
            let start = Instant::now();
            for _ in 0..CALLS {
                call_once(&mut subject);
            }
            start.elapsed()
        };
        let fastest = std::iter::repeat_with(round).take(ROUNDS).min().unwrap_or(Duration::ZERO);
        let ns = fastest.as_secs_f64() * 1e9 / f64::from(CALLS);
        let bare = *self.bare.get_or_insert(ns);
        let (over, size) = (ns - bare, std::mem::size_of::<S::Future>());
        println!("{name:<30} {ns:>8.1} {over:>8.1} {allocated:>8.2} {size:>8}");
    }
}

fn main() {
    println!("{:<30} {:>8} {:>8} {:>8} {:>8}", "", "ns", "- bare", "allocs", "future");
    visit_all(&mut Report { bare: None });
}
