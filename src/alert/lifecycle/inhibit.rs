//! Which alerts make others needless.

use crate::alert::AlertKind;

/// What an alert is about, as far as others depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject<'a> {
    pub(super) kind: AlertKind,
    pub(super) region: Option<&'a str>,
}

impl Subject<'_> {
    /// Whether it can mute others.
    pub(super) fn is_cause(self) -> bool {
        matches!(
            self.kind,
            AlertKind::CredentialRejected | AlertKind::AllRegionsOut | AlertKind::RegionOut
        )
    }

    /// Whether a sink that hears of this needn't receive of `other`. A dead key makes everything else fail. With
    /// no region left, each is lost, circuits open and calls fail. A lost region's circuit is open.
    pub(super) fn mutes(self, other: Subject<'_>) -> bool {
        match (self.kind, other.kind) {
            (AlertKind::CredentialRejected, kind) => kind != AlertKind::CredentialRejected,
            (
                AlertKind::AllRegionsOut,
                AlertKind::RegionOut
                | AlertKind::CircuitOpen
                | AlertKind::CallFailed
                | AlertKind::Timeout,
            ) => true,
            (AlertKind::RegionOut, AlertKind::CircuitOpen) => {
                self.region.is_some() && self.region == other.region
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_mute_what_follows_from_them_and_nothing_else() {
        let key = Subject { kind: AlertKind::CredentialRejected, region: None };
        let all = Subject { kind: AlertKind::AllRegionsOut, region: None };
        let us = Subject { kind: AlertKind::RegionOut, region: Some("us") };
        let eu = Subject { kind: AlertKind::RegionOut, region: Some("eu") };
        let circuit = |region| Subject { kind: AlertKind::CircuitOpen, region };
        let burn = Subject { kind: AlertKind::BudgetBurn, region: None };
        let quota = Subject { kind: AlertKind::QuotaExhausted, region: None };
        for (cause, other, expected) in [
            (key, key, false),
            (key, all, true),
            (key, us, true),
            (key, circuit(None), true),
            (key, burn, true),
            (all, Subject { kind: AlertKind::CallFailed, region: None }, true),
            (all, Subject { kind: AlertKind::Timeout, region: Some("us") }, true),
            (all, quota, false),
            (all, key, false),
            (all, all, false),
            (all, us, true),
            (all, circuit(Some("us")), true),
            (all, circuit(None), true),
            (all, burn, false),
            (us, us, false),
            (us, eu, false),
            (us, all, false),
            (us, circuit(Some("us")), true),
            (us, circuit(Some("eu")), false),
            (us, circuit(None), false),
            (circuit(Some("us")), us, false),
            (quota, us, false),
        ] {
            assert_eq!(cause.mutes(other), expected, "{cause:?} {other:?}");
            assert!(cause.is_cause() || !expected, "{cause:?}");
        }
    }
}
