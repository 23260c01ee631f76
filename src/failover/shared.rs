//! What all calls of a service share, and how they choose a region.

use std::sync::Arc;
use std::time::Duration;

use super::ready_race::Next;
use super::region_state::Selection;
use super::request_state::RequestState;
use super::selection::{LazyNow, SelectionCriteria, WhenAllOut};
use super::set::{RegionSet, Slots};
use super::{FailoverLayer, Region};
use crate::error::{InvalidConfig, NoRegionAvailable};
use crate::key::Key;
use crate::replay::{Override, Replay};
use crate::scope::{CallScope, TriedRegions};
use crate::sharded::ShardedArc;
use crate::sync::{AtomicUsize, Ordering};
use crate::time::{self, Instant};
use crate::unready_clone::UnreadyClone;

/// What all calls share.
#[derive(Debug)]
pub(super) struct Shared<S, C, R> {
    clients: Clients<S>,
    /// How many clients were added.
    added: AtomicUsize,
    pub(super) set: Arc<RegionSet>,
    pub(super) classifier: C,
    pub(super) replay: R,
}

#[derive(Debug)]
pub(super) enum Clients<S> {
    One(UnreadyClone<S>),
    /// By the region's number.
    Each(Slots<UnreadyClone<S>>),
}

impl<S: Clone, C: Clone, R: Clone> Shared<S, C, R> {
    pub(super) fn new<K>(
        clients: Clients<S>,
        layer: &FailoverLayer<C, R, K>,
    ) -> Arc<ShardedArc<Self>> {
        Arc::new(ShardedArc::new(Self {
            clients,
            added: AtomicUsize::new(0),
            set: Arc::clone(&layer.set),
            classifier: layer.classifier.clone(),
            replay: layer.replay.clone(),
        }))
    }
}

impl<S: Clone, C, R> Shared<S, C, R> {
    /// A fresh handle on this region's client.
    pub(super) fn client(&self, region: usize) -> S {
        match &self.clients {
            Clients::One(client) => client.unready_clone(),
            Clients::Each(clients) => {
                clients.get(region).expect("a region without a client isn't chosen").unready_clone()
            }
        }
    }

    /// See [`FailoverServices::add`](super::FailoverServices::add).
    pub(super) fn add(&self, region: Region, client: &S) -> Result<(), InvalidConfig> {
        let Clients::Each(clients) = &self.clients else { return Ok(()) };
        let number = self.set.add_unless(region, |number| clients.get(number).is_none())?;
        if !clients.put(number, UnreadyClone::new(client))
            && let Some(unready) = clients.get(number)
        {
            unready.replace(client);
        }
        self.added.fetch_add(1, Ordering::Release);
        self.set.notify_waiters();
        Ok(())
    }

    /// A number that changes whenever a region may have got another client.
    pub(super) fn generation(&self) -> usize {
        self.added.load(Ordering::Acquire)
    }
}

impl<S, C, R> Shared<S, C, R> {
    /// Whether there is a client for this region.
    pub(super) fn can_call(&self, region: usize) -> bool {
        match &self.clients {
            Clients::One(_) => true,
            Clients::Each(clients) => clients.get(region).is_some(),
        }
    }

    /// A call sets out to the first region. Under a retry, which keeps the copy and counts the
    /// attempts, it makes one attempt. Under another failover, which uses the retry for its own regions,
    /// it tries several regions here, as without a retry.
    pub(super) fn set_out<Req>(
        &self,
        key: &impl Key<Req>,
        request: &Req,
        now: &LazyNow,
    ) -> RequestState
    where
        R: Replay<Req>,
    {
        self.set.called();
        let sticky = key.key(request).hashed();
        let most = self.set.settings.config.max_attempts;
        match CallScope::offered() {
            Some(outer) if outer.retry_moves() => {
                let first = self.first(&outer, sticky, now);
                RequestState::new(outer, true, false, most, sticky, first)
            }
            outer => {
                let Override { deadline, max_attempts } = self.replay.overrides(request);
                let deadline = deadline.map(|deadline| time::after(now.get(), deadline));
                let scope = CallScope::begin(outer, deadline).among_new_regions();
                let most = max_attempts.map_or(most, |asked| most.min(asked as usize));
                let idempotent = self.replay.is_idempotent(request);
                let first = self.first(&scope, sticky, now);
                RequestState::new(scope, false, idempotent, most, sticky, first)
            }
        }
    }

    /// Chooses the first region.
    fn first(
        &self,
        scope: &CallScope,
        sticky: Option<u64>,
        now: &LazyNow,
    ) -> Option<Selection<'_>> {
        let tried = scope.tried();
        match self.set.preferred() {
            Some((region, region_state)) if tried.len() == 0 && self.can_call(region) => {
                Some((region, region_state, region_state.begins()))
            }
            _ => self
                .look_around(SelectionCriteria { tried, again: scope.attempt() > 1, sticky }, now),
        }
    }

    pub(super) fn look_around(
        &self,
        criteria: SelectionCriteria,
        now: &LazyNow,
    ) -> Option<Selection<'_>> {
        // If a retry above has tried all regions already, the call begins again with all of them.
        let anew = SelectionCriteria { tried: TriedRegions::NONE, again: true, ..criteria };
        let first = self.choose(&criteria, now);
        first.or_else(|| (criteria.tried.len() > 0).then(|| self.choose(&anew, now)).flatten())
    }

    /// The best region now, where this call is counted.
    pub(super) fn choose(
        &self,
        criteria: &SelectionCriteria,
        now: &LazyNow,
    ) -> Option<Selection<'_>> {
        let mut taken = None;
        while let Some(region) = self.set.find(criteria, now, |region| self.can_call(region)) {
            let region_state = self.set.region_state(region);
            // Another call may have taken the trial first. If there is still no better region, this call
            // joins it.
            let joins = || (taken == Some(region)).then(|| region_state.begins_chosen(None));
            if let Some(attempt) = self.set.begins(region_state, now).or_else(joins) {
                return Some((region, region_state, attempt));
            }
            taken = Some(region);
        }
        None
    }

    /// Until when a call without an available region waits: until the first one is probed. An error if
    /// calls aren't to wait, or the deadline is sooner. If a region is back sooner, the call is woken.
    pub(super) fn wait(&self, request_state: &RequestState) -> Result<Instant, NoRegionAvailable> {
        let now = LazyNow::default();
        let Some(back) = self.set.back_in(&now, |region| self.can_call(region)) else {
            return Err(NoRegionAvailable::new(Duration::ZERO));
        };
        let deadline = request_state.scope.deadline();
        let expected = time::after(now.get(), back.expected);
        if self.set.settings.when_all_out != WhenAllOut::Wait
            || deadline.is_some_and(|deadline| deadline <= expected)
        {
            return Err(NoRegionAvailable::new(back.expected));
        }
        let latest = time::after(now.get(), back.latest);
        Ok(deadline.map_or(latest, |deadline| deadline.min(latest)))
    }

    /// The client of the next selection, of the regions that take calls.
    pub(super) fn next_client(
        &self,
        mut criteria: SelectionCriteria,
        waited_for: TriedRegions,
    ) -> Next<S>
    where
        S: Clone,
    {
        // There is no other client where all regions share one. And a call waits for no more regions than
        // it remembers: beyond that the same one would be chosen again and again.
        if matches!(self.clients, Clients::One(_))
            || criteria.tried.len() + waited_for.len() >= TriedRegions::MOST
        {
            return Next::None { look_again: None };
        }
        waited_for.iter().for_each(|region| criteria.tried.push(region));
        let now = LazyNow::default();
        let well = self.set.find_well(&criteria, &now, |region| self.can_call(region));
        well.map_or_else(
            || {
                let is_other = |region| self.can_call(region) && !criteria.tried.contains(region);
                Next::None { look_again: self.set.cooldown_ends(&now, is_other) }
            },
            |region| Next::Client(region, self.client(region)),
        )
    }

    /// What it takes to send the request to another region, if this failover may do so.
    pub(super) fn keep<Req>(
        &self,
        request_state: &RequestState,
        request: &mut Req,
    ) -> Option<R::SavedRequest>
    where
        R: Replay<Req>,
    {
        if request_state.is_retried() || request_state.is_last() || self.set.slots.get(1).is_none()
        {
            return None;
        }
        self.replay.save(request)
    }
}
