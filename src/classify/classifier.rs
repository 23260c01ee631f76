use std::error::Error;
use std::fmt;

use http::HeaderMap;

use super::{Outcome, error};
use crate::head::HttpResponse;
use crate::verdict::Verdict;

/// A classifier: creates the [`Verdict`] of a response or error.
///
/// Implemented by [`HttpClassifier`], the default of every layer, for all
/// responses with a status and headers; by [`ErrorClassifier`] for every
/// response; and by what [`classify_fn`] and [`result_fn`] make of closures.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't judge the response `{Res}`",
    label = "this classifier doesn't understand `{Res}`",
    note = "`HttpClassifier`, the default, understands `http::Response<B>` and, with the feature `reqwest`, the `Response` of reqwest 0.13",
    note = "for a response that isn't HTTP give the layer `.classifier(ErrorClassifier)` or `.classifier(result_fn(|seen: Result<&MyResponse, Outcome<'_>>| ..))`"
)]
pub trait Classify<Res> {
    /// The verdict of what was seen: a response's head, or an error.
    fn classify(&self, seen: Result<&Res, &(dyn Error + 'static)>) -> Verdict;

    /// The response's headers, where it has some: a rate limiter learns limits from them.
    fn headers<'a>(&self, response: &'a Res) -> Option<&'a HeaderMap> {
        _ = response;
        None
    }
}

/// Status, headers and errors of HTTP, gRPC included: the default.
///
/// A `200` with a `grpc-status` header is judged by that, as gRPC reports errors
/// so. Every other response is judged by its HTTP status, and an error by its
/// chain of sources (see [`Outcome::verdict`]).
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpClassifier;

impl HttpClassifier {
    /// The default classifier.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl<Res: HttpResponse> Classify<Res> for HttpClassifier {
    #[inline]
    fn classify(&self, seen: Result<&Res, &(dyn Error + 'static)>) -> Verdict {
        Outcome::of(seen).verdict()
    }

    fn headers<'a>(&self, response: &'a Res) -> Option<&'a HeaderMap> {
        Some(response.headers())
    }
}

/// Every response is a success; errors are judged by what their chain of sources says.
///
/// For services that don't speak HTTP.
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrorClassifier;

impl ErrorClassifier {
    /// A classifier that judges only errors.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl<Res> Classify<Res> for ErrorClassifier {
    fn classify(&self, seen: Result<&Res, &(dyn Error + 'static)>) -> Verdict {
        match seen {
            Ok(_) => Verdict::success(),
            Err(error) => error::verdict(error),
        }
    }
}

/// A classifier of HTTP results that calls a closure. Created by [`classify_fn`].
#[derive(Clone, Copy)]
pub struct ClassifyFn<F>(F);

/// Makes a classifier of a closure over status, headers and error.
///
/// The closure needs no type annotation, and works over every client.
pub const fn classify_fn<F>(f: F) -> ClassifyFn<F>
where
    F: Fn(Outcome<'_>) -> Verdict,
{
    ClassifyFn(f)
}

impl<F> fmt::Debug for ClassifyFn<F> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ClassifyFn")
    }
}

impl<F, Res> Classify<Res> for ClassifyFn<F>
where
    F: Fn(Outcome<'_>) -> Verdict,
    Res: HttpResponse,
{
    fn classify(&self, seen: Result<&Res, &(dyn Error + 'static)>) -> Verdict {
        (self.0)(Outcome::of(seen))
    }

    fn headers<'a>(&self, response: &'a Res) -> Option<&'a HeaderMap> {
        Some(response.headers())
    }
}

/// A closure as classifier of any response. Made by [`result_fn`].
#[derive(Clone, Copy)]
pub struct ResultFn<F>(F);

/// Makes a classifier of a closure over the whole result, for responses that aren't HTTP.
/// An error is seen as the [`Outcome`] that it is.
///
/// ```
/// use tower_upstream::classify::{Outcome, Verdict, result_fn};
///
/// struct Reply { busy: bool }
///
/// let classifier = result_fn(|seen: Result<&Reply, Outcome<'_>>| match seen {
///     Ok(reply) if reply.busy => Verdict::overloaded(),
///     Ok(_) => Verdict::success(),
///     Err(failure) => failure.verdict(),
/// });
/// # let _ = classifier;
/// ```
pub const fn result_fn<Res, F>(f: F) -> ResultFn<F>
where
    F: Fn(Result<&Res, Outcome<'_>>) -> Verdict,
{
    ResultFn(f)
}

impl<F> fmt::Debug for ResultFn<F> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ResultFn")
    }
}

impl<F, Res> Classify<Res> for ResultFn<F>
where
    F: Fn(Result<&Res, Outcome<'_>>) -> Verdict,
{
    fn classify(&self, seen: Result<&Res, &(dyn Error + 'static)>) -> Verdict {
        (self.0)(seen.map_err(Outcome::error))
    }
}
