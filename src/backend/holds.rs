//! Whose hand-overs are held back, and until when: the TTS service has no room
//! for them and has said how long to wait.

use std::collections::HashMap;

use hoiam_supervision::clock::Millis;

/// What a TTS service has asked for that is otherwise well: everything else is
/// done meanwhile.
#[derive(Debug, Clone, Default)]
pub struct Holds {
    all: Option<Millis>,
    clients: HashMap<String, Millis>,
}

impl Holds {
    /// Holds all hand-overs back.
    pub fn hold_all(&mut self, until: Millis) {
        self.all = self.all.max(Some(until));
    }

    /// Holds those of a client back.
    pub fn hold(&mut self, client: &str, until: Millis) {
        let kept = self.clients.entry(client.to_owned()).or_insert(until);
        *kept = until.max(*kept);
    }

    /// Forgets those that are over, and says when the next one is.
    pub fn end_until(&mut self, now: Millis) -> Option<Millis> {
        self.all = self.all.filter(|until| *until > now);
        self.clients.retain(|_, until| *until > now);
        self.all
            .into_iter()
            .chain(self.clients.values().copied())
            .min()
    }

    /// Whether all are held back.
    #[must_use]
    pub fn all(&self) -> bool {
        self.all.is_some()
    }

    /// Whether those of this client are.
    #[must_use]
    pub fn has(&self, client: &str) -> bool {
        self.all() || self.clients.contains_key(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_lasts_as_long_as_the_longest_that_was_asked_for() {
        let mut holds = Holds::default();
        assert_eq!(holds.end_until(0), None);
        holds.hold("a", 20);
        holds.hold("a", 10);
        holds.hold("b", 15);
        let held = |holds: &Holds| (holds.all(), holds.has("a"), holds.has("b"), holds.has("c"));
        assert_eq!(holds.end_until(10), Some(15));
        assert_eq!(held(&holds), (false, true, true, false));
        assert_eq!(holds.end_until(15), Some(20));
        assert_eq!(held(&holds), (false, true, false, false));
        holds.hold_all(40);
        holds.hold_all(30);
        assert_eq!(holds.end_until(20), Some(40));
        assert_eq!(held(&holds), (true, true, true, true));
        assert_eq!(holds.end_until(40), None);
        assert_eq!(held(&holds), (false, false, false, false));
    }
}
