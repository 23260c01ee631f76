use std::fmt;

use tower_layer::Layer;

use super::{Alerting, Alerts};
use crate::classify::{ClassifyFn, HttpClassifier, Outcome, classify_fn};
use crate::verdict::Verdict;

/// Judges what callers get, and has people notified of what they should know. Made by
/// [`Alerts::layer`].
///
/// It goes outermost, above the retry: what was mended below isn't worth an alert. It passes
/// calls and answers through untouched.
///
/// A call that its caller drops isn't judged, nor counted by an objective. So a timeout belongs below this
/// layer. One above it, such as that of a server that drops its handlers, drops the calls to an upstream
/// that hangs, and nobody hears of them. Two of these layers above each other count each call twice.
#[derive(Clone)]
#[must_use]
pub struct AlertLayer<C = HttpClassifier> {
    alerts: Alerts,
    classifier: C,
}

impl AlertLayer {
    pub(super) fn new(alerts: Alerts) -> Self {
        Self { alerts, classifier: HttpClassifier::new() }
    }
}

impl<C> AlertLayer<C> {
    /// Sets how answers are judged. Default: [`HttpClassifier`].
    pub fn classifier<C2>(self, classifier: C2) -> AlertLayer<C2> {
        AlertLayer { alerts: self.alerts, classifier }
    }

    /// Sets how answers are judged: by a closure over status, headers and error.
    pub fn classify_fn<F>(self, f: F) -> AlertLayer<ClassifyFn<F>>
    where
        F: Fn(Outcome<'_>) -> Verdict,
    {
        self.classifier(classify_fn(f))
    }

    /// Returns the alerts that the layer belongs to.
    #[must_use]
    pub fn alerts(&self) -> &Alerts {
        &self.alerts
    }
}

impl<S, C: Clone> Layer<S> for AlertLayer<C> {
    type Service = Alerting<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Alerting::new(inner, self.alerts.clone(), self.classifier.clone())
    }
}

impl<C> fmt::Debug for AlertLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlertLayer").field("alerts", &self.alerts).finish_non_exhaustive()
    }
}
