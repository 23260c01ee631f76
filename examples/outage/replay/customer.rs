//! A client and its own provider, and what came of its requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_upstream::BoxError;

use super::clients::{Client, Counters, Wire, wire};
use super::clock::Clock;
use super::ledger::Invoice;
use super::load;
use super::network::Network;
use super::provider::{Provider, REQUEST_ID, base_url};
use super::timeline::REGIONS;

/// What came of a request, for the one who asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) offered: Duration,
    pub(crate) ended: Duration,
    /// The number that the provider gave the call that was answered.
    pub(crate) answered: Option<u64>,
}

/// How a client stands while the morning goes on.
pub(crate) struct RegionView {
    pub(crate) name: &'static str,
    pub(crate) succeeded: usize,
    pub(crate) failed: usize,
}

/// What a client sent.
pub(crate) struct Sent {
    /// How many requests were sent at least once.
    pub(crate) requests: u64,
    /// How often one was sent.
    pub(crate) attempts: u64,
    pub(crate) by_region: BTreeMap<&'static str, u64>,
}

pub(crate) struct Customer {
    pub(crate) name: &'static str,
    client: Client,
    /// The regions' base URLs. The primary's is what requests are for; a client that knows of
    /// the others finds its own way.
    bases: Vec<String>,
    provider: Arc<Provider>,
    counters: Arc<Mutex<Counters>>,
    outcomes: Mutex<Vec<Outcome>>,
}

impl Customer {
    /// Opens a provider for a client, which is made of its innermost service and the regions'
    /// base URLs.
    pub(crate) fn new(
        name: &'static str,
        network: &Network,
        clock: Clock,
        seed: u64,
        make: impl FnOnce(Wire, &[String]) -> Result<Client, BoxError>,
    ) -> Result<Self, BoxError> {
        let (provider, bases) = Provider::open(network, clock, name, seed)?;
        let (wire, counters) = wire(network);
        let client = make(wire, &bases)?;
        Ok(Self { name, client, bases, provider, counters, outcomes: Mutex::default() })
    }

    /// Waits until people have received what there is to receive, but no longer than that.
    pub(crate) async fn flush(&self, deadline: Duration) {
        if let Some(alerts) = &self.client.alerts {
            alerts.flush(deadline).await;
        }
    }

    pub(crate) fn outcomes(&self) -> Vec<Outcome> {
        self.outcomes.lock().unwrap().clone()
    }

    /// What went out, by region.
    pub(crate) fn sent(&self) -> Sent {
        let counters = self.counters.lock().unwrap();
        let attempts = |base: &String| {
            let mut at = counters.by_authority.iter().filter(|(at, _)| base_url(at) == *base);
            at.next().map_or(0, |(_, attempts)| *attempts)
        };
        Sent {
            requests: counters.sent.len() as u64,
            attempts: counters.attempts,
            by_region: REGIONS.into_iter().zip(self.bases.iter().map(attempts)).collect(),
        }
    }

    pub(crate) fn view(&self) -> RegionView {
        let outcomes = self.outcomes.lock().unwrap();
        let succeeded = outcomes.iter().filter(|outcome| outcome.answered.is_some()).count();
        let failed = outcomes.len() - succeeded;
        RegionView { name: self.name, succeeded, failed }
    }

    pub(crate) fn invoice(&self) -> Invoice {
        self.provider.invoice()
    }

    /// Asks for everything, each at its time, and waits for the last reply.
    pub(crate) async fn morning(self: Arc<Self>, clock: Clock, arrivals: &[Duration]) {
        let mut requests = tokio::task::JoinSet::new();
        for (number, offered) in arrivals.iter().copied().enumerate() {
            clock.wait_until(Some(offered)).await;
            let customer = Arc::clone(&self);
            requests.spawn(async move {
                let answered = customer.ask(number).await.ok();
                let outcome = Outcome { offered, ended: clock.elapsed(), answered };
                customer.outcomes.lock().unwrap().push(outcome);
            });
        }
        requests.join_all().await;
    }

    /// One request. The number of the call that answered it.
    async fn ask(&self, number: usize) -> Result<u64, BoxError> {
        let request = load::request(&self.bases[0], self.name, number)?;
        let response = self.client.service.clone().oneshot(request).await?;
        if response.status() != StatusCode::OK {
            return Err(response.status().as_str().into());
        }
        let id = response.headers().get(REQUEST_ID).ok_or("a reply without a number")?;
        let id = id.to_str()?.parse()?;
        response.into_body().collect().await?;
        Ok(id)
    }
}
