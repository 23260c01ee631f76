//! An axum router, served at a place of the network.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;

use super::network::Listener;

/// Serves until it is dropped, which cuts the connections too.
pub(crate) async fn serve(mut listener: Listener, app: Router) -> std::io::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let wire = listener.accept().await?;
        // Those that are over.
        while connections.try_join_next().is_some() {}
        let service = TowerToHyperService::new(app.clone());
        connections.spawn(http1::Builder::new().serve_connection(wire, service));
    }
}
