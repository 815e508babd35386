//! What the operator has been told, as it is kept with the alerts: whoever starts
//! after a kill tells what is missing, and nothing twice.

use std::collections::BTreeMap;

use hoiam_api::DeliveryType;
use hoiam_supervision::clock::Millis;
use serde::{Deserialize, Serialize};

use super::gather::ToldAt;

/// Shut receivers that are remembered; one more, and the one that has been shut
/// longest is forgotten, so that nobody hears when it opens.
const MAX_SHUT: usize = 1000;

/// What is wrong, as it was told or as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// Receivers that do not answer, and since when.
    pub shut: BTreeMap<String, Millis>,
    /// What cannot be written, and why.
    pub disk: BTreeMap<String, String>,
    /// Why nothing can be spoken.
    pub engine: Option<String>,
}

impl Standing {
    /// Whether all is well, of the kinds that end.
    #[must_use]
    pub fn resolved(&self, kind: DeliveryType) -> Option<bool> {
        match kind {
            DeliveryType::DiskFailing => Some(self.disk.is_empty()),
            DeliveryType::EngineFailing => Some(self.engine.is_none()),
            _ => None,
        }
    }

    /// A receiver has stopped answering; whether that is new.
    pub fn shuts(&mut self, origin: &str, now: Millis) -> bool {
        if self.shut.contains_key(origin) {
            return false;
        }
        self.shut.insert(origin.to_owned(), now);
        if self.shut.len() > MAX_SHUT {
            let longest = self.shut.iter().min_by_key(|(_, since)| **since);
            if let Some(longest) = longest.map(|(origin, _)| origin.clone()) {
                self.shut.remove(&longest);
            }
        }
        true
    }

    /// An alert of this kind tells how it stands `now`.
    fn tell(&mut self, kind: DeliveryType, now: &Self) {
        match kind {
            DeliveryType::ReceiverShut => self.shut.extend(now.shut.clone()),
            DeliveryType::ReceiverOpen => {
                self.shut.retain(|origin, _| now.shut.contains_key(origin));
            }
            DeliveryType::DiskFailing => self.disk.clone_from(&now.disk),
            DeliveryType::EngineFailing => self.engine.clone_from(&now.engine),
            _ => {}
        }
        while self.shut.len() > MAX_SHUT {
            self.shut.pop_first();
        }
    }
}

/// What the operator has been told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// When each kind was last told.
    pub told_at: ToldAt,
    /// Up to which event the exhausted deliveries of each service were told.
    pub exhausted_to: BTreeMap<String, i64>,
    /// What was told to be wrong.
    pub told: Standing,
}

impl Ledger {
    /// An alert of this kind is told, which says how it stands now.
    pub fn tell(
        &mut self,
        kind: DeliveryType,
        now: Millis,
        standing: &Standing,
        exhausted_to: &BTreeMap<String, i64>,
    ) {
        self.told_at.insert(kind.as_str().to_owned(), now);
        self.told.tell(kind, standing);
        if kind == DeliveryType::DeliveryExhausted {
            self.exhausted_to.clone_from(exhausted_to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_told_yet_is_news_again_after_a_kill() {
        let mut ledger = Ledger::default();
        let (mut standing, none) = (Standing::default(), BTreeMap::new());
        standing.shuts("http://a", 1);
        ledger.tell(DeliveryType::ReceiverShut, 1, &standing, &none);
        // Both happen in the minute after.
        standing.shut.remove("http://a");
        standing.shuts("http://b", 2);
        let mut after_a_kill = ledger.told.clone();
        assert!(!after_a_kill.shuts("http://a", 3), "its opening is news");
        assert!(after_a_kill.shuts("http://b", 3), "its shutting is news");
        // One of the two is told.
        ledger.tell(DeliveryType::ReceiverOpen, 4, &standing, &none);
        assert!(ledger.told.shut.is_empty());
        ledger.tell(DeliveryType::ReceiverShut, 5, &standing, &none);
        assert_eq!(ledger.told, standing);
    }

    #[test]
    fn of_very_many_shut_receivers_the_newest_are_remembered() {
        let mut standing = Standing::default();
        let last = Millis::try_from(MAX_SHUT).unwrap();
        for at in 0..=last {
            assert!(standing.shuts(&format!("http://{at}"), at));
        }
        assert_eq!(standing.shut.len(), MAX_SHUT);
        assert!(!standing.shut.contains_key("http://0"));
        assert!(standing.shut.contains_key(&format!("http://{last}")));
    }

    #[test]
    fn what_was_told_is_remembered_by_kind_and_the_rest_stays_news() {
        let (mut ledger, none) = (Ledger::default(), BTreeMap::new());
        let mut standing = Standing::default();
        standing.disk.insert("store".into(), "full".into());
        standing.engine = Some("no library".into());
        ledger.tell(DeliveryType::DiskFailing, 1, &standing, &none);
        assert_eq!(
            (&ledger.told.disk, &ledger.told.engine),
            (&standing.disk, &None)
        );
        assert_eq!(ledger.told.resolved(DeliveryType::DiskFailing), Some(false));
        ledger.tell(DeliveryType::EngineFailing, 2, &standing, &none);
        assert_eq!(ledger.told, standing);
        ledger.tell(DeliveryType::EngineFailing, 3, &Standing::default(), &none);
        ledger.tell(DeliveryType::DiskFailing, 3, &Standing::default(), &none);
        assert_eq!(ledger.told, Standing::default());
    }

    #[test]
    fn what_was_told_of_shut_receivers_has_the_same_bound() {
        let (mut ledger, none) = (Ledger::default(), BTreeMap::new());
        let half = Millis::try_from(MAX_SHUT / 2).unwrap();
        let mut told = 0..3;
        let mut tell = |from: Millis, count: Millis| {
            let mut standing = Standing::default();
            for at in from..from + count {
                standing.shuts(&format!("http://{at}"), at);
            }
            let now = told.next().unwrap();
            ledger.tell(DeliveryType::ReceiverShut, now, &standing, &none);
            ledger.told.shut.len()
        };
        assert_eq!(tell(0, half), MAX_SHUT / 2);
        assert_eq!(tell(half, half), MAX_SHUT);
        assert_eq!(tell(2 * half, 2), MAX_SHUT);
    }
}
