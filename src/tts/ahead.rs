//! What a worker has claimed and not begun, in the order in which it is begun: clients
//! take turns here too, so that who comes late does not wait for all that was claimed
//! ahead for another.

use std::collections::{BTreeSet, VecDeque};

/// Jobs of several clients.
pub(super) struct Ahead<T>(VecDeque<(String, VecDeque<T>)>);

impl<T> Default for Ahead<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> Ahead<T> {
    /// Behind all of its client; a client of whom there was none has its turn after the
    /// others.
    pub fn push(&mut self, client: &str, job: T) {
        match self.0.iter_mut().find(|(other, _)| other == client) {
            Some((_, jobs)) => jobs.push_back(job),
            None => self.0.push_back((client.to_owned(), [job].into())),
        }
    }

    /// The job whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let (client, mut jobs) = self.0.pop_front()?;
        let job = jobs.pop_front();
        if !jobs.is_empty() {
            self.0.push_back((client, jobs));
        }
        job
    }

    /// The same, without taking it.
    pub fn front(&self) -> Option<&T> {
        self.0.front()?.1.front()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|(_, jobs)| jobs.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose they are.
    pub fn clients(&self) -> BTreeSet<String> {
        self.0.iter().map(|(client, _)| client.clone()).collect()
    }

    pub fn has_any_of(&self, client: &str) -> bool {
        self.0.iter().any(|(other, _)| other == client)
    }

    /// Takes all that are like this.
    pub fn extract(&mut self, mut is_wanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut extracted = Vec::new();
        for (_, jobs) in &mut self.0 {
            let (wanted, others): (Vec<T>, Vec<T>) = jobs.drain(..).partition(&mut is_wanted);
            *jobs = others.into();
            extracted.extend(wanted);
        }
        self.0.retain(|(_, jobs)| !jobs.is_empty());
        extracted
    }

    /// Takes the first that is like this.
    pub fn extract_first(&mut self, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        let (queue, position) = self.0.iter().enumerate().find_map(|(queue, (_, jobs))| {
            let position = jobs.iter().position(&is_wanted)?;
            Some((queue, position))
        })?;
        let jobs = &mut self.0.get_mut(queue)?.1;
        let job = jobs.remove(position);
        self.0.retain(|(_, jobs)| !jobs.is_empty());
        job
    }
}

/// Whose jobs may wait, by what was heard since somebody has looked.
#[derive(Default)]
pub(super) struct Callers {
    anyone: bool,
    clients: BTreeSet<String>,
}

impl Callers {
    /// A job of this client may wait, or of anyone.
    pub fn call(&mut self, client: Option<&str>) {
        match client {
            None => self.anyone = true,
            Some(client) if !self.clients.contains(client) => {
                self.clients.insert(client.to_owned());
            }
            Some(_) => {}
        }
    }

    /// Whether there may be others than these.
    pub fn are_others(&self, is_known: impl Fn(&str) -> bool) -> bool {
        self.anyone || self.clients.iter().any(|client| !is_known(client))
    }

    /// Somebody looks for the jobs of all but these.
    pub fn look(&mut self, except: &BTreeSet<String>) {
        self.anyone = false;
        self.clients.retain(|client| except.contains(client));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_comes_late_waits_for_one_job_of_each_other_client() {
        let mut ahead = Ahead::default();
        for job in ["a1", "a2", "a3", "b1"] {
            ahead.push(&job[..1], job);
        }
        assert_eq!(ahead.pop(), Some("a1"));
        ahead.push("c", "c1");
        assert_eq!(ahead.front(), Some(&"b1"));
        let order: Vec<&str> = std::iter::from_fn(|| ahead.pop()).collect();
        assert_eq!(order, ["b1", "a2", "c1", "a3"]);
        assert!(ahead.is_empty());
    }

    #[test]
    fn jobs_are_taken_out_of_their_turn_by_what_they_are_like() {
        let mut ahead = Ahead::default();
        for job in ["a1", "a2", "b1", "a3", "b2"] {
            ahead.push(&job[..1], job);
        }
        assert_eq!(ahead.extract_first(|job| job.starts_with('b')), Some("b1"));
        assert_eq!(ahead.extract(|job| job.ends_with('2')), ["a2", "b2"]);
        assert!(ahead.has_any_of("a") && !ahead.has_any_of("b"));
        assert_eq!(ahead.len(), 2);
    }

    #[test]
    fn callers_are_heard_until_somebody_looks_for_their_jobs() {
        let mut callers = Callers::default();
        callers.call(Some("a"));
        assert!(!callers.are_others(|client| client == "a"));
        callers.call(Some("b"));
        assert!(callers.are_others(|client| client == "a"));
        callers.look(&["a".to_owned()].into());
        assert!(
            callers.are_others(|_| false),
            "nobody has looked for those of a"
        );
        assert!(!callers.are_others(|client| client == "a"));
        callers.call(None);
        assert!(callers.are_others(|_| true));
    }

    proptest! {
        #[test]
        fn nobody_who_waits_is_passed_over_twice_by_another(
            moves in prop::collection::vec(prop::option::of(0_usize..4), 0..200),
        ) {
            let names = ["a", "b", "c", "d"];
            let mut ahead = Ahead::default();
            let mut since: HashMap<usize, [u32; 4]> = HashMap::new();
            let mut held = [0_u32; 4];
            for one in moves {
                if let Some(client) = one {
                    ahead.push(names[client], client);
                    held[client] += 1;
                    since.entry(client).or_default();
                } else if let Some(client) = ahead.pop() {
                    held[client] -= 1;
                    since.remove(&client);
                    for turns in since.values_mut() {
                        turns[client] += 1;
                        prop_assert!(turns[client] <= 1);
                    }
                    if held[client] > 0 {
                        since.insert(client, [0; 4]);
                    }
                }
                prop_assert_eq!(ahead.len(), held.iter().sum::<u32>() as usize);
            }
        }
    }
}
