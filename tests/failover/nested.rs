//! A failover over providers, each with a failover over its own regions.

use http::Request;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_upstream::RetryLayer;
use tower_upstream::failover::{FailoverLayer, Region, Regions};

use super::{Host, World};

/// Numbered as the providers are.
fn regions_of(provider: &str) -> Regions {
    let region = |number: u32| {
        let name = format!("{provider}-{number}");
        Region::new(&name, format!("https://{name}")).priority(number)
    };
    Regions::new([region(1), region(2)]).unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Retry {
    Nowhere,
    Outermost,
    EachProviders,
}

#[tokio::test(start_paused = true)]
async fn regions_tried_of_one_set_are_not_taken_for_those_of_another() {
    for retry in [Retry::Nowhere, Retry::Outermost, Retry::EachProviders] {
        let world = World::default();
        for host in ["a-1", "a-2", "b-1"] {
            world.set(host, Host::Refuses);
        }
        let providers = FailoverLayer::new(regions_of("provider")).services(|provider| {
            let world = world.clone();
            let client = service_fn(move |request| world.clone().reply(request));
            let regions = regions_of(if provider.name() == "provider-1" { "a" } else { "b" });
            let client = FailoverLayer::new(regions).layer(BoxCloneSyncService::new(client));
            match retry {
                // As often as there are regions.
                Retry::EachProviders => BoxCloneSyncService::new(
                    RetryLayer::builder().max_attempts(2).build().unwrap().layer(client),
                ),
                _ => BoxCloneSyncService::new(client),
            }
        });
        let request = Request::get("/models").body(()).unwrap();
        let reply = match retry {
            Retry::Outermost => RetryLayer::new().layer(providers).oneshot(request).await,
            _ => providers.oneshot(request).await,
        };
        assert_eq!(reply.unwrap().status(), 200, "{retry:?}");
        assert_eq!(world.take_called(), ["a-1", "a-2", "b-1", "b-2"], "{retry:?}");
    }
}
