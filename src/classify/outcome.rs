use std::error::Error;
use std::fmt;

use http::{Extensions, HeaderMap, StatusCode};

use super::{error, grpc, http as http_table};
use crate::head::HttpResponse;
use crate::hint::Hint;
use crate::verdict::{Cause, Verdict};

/// A result without its type: a status and headers, or an error.
///
/// What a closure given to [`classify_fn`](super::classify_fn) sees.
#[derive(Clone, Copy)]
pub struct Outcome<'a>(Seen<'a>);

#[derive(Clone, Copy)]
enum Seen<'a> {
    Head(StatusCode, &'a HeaderMap, Option<&'a Extensions>),
    Error(&'a (dyn Error + 'static)),
}

impl<'a> Outcome<'a> {
    /// The outcome of a call that was answered with this head.
    #[must_use]
    pub const fn head(status: StatusCode, headers: &'a HeaderMap) -> Self {
        Self(Seen::Head(status, headers, None))
    }

    /// The outcome of a call that ended in this error.
    #[must_use]
    pub const fn error(error: &'a (dyn Error + 'static)) -> Self {
        Self(Seen::Error(error))
    }

    #[inline]
    pub(super) fn of<Res: HttpResponse>(seen: Result<&'a Res, &'a (dyn Error + 'static)>) -> Self {
        match seen {
            Ok(response) => {
                Self(Seen::Head(response.status(), response.headers(), response.extensions()))
            }
            Err(error) => Self::error(error),
        }
    }

    /// The status, where there was a response.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        match self.0 {
            Seen::Head(status, ..) => Some(status),
            Seen::Error(_) => None,
        }
    }

    /// The headers, where there was a response.
    #[must_use]
    pub const fn headers(&self) -> Option<&'a HeaderMap> {
        match self.0 {
            Seen::Head(_, headers, _) => Some(headers),
            Seen::Error(_) => None,
        }
    }

    /// A header's value, where there was a response that has it as text; the first of several.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers()?.get(name)?.to_str().ok()
    }

    /// The error, where there was one.
    #[must_use]
    pub const fn as_error(&self) -> Option<&'a (dyn Error + 'static)> {
        match self.0 {
            Seen::Head(..) => None,
            Seen::Error(error) => Some(error),
        }
    }

    /// The first error of type `E` in the error's chain of sources.
    #[must_use]
    pub fn cause<E: Error + 'static>(&self) -> Option<&'a E> {
        crate::error::cause_ref(self.as_error()?)
    }

    /// What the server asked for in its headers.
    #[must_use]
    pub fn hint(&self) -> Hint {
        self.headers().map_or(Hint::NONE, Hint::from_headers)
    }

    /// The default verdict: that of [`HttpClassifier`](super::HttpClassifier).
    ///
    /// A response is judged by what a layer below has [`ResponseVerdict`], or else by status and headers.
    ///
    /// An error is judged by its chain of sources. The first one that is certain decides, or else the
    /// innermost one that is known. Known are this crate's rejections, tower's and tokio's timeouts,
    /// tower's load shed, `std::io::Error`, and, with their features, the errors of hyper, hyper-util,
    /// h2, reqwest and tonic. A request that was never sent is distinguished from one that may have been processed. An
    /// unknown error is [`Transient`](super::Class::Transient), as the request may have been processed.
    #[inline]
    pub fn verdict(&self) -> Verdict {
        match self.0 {
            // Most responses are like this, so this arm is inlined into every layer's future. Those read
            // only for the class, and the compiler leaves out the rest of the verdict.
            Seen::Head(StatusCode::OK, headers, extensions)
                if extensions.is_none_or(Extensions::is_empty) && !grpc::has_code(headers) =>
            {
                Verdict::success().with_cause(Cause::Status(StatusCode::OK))
            }
            Seen::Head(status, headers, extensions) => of_head(status, headers, extensions),
            Seen::Error(error) => error::verdict(error),
        }
    }
}

#[inline(never)]
fn of_head(status: StatusCode, headers: &HeaderMap, extensions: Option<&Extensions>) -> Verdict {
    match extensions.and_then(Extensions::get) {
        Some(ResponseVerdict(verdict)) => *verdict,
        None => http_table::verdict(status, headers),
    }
}

/// A verdict that a layer below attached to the extensions of a response.
///
/// [`Outcome::verdict`], and so the default classifier of every layer, prefers it to status and
/// headers. [`PeekLayer`](crate::PeekLayer) attaches it; other middleware may.
///
/// ```
/// use tower_upstream::classify::{Class, Classify, HttpClassifier, ResponseVerdict, Verdict};
///
/// let mut response = http::Response::new(());
/// response.extensions_mut().insert(ResponseVerdict::new(Verdict::overloaded()));
/// let verdict = HttpClassifier::new().classify(Ok(&response));
/// assert_eq!(verdict.class(), Class::Overloaded);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseVerdict(Verdict);

impl ResponseVerdict {
    /// Creates the extension from a verdict.
    #[must_use]
    pub const fn new(verdict: Verdict) -> Self {
        Self(verdict)
    }

    /// Returns the verdict.
    pub const fn verdict(&self) -> &Verdict {
        &self.0
    }
}

impl fmt::Debug for Outcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers and an error's text can hold secrets, so neither is shown.
        match self.0 {
            Seen::Head(status, ..) => f.debug_tuple("Head").field(&status).finish(),
            Seen::Error(_) => f.write_str("Error"),
        }
    }
}
