//! Sinks: the services that receive alerts, each as an HTTP request of its own form.

mod alertmanager;
mod chat;
mod on_call;
mod request;
mod text;

pub use self::alertmanager::{Alertmanager, Webhook};
pub use self::chat::{Slack, Teams};
pub use self::on_call::{Opsgenie, PagerDuty};
pub use self::request::{Secret, Sink};

#[cfg(test)]
pub(super) mod tests;
