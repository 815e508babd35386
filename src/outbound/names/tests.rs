use std::collections::HashSet;
use std::sync::Condvar;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::{join_all, select_all};
use proptest::prelude::*;

use super::*;

// ---- whose turn it is ----

const SECOND: Duration = Duration::from_secs(1);

/// A queue with the askers that have not given up.
struct Asked {
    queue: Queue,
    now: Instant,
    waiting: HashMap<String, Vec<oneshot::Receiver<Addresses>>>,
}

impl Asked {
    fn new() -> Self {
        Self {
            queue: Queue::default(),
            now: Instant::now(),
            waiting: HashMap::new(),
        }
    }

    /// Asks, and begins what may.
    fn ask(&mut self, host: &str) {
        let (asker, found) = oneshot::channel();
        self.queue.ask(host, asker, self.now);
        self.waiting.entry(host.to_owned()).or_default().push(found);
        self.begin();
    }

    fn ask_many(&mut self, kind: &str, count: usize) {
        (0..count).for_each(|number| self.ask(&format!("{number}.{kind}.example")));
    }

    fn begin(&mut self) {
        while self.queue.begin(self.now).is_some() {}
    }

    fn end(&mut self, host: &str, found: bool) {
        self.queue.end(host, found, self.now);
        self.waiting.remove(host);
        self.begin();
    }

    fn is_under_way(&self, host: &str) -> bool {
        self.queue.under_way.iter().any(|one| one.host == host)
    }

    /// All that is under way ends after so long.
    fn end_all(&mut self, after: Duration, found: bool) {
        while let Some(one) = self.queue.under_way.first() {
            self.now = self.now.max(one.began_at + after);
            let host = one.host.clone();
            self.end(&host, found);
        }
    }
}

/// The class that a name has after lookups that have taken so long and found something.
fn class_after(lookups: &[(Duration, bool)], later: Duration) -> Class {
    let mut asked = Asked::new();
    for (took, found) in lookups {
        asked.ask("a.example");
        asked.end_all(*took, *found);
    }
    let now = asked.now + later;
    asked.queue.class("a.example", now)
}

#[test]
fn a_name_that_hangs_may_answer_again_only_if_it_has_quickly_within_the_last_hour() {
    let (quick, slow) = (QUICK, QUICK + SECOND);
    let none = Duration::ZERO;
    assert_eq!(class_after(&[], none), Class::Unsure);
    assert_eq!(class_after(&[(quick, false)], none), Class::Quick);
    assert_eq!(
        class_after(&[(quick, true), (slow, true)], none),
        Class::Unsure
    );
    let hour = ANSWERED_LATELY - slow;
    let almost = hour - Duration::from_millis(1);
    assert_eq!(
        class_after(&[(quick, true), (slow, true)], almost),
        Class::Unsure
    );
    assert_eq!(
        class_after(&[(quick, true), (slow, true)], hour),
        Class::Slow
    );
    assert_eq!(
        class_after(&[(quick, false), (slow, false)], none),
        Class::Slow
    );
    assert_eq!(
        class_after(&[(slow, true), (slow, true)], none),
        Class::Slow
    );
}

#[test]
fn of_very_many_names_the_half_that_ended_last_is_kept() {
    let mut asked = Asked::new();
    for number in 0..=MANY {
        let host = format!("{number}.example");
        asked.ask(&host);
        asked.now += Duration::from_millis(1);
        asked.end(&host, true);
    }
    let known = &asked.queue.known;
    assert_eq!(known.len(), MANY / 2);
    let is_known = |number: usize| known.contains_key(&format!("{number}.example"));
    assert!(!is_known(0) && !is_known(MANY / 2));
    assert!(is_known(MANY / 2 + 1) && is_known(MANY));
}

#[test]
fn names_that_hang_leave_threads_to_a_name_that_has_answered() {
    let mut asked = Asked::new();
    asked.ask("good.example");
    asked.end("good.example", true);
    asked.ask_many("bad", 1500);
    assert_eq!(asked.queue.under_way.len(), 24);
    asked.ask("good.example");
    assert!(asked.is_under_way("good.example"));
}

#[test]
fn once_it_is_known_that_they_hang_they_leave_threads_to_a_new_name_too() {
    let mut asked = Asked::new();
    asked.ask_many("bad", 1500);
    asked.end_all(QUICK + SECOND, false);
    asked.ask_many("bad", 1500);
    assert_eq!(asked.queue.under_way.len(), 8);
    asked.ask("new.example");
    assert!(asked.is_under_way("new.example"));
}

#[test]
fn a_name_server_that_was_away_leaves_a_good_name_before_those_that_hang() {
    let mut asked = Asked::new();
    asked.ask("good.example");
    asked.end("good.example", true);
    asked.ask_many("bad", 30);
    asked.ask("good.example");
    asked.end_all(QUICK + SECOND, false);
    asked.ask_many("bad", 30);
    asked.ask("good.example");
    assert!(asked.is_under_way("good.example"));
    asked.end("good.example", true);
    assert_eq!(asked.queue.class("good.example", asked.now), Class::Quick);
}

#[test]
fn a_name_that_has_not_answered_for_an_hour_hangs_like_any_other() {
    let mut asked = Asked::new();
    asked.ask("good.example");
    asked.end("good.example", true);
    for (after, class) in [
        (QUICK + SECOND, Class::Unsure),
        (ANSWERED_LATELY, Class::Slow),
    ] {
        asked.ask("good.example");
        asked.end_all(after, false);
        assert_eq!(asked.queue.class("good.example", asked.now), class);
    }
}

#[test]
fn an_answer_that_there_is_no_such_name_is_an_answer() {
    let mut asked = Asked::new();
    asked.ask("none.example");
    asked.end("none.example", false);
    assert_eq!(asked.queue.class("none.example", asked.now), Class::Quick);
}

#[test]
fn what_nobody_waits_for_is_not_begun() {
    let mut asked = Asked::new();
    asked.ask_many("bad", 1500);
    asked.waiting.clear();
    asked.end_all(SECOND, false);
    assert_eq!(asked.queue.known.len(), 24);
    asked.ask_many("bad", 1500);
    asked.waiting.clear();
    asked.ask("new.example");
    assert!(asked.queue.waiting.len() <= 1, "and is not kept");
}

#[test]
fn who_asks_for_a_name_that_hangs_again_and_again_is_kept_once() {
    let mut asked = Asked::new();
    for _ in 0..100 {
        asked.ask("bad.example");
        asked.waiting.clear();
    }
    assert_eq!(asked.queue.under_way.len(), 1);
    assert!(asked.queue.under_way[0].askers.len() <= 1);
}

#[test]
fn names_that_are_looked_up_once_do_not_pile_up() {
    let mut asked = Asked::new();
    for number in 0..3 * MANY {
        asked.now += Duration::from_millis(1);
        let host = format!("{number}.example");
        asked.ask(&host);
        asked.end(&host, true);
    }
    assert!(asked.queue.known.len() <= MANY);
    let newest = format!("{}.example", 3 * MANY - 1);
    assert_eq!(asked.queue.class(&newest, asked.now), Class::Quick);
}

#[derive(Debug, Clone)]
enum Step {
    Ask(u8),
    GiveUp(u8),
    End(prop::sample::Index, bool),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..80_u8).prop_map(Step::Ask),
        1 => (0..80_u8).prop_map(Step::GiveUp),
        4 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(at, found)| Step::End(at, found)),
        2 => prop_oneof![0..3_u64, 1000..2000_u64].prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    #[test]
    fn each_class_keeps_its_bound_and_waits_for_no_class_behind_it(steps in steps()) {
        let mut asked = Asked::new();
        for step in steps {
            match step {
                Step::Ask(host) => asked.ask(&host.to_string()),
                Step::GiveUp(host) => drop(asked.waiting.remove(&host.to_string())),
                Step::End(which, found) => {
                    let under_way = &asked.queue.under_way;
                    if !under_way.is_empty() {
                        let host = under_way[which.index(under_way.len())].host.clone();
                        asked.end(&host, found);
                    }
                }
                Step::Pass(seconds) => asked.now += Duration::from_secs(seconds),
            }
            let queue = &asked.queue;
            let hosts = queue.under_way.iter().chain(&queue.waiting).map(|one| &one.host);
            let hosts: Vec<_> = hosts.collect();
            prop_assert_eq!(hosts.iter().collect::<HashSet<_>>().len(), hosts.len());
            let count = |class| queue.under_way.iter().filter(|one| one.class >= class).count();
            let (all, unsure, slow) = (count(Class::Quick), count(Class::Unsure), count(Class::Slow));
            prop_assert!(all <= 32 && unsure <= 24 && slow <= 8);
            for waits in queue.waiting.iter().filter(|one| one.is_wanted()) {
                let is_full = match waits.class {
                    Class::Quick => all == 32,
                    Class::Unsure => all == 32 || unsure == 24,
                    Class::Slow => all == 32 || unsure == 24 || slow == 8,
                };
                prop_assert!(is_full, "{} could begin", waits.host);
            }
        }
    }
}

// ---- on threads ----

/// Names under `bad.example` hang until this is let go.
#[derive(Clone, Default)]
struct Hanging(Arc<Hung>);

#[derive(Default)]
struct Hung {
    let_go: Mutex<bool>,
    changed: Condvar,
    calls: AtomicUsize,
}

impl Hanging {
    fn names(&self) -> Names {
        let hung = Arc::clone(&self.0);
        Names::new(move |host| {
            if host.ends_with("bad.example") {
                hung.calls.fetch_add(1, Ordering::SeqCst);
                let let_go = hung.let_go.lock().unwrap();
                let _let_go = hung.changed.wait_while(let_go, |let_go| !*let_go).unwrap();
            }
            assert_ne!(host, "panics.example");
            (host != "none.example").then(|| vec!["192.0.2.1:0".parse().unwrap()])
        })
    }

    fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    fn let_go(&self) {
        *self.0.let_go.lock().unwrap() = true;
        self.0.changed.notify_all();
    }
}

async fn calls_are(hanging: &Hanging, calls: usize) {
    while hanging.calls() < calls {
        tokio::task::yield_now().await;
    }
}

#[actix_rt::test]
async fn names_that_hang_hold_up_no_file_no_address_and_no_name_that_has_answered() {
    let hanging = Hanging::default();
    let names = hanging.names();
    // Lookups are timed, and a machine may stall.
    while names.0.queue().class("good.example", Instant::now()) != Class::Quick {
        names.find("good.example").await.unwrap();
    }
    let bad: Vec<String> = (0..1500).map(|nth| format!("{nth}.bad.example")).collect();
    let mut asking: Vec<_> = bad.iter().map(|host| names.lookup(host, 80)).collect();
    // Each is asked for; none is answered.
    for one in &mut asking {
        assert!(futures_util::poll!(one).is_pending());
    }
    calls_are(&hanging, 24).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("speech");
    let written = tokio::task::spawn_blocking(move || std::fs::write(path, b"sound"));
    written.await.unwrap().unwrap();
    for (host, address) in [
        ("good.example", "192.0.2.1:80"),
        ("198.51.100.7", "198.51.100.7:80"),
        ("[2001:db8::1]", "[2001:db8::1]:80"),
    ] {
        let found = names.lookup(host, 80).await.unwrap();
        assert_eq!(found, [address.parse().unwrap()]);
    }
    assert_eq!(hanging.calls(), 24);
    hanging.let_go();
    for found in join_all(asking).await {
        found.unwrap();
    }
    assert_eq!(hanging.calls(), 1500);
}

#[actix_rt::test]
async fn all_who_ask_for_a_name_meanwhile_get_the_one_answer() {
    let hanging = Hanging::default();
    let names = hanging.names();
    let mut asking: Vec<_> = (1..=50)
        .map(|port| names.lookup("bad.example", port))
        .collect();
    for one in &mut asking {
        assert!(futures_util::poll!(one).is_pending());
    }
    calls_are(&hanging, 1).await;
    // One of them gives up, which changes nothing for the others.
    drop(asking.remove(0));
    hanging.let_go();
    let (first, _, others) = select_all(asking).await;
    let mut ports = vec![first.unwrap()[0].port()];
    for found in join_all(others).await {
        ports.push(found.unwrap()[0].port());
    }
    ports.sort_unstable();
    assert_eq!(ports, (2..=50).collect::<Vec<_>>());
    assert_eq!(hanging.calls(), 1);
}

#[actix_rt::test]
async fn a_name_without_an_address_and_a_lookup_that_panics_are_errors() {
    let names = Hanging::default().names();
    for host in ["none.example", "panics.example"] {
        assert!(names.lookup(host, 80).await.is_err());
    }
    assert!(names.0.queue().under_way.is_empty());
}
