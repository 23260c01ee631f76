use crate::event::Alert;
use std::collections::VecDeque;
use std::sync::Arc;

/// The last alerts, oldest first.
#[derive(Debug)]
pub(super) struct History {
    entries: VecDeque<Arc<Alert>>,
    most: usize,
}

impl History {
    pub(super) fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), most }
    }

    pub(super) fn push(&mut self, alert: Arc<Alert>) {
        if self.most == 0 {
            return;
        }
        if self.entries.len() >= self.most {
            self.entries.pop_front();
        }
        self.entries.push_back(alert);
    }

    pub(super) fn entries(&self) -> Vec<Arc<Alert>> {
        self.entries.iter().cloned().collect()
    }
}
