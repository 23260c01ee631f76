//! Which region served a response, told in the response itself.

use http::Extensions;

/// The name of the region that served a response, in its extensions where
/// [`region_in_response`](super::FailoverBuilder::region_in_response) asks for it.
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
///     .layer(FailoverLayer::builder(regions).region_in_response().build()?)
///     .service(service_fn(|_: http::Request<()>| async {
///         Ok::<_, BoxError>(http::Response::new(()))
///     }));
///
/// let answer = client.oneshot(http::Request::get("/models").body(())?).await?;
/// assert_eq!(answer.extensions().get(), Some(&ServingRegion("us-west-2")));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServingRegion(pub &'static str);

/// A response with extensions, in which a failover can name the region.
///
/// Implemented for `http::Response<B>` and, with the feature `reqwest`, for
/// `reqwest::Response`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` isn't a response in which a failover can name the serving region",
    label = "has no extensions that this layer can write",
    note = "`http::Response<B>` and, with the feature `reqwest`, `reqwest::Response` are understood; implement `HasExtensions` for your own type",
    note = "without `.region_in_response()` a failover takes any response"
)]
pub trait HasExtensions {
    /// The response's extensions.
    fn extensions_mut(&mut self) -> &mut Extensions;
}

impl<B> HasExtensions for http::Response<B> {
    fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions_mut()
    }
}

#[cfg(feature = "reqwest")]
impl HasExtensions for reqwest::Response {
    fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions_mut()
    }
}

/// Whether, and how, a failover tells the caller which region served a response:
/// [`Untold`] or [`InResponse`].
pub trait TellRegion<Res> {
    /// This region served this response.
    fn tell(&self, response: &mut Res, region: &'static str);
}

/// The serving region isn't told. The default: it takes any response, and costs nothing.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Untold;

impl<Res> TellRegion<Res> for Untold {
    #[inline]
    fn tell(&self, _: &mut Res, _: &'static str) {}
}

/// The serving region is in the response's extensions, as a [`ServingRegion`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct InResponse;

/// As [`InResponse`], or not: what the recommended stack goes by, whose type doesn't depend on it.
#[derive(Clone, Copy, Debug)]
pub struct IfAsked(pub(crate) bool);

impl<Res: HasExtensions> TellRegion<Res> for IfAsked {
    fn tell(&self, response: &mut Res, region: &'static str) {
        if self.0 {
            InResponse.tell(response, region);
        }
    }
}

impl<Res: HasExtensions> TellRegion<Res> for InResponse {
    fn tell(&self, response: &mut Res, region: &'static str) {
        response.extensions_mut().insert(ServingRegion(region));
    }
}
