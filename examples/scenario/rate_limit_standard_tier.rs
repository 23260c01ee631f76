//! The provider's standard tier: 60 requests in any minute for each credential.

use tower_upstream::classify::HttpClassifier;
use tower_upstream::key::ByCredential;
use tower_upstream::rate_limit::RateLimitBuilder;
use tower_upstream::{Quota, RateLimitLayer};

pub(crate) fn rate_limit() -> RateLimitBuilder<HttpClassifier, ByCredential> {
    RateLimitLayer::builder(Quota::per_minute(60)).by_credential()
}
