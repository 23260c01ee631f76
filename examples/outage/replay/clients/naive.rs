//! As it was that morning.

use std::time::Duration;

use tower::{ServiceExt, service_fn};
use tower_upstream::BoxError;

use super::{Client, Request, Wire};

const TRIES: u32 = 50;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Tries at once again, whatever the reply is, until one is a success.
pub(crate) fn naive(wire: Wire) -> Client {
    Client::silent(service_fn(move |request: Request| {
        let wire = wire.clone();
        async move {
            let mut tries = 0;
            loop {
                tries += 1;
                let reply =
                    tokio::time::timeout(TIMEOUT, wire.clone().oneshot(request.clone())).await;
                let reply = match reply {
                    Ok(reply) => reply.map_err(BoxError::from),
                    Err(timeout) => Err(timeout.into()),
                };
                let success = reply.as_ref().is_ok_and(|reply| reply.status().is_success());
                if success || tries == TRIES {
                    return reply;
                }
            }
        }
    }))
}
