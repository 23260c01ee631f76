//! What choosing a region costs in allocations: nothing, where no path is to be joined.
//!
//! A binary of its own, for the allocator that counts.

#![cfg(feature = "failover")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Ready, ready};

use futures_util::FutureExt;
use http::{Request, Response, Uri};
use tower::{BoxError, Layer, Service, service_fn};
use tower_upstream::failover::{FailoverLayer, Region, Regions};

/// The system's allocator, which counts what each thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends may allocate when its locals are gone.
        _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn reply(request: Request<()>) -> Ready<Result<Response<()>, Infallible>> {
    std::hint::black_box(request);
    ready(Ok(Response::new(())))
}

/// How many allocations a call for this URI makes, among regions with this path.
fn allocations(path: &str, priorities: [u32; 3], uri: &'static str) -> usize {
    let regions = (0..).zip(priorities).map(|(number, priority)| {
        Region::new(format!("r{number}"), format!("https://api{number}.test{path}"))
            .priority(priority)
    });
    // One attempt, so that nothing is kept for another one.
    let layer = FailoverLayer::builder(Regions::new(regions).unwrap()).max_attempts(1);
    let layer = layer.build().unwrap();
    count(layer.layer(service_fn(reply)), uri)
}

fn count(
    mut service: impl Service<Request<()>, Response = Response<()>, Error = BoxError>,
    uri: &'static str,
) -> usize {
    let mut call = || {
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_static(uri);
        let before = ALLOCATIONS.get();
        service.call(request).now_or_never().unwrap().unwrap();
        ALLOCATIONS.get() - before
    };
    // The first call of a thread allocates what the later ones use.
    call();
    call()
}

#[test]
fn a_call_allocates_nothing_but_a_joined_path() {
    for priorities in [[1, 2, 3], [1, 1, 1]] {
        assert_eq!(allocations("", priorities, "https://api0.test/models"), 0);
        assert_eq!(allocations("", priorities, "/models"), 0);
        assert_eq!(allocations("/v1", priorities, "/models"), 1);
    }
}

#[test]
fn nor_does_one_with_a_client_a_region_that_is_ready() {
    let regions = [Region::new("r0", "https://api0.test"), Region::new("r1", "https://api1.test")];
    let layer = FailoverLayer::new(Regions::new(regions).unwrap());
    assert_eq!(count(layer.services(|_| service_fn(reply)), "/models"), 0);
}
