//! The bare client and a full stack over real sockets, in pairs, so that other load on the machine
//! affects both of a pair.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Runtime;
use tower::{BoxError, Service};

use super::loopback::{call, client, runtime, serve};
use super::median::{lower_bound, median};

const PAIRS: usize = 30;
const CALLS: u64 = 5_000;

/// The stack compared with the bare client.
#[derive(Clone, Copy, Debug)]
pub struct Pairs {
    /// Ratio of the calls per second, stack to bare client, in the median pair.
    pub ratio: f64,
    /// Lower bound of the true median, with a confidence of 95 %.
    pub lower_bound: f64,
    /// Processor time of the client per call, in the median pair.
    pub bare_cpu: Duration,
    pub stack_cpu: Duration,
}

/// One side of a pair.
struct Side {
    calls_per_s: f64,
    cpu: Duration,
}

/// Measures 30 pairs with this number of concurrent calls; half of them begin with the stack. `stack`
/// returns the stack over a client of the server.
pub fn pairs<S>(stack: impl FnOnce(SocketAddr) -> S, at_once: u64) -> Pairs
where
    S: Service<Request<Full<Bytes>>, Response = Response<Incoming>, Error: Into<BoxError>> + Clone,
{
    let (runtime, server) = (runtime(), serve());
    let (bare, stack) = (client(), stack(server));
    let side_of_bare = || side(&runtime, &bare, server, at_once);
    let side_of_stack = || side(&runtime, &stack, server, at_once);
    // Connects, and warms up.
    _ = (side_of_bare(), side_of_stack());
    let pairs: Vec<_> = (0..PAIRS)
        .map(|pair| {
            if pair % 2 == 0 {
                let bare = side_of_bare();
                (bare, side_of_stack())
            } else {
                let stack = side_of_stack();
                (side_of_bare(), stack)
            }
        })
        .collect();
    let ratios: Vec<_> =
        pairs.iter().map(|(bare, stack)| stack.calls_per_s / bare.calls_per_s).collect();
    let cpu = |of: fn(&(Side, Side)) -> Duration| {
        let seconds: Vec<_> = pairs.iter().map(|pair| of(pair).as_secs_f64()).collect();
        Duration::from_secs_f64(median(&seconds))
    };
    Pairs {
        ratio: median(&ratios),
        lower_bound: lower_bound(&ratios),
        bare_cpu: cpu(|(bare, _)| bare.cpu),
        stack_cpu: cpu(|(_, stack)| stack.cpu),
    }
}

fn side<S>(runtime: &Runtime, service: &S, server: SocketAddr, at_once: u64) -> Side
where
    S: Service<Request<Full<Bytes>>, Response = Response<Incoming>> + Clone,
    S::Error: Into<BoxError>,
{
    let (start, cpu) = (Instant::now(), cpu_time());
    runtime.block_on(call(service, server, CALLS, at_once));
    let calls_per_s = CALLS as f64 / start.elapsed().as_secs_f64();
    Side { calls_per_s, cpu: (cpu_time() - cpu).div_f64(CALLS as f64) }
}

/// Returns the processor time of this thread; the server runs on another.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}
