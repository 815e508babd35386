use super::*;
use crate::outbound::{OutboundError, Phase};

const A: &str = "http://a/1";
const ORIGIN: &str = "http://a";

fn not_connected() -> Finding {
    Finding::Unreachable(OutboundError::ConnectFailed("nobody is there"))
}

fn not_answered() -> Finding {
    let phase = Phase::Answer;
    Finding::Unreachable(OutboundError::Closed { phase })
}

/// Asked for one client.
fn note(held: &mut Held, url: &str, finding: Option<&Finding>, now: Millis) -> bool {
    held.note((&Arc::from("a"), url), finding, now)
}

fn allowance(held: &Held, origin: &str, most: usize, now: Millis) -> usize {
    let [client, origin] = ["a", origin].map(Arc::from);
    held.allowance(&Receiver { client, origin }, most, now)
}

fn running(urls: &[&str]) -> HashSet<String> {
    urls.iter().map(|url| (*url).to_owned()).collect()
}

#[test]
fn who_cannot_be_connected_to_is_held_with_all_its_urls_and_asked_by_one() {
    let mut held = Held::default();
    assert_eq!(allowance(&held, ORIGIN, 8, 0), 8);
    assert!(note(&mut held, A, Some(&not_connected()), 0));
    assert_eq!(held.all(), [(Scope::Origin(ORIGIN.to_owned()), 0)]);
    assert_eq!(held.next_probe_at(0), Some(1000));
    assert_eq!(allowance(&held, ORIGIN, 8, 999), 0);
    assert_eq!(allowance(&held, ORIGIN, 8, 1000), 1);
    assert_eq!(allowance(&held, "http://b", 8, 999), 8);
    assert!(!note(&mut held, A, Some(&Finding::Open), 1000));
    assert_eq!(allowance(&held, ORIGIN, 8, 1000), 8);
    assert_eq!(held.all(), []);
}

#[test]
fn who_does_not_answer_is_held_alone() {
    let mut held = Held::default();
    assert!(note(&mut held, A, Some(&not_answered()), 0));
    assert_eq!(held.all(), [(Scope::Url(A.to_owned()), 0)]);
    assert_eq!(allowance(&held, ORIGIN, 8, 0), 8);
    assert!(!note(&mut held, "http://a/2", Some(&Finding::Open), 10));
    assert_eq!(
        held.urls().collect::<Vec<_>>(),
        [A],
        "that says nothing of it"
    );
    assert!(!note(
        &mut held,
        A,
        Some(&Finding::NotFound { status: 404 }),
        20
    ));
    assert_eq!(held.urls().count(), 0);
    assert!(
        note(&mut held, A, None, 30),
        "as is a check that has panicked"
    );
    assert_eq!(held.all(), [(Scope::Url(A.to_owned()), 30)]);
}

#[test]
fn who_is_connected_to_is_not_held_as_an_origin_any_more() {
    let mut held = Held::default();
    note(&mut held, A, Some(&not_connected()), 0);
    note(&mut held, "http://a/2", Some(&not_answered()), 1000);
    assert_eq!(held.all(), [(Scope::Url("http://a/2".to_owned()), 1000)]);
}

#[test]
fn the_probes_come_by_the_schedule_whichever_is_held() {
    for finding in [not_connected(), not_answered()] {
        let mut held = Held::default();
        let mut now = 0;
        for wait in [1000, 2000, 5000, 10_000, 30_000, 30_000] {
            note(&mut held, A, Some(&finding), now);
            // This was on its way before.
            note(&mut held, A, Some(&finding), now + 1);
            assert_eq!(held.next_probe_at(now), Some(now + wait));
            now += wait;
        }
        assert_eq!(held.all()[0].1, 0, "held since the first");
    }
}

#[test]
fn silent_urls_are_asked_again_when_due_and_never_two_of_a_client_and_origin() {
    let mut held = Held::default();
    for (url, at) in [("http://a/1", 20), ("http://a/2", 10), ("http://b/3", 0)] {
        note(&mut held, url, Some(&not_answered()), at);
    }
    let due = |held: &Held, urls: &[&str], now| -> Vec<String> {
        let due = held.due_urls(&running(urls), now).into_iter();
        due.map(|(_, url)| url).collect()
    };
    assert!(due(&held, &[], 999).is_empty());
    assert_eq!(due(&held, &[], 1000), ["http://b/3"]);
    assert_eq!(
        due(&held, &[], 1020),
        ["http://b/3", "http://a/2", "http://a/1"]
    );
    assert_eq!(due(&held, &["http://a/1"], 1020), ["http://b/3"]);
    assert_eq!(due(&held, &["http://a/7"], 1020).len(), 3);
    let anothers = "http://a/5";
    held.note((&Arc::from("another"), anothers), Some(&not_answered()), 15);
    assert_eq!(due(&held, &["http://a/1"], 1020), ["http://b/3", anothers]);
    held.drop_all(&[Scope::Url(anothers.to_owned())]);
    // While nobody can be connected to, it is no use.
    note(&mut held, "http://a/4", Some(&not_connected()), 1020);
    assert_eq!(due(&held, &[], 1030), ["http://b/3"]);
    assert_eq!(due(&held, &[], 2020).len(), 3);
}

#[test]
fn where_very_many_urls_are_silent_no_other_is_asked() {
    let mut held = Held::default();
    for n in 0..MAX_URLS_OF_ONE {
        assert_eq!(allowance(&held, ORIGIN, 8, 0), 8);
        note(
            &mut held,
            &format!("http://a/{n}"),
            Some(&not_answered()),
            0,
        );
    }
    assert_eq!(allowance(&held, ORIGIN, 8, 0), 0);
    assert_eq!(allowance(&held, "http://b", 8, 0), 8);
    let [client, origin] = ["another", ORIGIN].map(Arc::from);
    let anothers = Receiver { client, origin };
    assert_eq!(held.allowance(&anothers, 8, 0), 8);
    held.drop_all(&[Scope::Url("http://a/7".to_owned())]);
    assert_eq!(allowance(&held, ORIGIN, 8, 0), 8);
}

#[test]
fn an_origin_is_forgotten_when_nobody_asks_it_any_more() {
    let mut held = Held::default();
    note(&mut held, A, Some(&not_connected()), 0);
    held.forget(&running(&[A]), 2 * FORGET_MS);
    assert_eq!(held.all().len(), 1);
    held.forget(&running(&[]), 2 * FORGET_MS);
    assert_eq!(held.all(), []);
}
