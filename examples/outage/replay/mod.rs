//! One morning: servers, clients and what came of it.

pub(crate) mod check;
mod clients;
pub(crate) mod clock;
pub(crate) mod customer;
mod ledger;
mod load;
pub(crate) mod network;
mod provider;
pub(crate) mod receivers;
pub(crate) mod report;
mod server;
pub(crate) mod timeline;

use std::sync::Arc;
use std::time::Duration;

use tower_upstream::BoxError;

use self::clients::{Layered, by_hand, layered, naive, plain};
use self::clock::{Clock, Pace};
use self::customer::{Customer, RegionView};
use self::network::Network;
use self::receivers::Receivers;
use self::report::Report;

/// Everything of one morning.
pub(crate) struct Morning {
    pub(crate) clock: Clock,
    pub(crate) receivers: Receivers,
    customers: [Arc<Customer>; 3],
    arrivals: Vec<Duration>,
}

/// How long the last alerts may take.
const FLUSH: Duration = Duration::from_secs(60);

/// Plays a morning, and tells who watches when it begins.
pub(crate) fn play(
    pace: Pace,
    seed: u64,
    watch: impl FnOnce(&Arc<Morning>),
) -> Result<Report, BoxError> {
    let network = match pace {
        Pace::Virtual => Network::memory(),
        Pace::Faster(_) => Network::Sockets,
    };
    // What the crate draws by chance comes from here; all of it in this thread.
    fastrand::seed(seed);
    clock::run(pace, async move {
        let morning = Arc::new(Morning::prepare(&network, seed)?);
        watch(&morning);
        Ok(morning.play().await)
    })?
}

impl Morning {
    /// Opens the servers and makes the clients.
    fn prepare(network: &Network, seed: u64) -> Result<Self, BoxError> {
        let clock = Clock::start();
        let (receivers, slack, pager_duty) = Receivers::open(network, clock)?;
        let naive = Customer::new("naive", network, clock, seed, |wire, _| Ok(naive(wire)))?;
        let by_hand = Customer::new("by_hand", network, clock, seed, |wire, _| Ok(by_hand(wire)))?;
        let layered = Customer::new("layered", network, clock, seed, |wire, bases| {
            let plain = plain(network);
            Ok(layered(Layered { wire, plain, bases, slack, pager_duty })?)
        })?;
        let customers = [naive, by_hand, layered].map(Arc::new);
        Ok(Self { clock, receivers, customers, arrivals: load::arrivals(seed) })
    }

    /// How the clients stand by now.
    pub(crate) fn standings(&self) -> [RegionView; 3] {
        self.customers.each_ref().map(|customer| customer.view())
    }

    async fn play(&self) -> Report {
        let customers = self.customers.iter();
        futures_util::future::join_all(
            customers.map(|customer| Arc::clone(customer).morning(self.clock, &self.arrivals)),
        )
        .await;
        self.clock.wait_until(Some(timeline::length())).await;
        for customer in &self.customers {
            customer.flush(FLUSH).await;
        }
        Report::of(self)
    }
}
