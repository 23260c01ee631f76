//! Which region served a response, data in the response itself.

use crate::head::HttpResponse;
use crate::scope::CallScope;

/// The name of the region that served a response, in its extensions where
/// [`insert_into`](Self::insert_into) put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServingRegion(pub &'static str);

impl ServingRegion {
    /// Puts the region into a response's extensions. For tower's `map_response`, between the
    /// failover and its client:
    ///
    /// ```
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    /// use tower_upstream::BoxError;
    /// use tower_upstream::failover::{FailoverLayer, Region, Regions, ServingRegion};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let regions = Regions::new([Region::new("us-west-2", "https://api.example.com/v1")])?;
    /// let client = ServiceBuilder::new()
    ///     .layer(FailoverLayer::new(regions))
    ///     .map_response(ServingRegion::insert_into)
    ///     .service(service_fn(|_: http::Request<()>| async {
    ///         Ok::<_, BoxError>(http::Response::new(()))
    ///     }));
    ///
    /// let answer = client.oneshot(http::Request::get("/models").body(())?).await?;
    /// assert_eq!(answer.extensions().get(), Some(&ServingRegion("us-west-2")));
    /// # Ok(()) }
    /// ```
    ///
    /// Of failovers above one another, the lowest one's region. Where none is above, or what stands
    /// between is [out of the call's scope](crate::scope#where-it-reaches-and-where-not), such as
    /// tower's `Buffer`, the response stays as it is.
    #[must_use]
    pub fn insert_into<Res: HttpResponse>(mut response: Res) -> Res {
        let region = CallScope::current().and_then(|scope| scope.region());
        if let (Some(region), Some(extensions)) = (region, response.extensions_mut()) {
            extensions.insert(Self(region));
        }
        response
    }
}
