use super::Verdict;

/// A verdict that a layer below made of more than a response's head, in the response's extensions.
///
/// [`Outcome::verdict`](super::Outcome::verdict), and so the default of every layer, believes it over
/// status and headers. [`PeekLayer`](crate::PeekLayer) puts it there; a middleware of yours may.
///
/// ```
/// use tower_upstream::classify::{Class, Classify, HttpClassifier, Told, Verdict};
///
/// let mut response = http::Response::new(());
/// response.extensions_mut().insert(Told(Verdict::overloaded()));
/// let verdict = HttpClassifier::new().classify(Ok(&response));
/// assert_eq!(verdict.class(), Class::Overloaded);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told(pub Verdict);
