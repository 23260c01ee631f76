use std::fmt;

use tower_layer::Layer;

use super::alerts::Alerts;
use super::service::AlertService;
use crate::classify::{ClassifyFn, HttpClassifier, Outcome, classify_fn};
use crate::error::InvalidConfig;
use crate::verdict::Verdict;

/// A layer that evaluates the results of calls for [`Alerts`].
///
/// It is the outermost layer: a failure that a layer below recovers from raises no alert. Requests,
/// responses and errors pass unchanged.
///
/// A call that its caller drops is not evaluated, nor counted by an objective: a timeout belongs below
/// this layer. A timeout above it, such as that of a server that drops its handlers, hides calls to an
/// upstream that hangs. Two of these layers above each other count each call twice.
#[derive(Clone)]
#[must_use]
pub struct AlertLayer<C = HttpClassifier> {
    alerts: Alerts,
    classifier: C,
}

impl AlertLayer {
    /// Creates a layer that classifies results with [`HttpClassifier`].
    pub fn new(alerts: &Alerts) -> Self {
        Self { alerts: alerts.clone(), classifier: HttpClassifier::new() }
    }

    /// Returns a builder, to set another classifier.
    pub fn builder(alerts: &Alerts) -> AlertLayerBuilder {
        AlertLayerBuilder(Self::new(alerts))
    }
}

impl<C> AlertLayer<C> {
    /// Returns the alerts of the layer.
    #[must_use]
    pub fn alerts(&self) -> &Alerts {
        &self.alerts
    }
}

impl<S, C: Clone> Layer<S> for AlertLayer<C> {
    type Service = AlertService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        AlertService::new(inner, self.alerts.clone(), self.classifier.clone())
    }
}

impl<C> fmt::Debug for AlertLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlertLayer").field("alerts", &self.alerts).finish_non_exhaustive()
    }
}

/// Builder of an [`AlertLayer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct AlertLayerBuilder<C = HttpClassifier>(AlertLayer<C>);

impl<C> AlertLayerBuilder<C> {
    /// Sets the classifier of results. Default: [`HttpClassifier`].
    pub fn classifier<C2>(self, classifier: C2) -> AlertLayerBuilder<C2> {
        AlertLayerBuilder(AlertLayer { alerts: self.0.alerts, classifier })
    }

    /// Sets a closure over status, headers and error as the classifier.
    pub fn classify_fn<F>(self, f: F) -> AlertLayerBuilder<ClassifyFn<F>>
    where
        F: Fn(Outcome<'_>) -> Verdict,
    {
        self.classifier(classify_fn(f))
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// None today: every setting is valid.
    pub fn build(self) -> Result<AlertLayer<C>, InvalidConfig> {
        Ok(self.0)
    }
}
