use std::collections::HashSet;

use proptest::prelude::*;

use super::super::shares::MOST_OF_ONE;
use super::*;

const TRY: Kind = Kind::FirstTry;
const FAILS: OriginSignal = OriginSignal::Fails { asked_ms: 0 };

fn at(number: usize) -> Receiver {
    of_client("", number)
}

fn of_client(client: &str, number: usize) -> Receiver {
    Receiver {
        client: client.into(),
        origin: format!("http://{number}").into(),
    }
}

/// The schedule waits for an hour at most.
fn receivers() -> Receivers {
    let schedule = [Duration::from_secs(3600)];
    let own = Some("http://own".to_owned());
    Receivers::new(&schedule, own, Arc::new(|_| None))
}

/// One attempt from its begin to its end.
fn call(receivers: &mut Receivers, receiver: &Receiver, news: OriginSignal, now: Millis) -> Left {
    let slot = receivers.begin(receiver, TRY, now).unwrap();
    receivers.end(&slot, news, now)
}

fn begin_all(receivers: &mut Receivers, receiver: &Receiver) -> Vec<Slot> {
    std::iter::from_fn(|| receivers.begin(receiver, TRY, 0)).collect()
}

fn after_failures(count: usize) -> Receivers {
    let mut receivers = receivers();
    for _ in 0..count {
        call(&mut receivers, &at(0), FAILS, 0);
    }
    receivers
}

/// Whether an attempt at the first may begin; it has not.
fn may_begin(receivers: &mut Receivers, now: Millis) -> bool {
    let slot = receivers.begin(&at(0), TRY, now);
    slot.map(|slot| receivers.end(&slot, OriginSignal::None, now))
        .is_some()
}

/// Who is shown since the last time.
fn shown(receivers: &mut Receivers) -> Vec<OpenCircuit> {
    let changes = receivers.changes().into_iter();
    changes.filter_map(|(_, shown)| shown).collect()
}

fn turns(receivers: &mut Receivers, now: Millis) -> Vec<(String, Millis)> {
    let turns = receivers.turns(now).into_iter();
    turns
        .map(|turn| (turn.receiver.origin.to_string(), turn.from))
        .collect()
}

#[test]
fn who_has_answered_lately_has_another_part_and_more_of_it() {
    let mut receivers = receivers();
    let first = begin_all(&mut receivers, &at(0));
    assert_eq!(first.len(), 8);
    assert!(first.iter().all(|slot| slot.part == Part::Unproven));
    receivers.end(&first[0], OriginSignal::Answers, 0);
    let more = begin_all(&mut receivers, &at(0));
    assert_eq!(more.len(), MOST_OF_ONE - 7);
    assert!(more.iter().all(|slot| slot.part == Part::Answering));
    receivers.end(&more[0], FAILS, 0);
    let slot = receivers.slot(&at(0), TRY);
    assert_eq!(slot.part, Part::Unproven, "it does not answer now");
    for slot in first[1..].iter().chain(&more[1..]) {
        let has_eight = receivers.shares.of(&at(0)) >= 8;
        assert_eq!(
            receivers.shares.may_begin(&receivers.slot(&at(0), TRY)),
            !has_eight
        );
        receivers.end(slot, OriginSignal::None, 0);
    }
    assert_eq!(receivers.shares.of(&at(0)), 0);
}

#[test]
fn one_that_is_idle_and_was_never_called_is_forgotten() {
    let mut receivers = receivers();
    call(&mut receivers, &at(0), OriginSignal::None, 0);
    assert!(receivers.known.is_empty());
    call(&mut receivers, &at(0), OriginSignal::Answers, 0);
    assert_eq!(receivers.known.len(), 1);
}

#[test]
fn the_backend_in_this_process_has_slots_of_its_own_whatever_it_answers() {
    let mut receivers = receivers();
    let own = Receiver {
        origin: "http://own".into(),
        ..at(0)
    };
    for news in [OriginSignal::Answers, FAILS] {
        let slot = receivers.begin(&own, TRY, 0).unwrap();
        assert_eq!(slot.part, Part::Own);
        receivers.end(&slot, news, 0);
    }
}

#[test]
fn one_that_does_not_answer_is_shut_and_tried_with_one_attempt() {
    let mut receivers = after_failures(5);
    assert!(!may_begin(&mut receivers, 999));
    assert_eq!(shown(&mut receivers)[0].circuit, "open");
    assert!(may_begin(&mut receivers, 1000));
    let probe = receivers.begin(&at(0), TRY, 1000).unwrap();
    assert!(!may_begin(&mut receivers, 1000));
    let left = receivers.end(&probe, OriginSignal::Answers, 1001);
    assert!(!left.is_shut && shown(&mut receivers).is_empty());
    assert!(may_begin(&mut receivers, 1001));
}

#[test]
fn what_shuts_a_receiver_for_one_client_says_nothing_to_another() {
    let mut receivers = receivers();
    let [mine, yours] = ["me", "you"].map(|client| of_client(client, 0));
    for nth in 1..=5 {
        let left = call(&mut receivers, &mine, FAILS, 0);
        assert_eq!(left.is_shut, nth == 5);
    }
    assert!(receivers.begin(&mine, TRY, 0).is_none());
    let left = call(&mut receivers, &yours, OriginSignal::Answers, 0);
    assert_eq!((left.is_shut, left.is_shut_to_any), (false, true));
    let shut = &shown(&mut receivers)[0];
    assert_eq!(
        (shut.origin.as_str(), shut.client.as_str()),
        ("http://0", "me")
    );
    let left = call(&mut receivers, &mine, OriginSignal::Answers, 1000);
    assert_eq!((left.is_shut, left.is_shut_to_any), (false, false));
}

#[test]
fn it_is_tried_again_no_later_than_the_schedule_would() {
    let schedule = [Duration::ZERO, Duration::from_secs(3)];
    let mut receivers = Receivers::new(&schedule, None, Arc::new(|_| None));
    for _ in 0..5 {
        call(&mut receivers, &at(0), FAILS, 0);
    }
    let mut now = 0;
    for wait_ms in [1000, 2000, 3000, 3000] {
        assert!(!may_begin(&mut receivers, now + wait_ms - 1));
        now += wait_ms;
        call(&mut receivers, &at(0), FAILS, now);
    }
}

#[test]
fn a_retry_after_keeps_it_shut_for_as_long_as_asked_within_bounds() {
    let mut receivers = after_failures(4);
    let asked = |asked_ms| OriginSignal::Fails { asked_ms };
    assert!(call(&mut receivers, &at(0), asked(90_000), 0).is_shut);
    assert!(!may_begin(&mut receivers, 89_999));
    call(&mut receivers, &at(0), asked(Millis::MAX / 2), 90_000);
    assert!(!may_begin(&mut receivers, 90_000 + LONGEST_ASKED_MS - 1));
    assert!(may_begin(&mut receivers, 90_000 + LONGEST_ASKED_MS));
}

#[test]
fn rows_that_were_passed_over_have_their_turn_once_their_receiver_may_be_called() {
    let mut receivers = after_failures(5);
    receivers.pass_over(&at(0), TRY, 70, 100);
    receivers.pass_over(&at(0), TRY, 80, 100);
    assert!(!receivers.has_turn(999));
    assert_eq!(receivers.next_at(999), Some(1000));
    assert!(receivers.has_turn(1000));
    assert_eq!(turns(&mut receivers, 1000), [("http://0".to_owned(), 70)]);
    assert_eq!(turns(&mut receivers, 1000), []);
    assert_eq!(receivers.next_at(0), None);
}

#[test]
fn rows_for_which_others_left_no_room_have_their_turn_once_these_end() {
    let mut receivers = receivers();
    let others: Vec<Slot> = (1..1000)
        .map_while(|number| receivers.begin(&at(number), TRY, 0))
        .collect();
    receivers.pass_over(&at(0), TRY, 70, 100);
    assert!(!receivers.has_turn(100));
    receivers.end(&others[0], FAILS, 100);
    assert_eq!(turns(&mut receivers, 100), [("http://0".to_owned(), 70)]);
}

/// Of each client those that have waited longest, and no client only once.
#[test]
fn clients_have_their_turns_one_after_another() {
    let mut receivers = receivers();
    for number in 0..300 {
        let from = Millis::try_from(number).unwrap();
        for client in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            receivers.pass_over(&of_client(client, number), TRY, from, 0);
        }
    }
    let mut first = receivers.turns(1000);
    assert_eq!(first.len(), MOST_TURNS);
    assert!(first.iter().all(|turn| turn.from < 16), "{first:?}");
    first.extend(receivers.turns(1000));
    for client in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let of = first.iter().filter(|turn| &*turn.receiver.client == client);
        assert!(of.count() >= MOST_TURNS_OF_ONE, "{client}");
    }
}

#[test]
fn no_more_have_their_turn_than_there_is_room_for() {
    let mut receivers = receivers();
    let others: Vec<Slot> = (100..1000)
        .map_while(|number| receivers.begin(&at(number), TRY, 0))
        .collect();
    for number in 0..40 {
        for kind in Kind::ALL {
            receivers.pass_over(&at(number), kind, 70, 100);
        }
    }
    receivers.end(&others[0], OriginSignal::None, 100);
    let turns = receivers.turns(100);
    let kinds: Vec<Kind> = turns.iter().map(|turn| turn.kind).collect();
    assert_eq!(kinds, Kind::ALL);
}

#[test]
fn those_who_wait_at_an_address_that_is_full_are_not_looked_at_one_by_one() {
    let locate = |origin: &str| Some(IpAddr::from([192, 0, 2, (origin == "http://0").into()]));
    let mut receivers = Receivers::new(&[], None, Arc::new(locate));
    let under_way: Vec<Slot> = (1..1000)
        .map_while(|number| receivers.begin(&at(number), TRY, 0))
        .collect();
    for number in 1..10_000 {
        receivers.pass_over(&at(number), TRY, 70, 100);
    }
    receivers.shares.asked.set(0);
    assert!(!receivers.has_turn(100));
    receivers.pass_over(&at(0), TRY, 80, 100);
    assert_eq!(turns(&mut receivers, 100), [("http://0".to_owned(), 80)]);
    receivers.end(&under_way[0], FAILS, 100);
    assert_eq!(receivers.turns(100).len(), 1);
    let asked = receivers.shares.asked.get();
    assert!(asked < 2 * under_way.len(), "{asked} of 10,000");
}

#[test]
fn the_address_is_that_of_the_last_call_or_of_another_port() {
    let leads = Arc::new(std::sync::Mutex::new(None));
    let led = Arc::clone(&leads);
    let mut receivers = Receivers::new(&[], None, Arc::new(move |_| *led.lock().unwrap()));
    let slot = receivers.begin(&at(0), TRY, 0).unwrap();
    assert_eq!(slot.address, None);
    let address = Some(IpAddr::from([192, 0, 2, 1]));
    *leads.lock().unwrap() = address;
    assert_eq!(receivers.slot(&at(1), TRY).address, address);
    receivers.end(&slot, FAILS, 0);
    *leads.lock().unwrap() = None;
    assert_eq!(receivers.slot(&at(0), TRY).address, address);
}

/// Fails once at each of so many receivers.
fn fail_at(receivers: &mut Receivers, numbers: std::ops::Range<usize>, now: Millis) {
    for number in numbers {
        call(receivers, &at(number), FAILS, now);
    }
}

#[test]
fn names_that_are_called_once_and_fail_do_not_pile_up() {
    let mut receivers = receivers();
    for number in 0..MANY + 1000 {
        let now = Millis::try_from(number).unwrap() * 1000;
        fail_at(&mut receivers, number..number + 1, now);
    }
    assert!(receivers.known.len() <= MANY + 1);
}

#[test]
fn of_very_many_those_called_lately_and_those_passed_over_are_kept() {
    let mut receivers = receivers();
    fail_at(&mut receivers, 0..MANY, 0);
    receivers.pass_over(&at(0), TRY, 0, 0);
    fail_at(&mut receivers, MANY - 1..MANY, FORGOTTEN_AFTER_MS);
    assert_eq!(receivers.known.len(), MANY, "these are not very many");
    fail_at(&mut receivers, MANY..MANY + 1, FORGOTTEN_AFTER_MS);
    let mut kept: Vec<_> = receivers.known.keys().collect();
    kept.sort();
    let mut expected = [at(0), at(MANY - 1), at(MANY)];
    expected.sort();
    assert_eq!(kept, expected.iter().collect::<Vec<_>>());
}

/// And so the answers of its origin to others are news again.
#[test]
fn one_that_is_shut_and_that_nobody_wants_to_call_any_more_is_forgotten() {
    let [mine, yours] = ["me", "you"].map(|client| of_client(client, 0));
    for waits in [false, true] {
        let mut receivers = receivers();
        for _ in 0..5 {
            call(&mut receivers, &mine, FAILS, 0);
        }
        if waits {
            receivers.pass_over(&mine, TRY, 0, 0);
        }
        let before = call(
            &mut receivers,
            &yours,
            OriginSignal::Answers,
            FORGOTTEN_AFTER_MS - 1,
        );
        assert!(before.is_shut_to_any);
        let later = FORGOTTEN_AFTER_MS - 1 + FORGET_SHUT_EACH_MS;
        let left = call(&mut receivers, &yours, OriginSignal::Answers, later);
        assert_eq!(left.is_shut_to_any, waits);
        let (last, shown) = receivers.changes().pop().unwrap();
        assert_eq!((last, shown.is_some()), (mine.clone(), waits));
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Of so many attempts, those that may.
    Begin(usize, usize, Kind, usize),
    End(prop::sample::Index, OriginSignal),
    PassOver(usize, usize, Kind, Millis),
    Turns,
    Pass(Millis),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = || prop_oneof![Just(Kind::FirstTry), Just(Kind::Retry)];
    // Some receivers are met again and again.
    let of = || prop_oneof![1 => (0..3_usize, 0..120_usize), 1 => (0..1_usize, 0..2_usize)];
    let count = prop_oneof![3 => Just(1_usize), 1 => Just(12)];
    let news = prop_oneof![
        2 => Just(OriginSignal::Answers),
        3 => (0..2000_i64).prop_map(|asked_ms| OriginSignal::Fails { asked_ms }),
        1 => Just(OriginSignal::None),
    ];
    let step = prop_oneof![
        6 => (of(), kind(), count).prop_map(|((client, number), kind, count)| {
            Step::Begin(client, number, kind, count)
        }),
        3 => (any::<prop::sample::Index>(), news).prop_map(|(which, news)| Step::End(which, news)),
        3 => (of(), kind(), 0..9_i64)
            .prop_map(|((client, number), kind, ms)| Step::PassOver(client, number, kind, ms)),
        1 => Just(Step::Turns),
        1 => (1..1500_i64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..400)
}

fn filed(receivers: &Receivers) -> Vec<(Receiver, Part, Kind, Option<IpAddr>)> {
    let mut filed = Vec::new();
    for (client, queues) in receivers.waiting.from(&Arc::from("")) {
        for ((part, kind), queue) in queues {
            for (address, origins) in queue.due(Millis::MAX) {
                filed.extend(origins.map(|origin| {
                    let (client, origin) = (Arc::clone(client), Arc::clone(origin));
                    (Receiver { client, origin }, *part, *kind, address)
                }));
            }
        }
    }
    filed
}

proptest! {
    /// And everybody who waits is filed once, where he belongs; nobody has more than his
    /// bound under way; and who does not answer is shown.
    #[test]
    fn who_was_passed_over_has_his_turn_as_soon_as_an_attempt_may_begin(steps in steps()) {
        // At two addresses; of some nobody knows where they are.
        let locate = |origin: &str| match origin.bytes().last().unwrap_or(0) % 3 {
            0 => None,
            at => Some(IpAddr::from([192, 0, 2, at])),
        };
        let mut receivers = Receivers { locate: Arc::new(locate), ..receivers() };
        let (mut now, mut under_way) = (0, Vec::new());
        let mut shown = HashMap::new();
        for step in steps {
            match step {
                Step::Begin(client, number, kind, count) => {
                    let receiver = of_client(&client.to_string(), number);
                    let begin = || receivers.begin(&receiver, kind, now);
                    under_way.extend(std::iter::repeat_with(begin).take(count).flatten());
                }
                Step::End(which, news) if !under_way.is_empty() => {
                    let slot: Slot = under_way.swap_remove(which.index(under_way.len()));
                    receivers.end(&slot, news, now);
                }
                Step::End(..) => {}
                Step::PassOver(client, number, kind, ms) => {
                    let receiver = of_client(&client.to_string(), number);
                    receivers.pass_over(&receiver, kind, now - ms, now);
                }
                Step::Turns => {
                    let turns = receivers.turns(now);
                    prop_assert!(turns.len() <= MOST_TURNS);
                }
                Step::Pass(ms) => now += ms,
            }
            for (receiver, change) in receivers.changes() {
                match change {
                    Some(change) => shown.insert(receiver, change),
                    None => shown.remove(&receiver),
                };
            }
            let shut = receivers.known.values().filter(|one| one.is_shut());
            prop_assert_eq!(shut.count(), shown.len());
            let filed = filed(&receivers);
            let places: HashSet<_> = filed.iter().collect();
            let mut waits = 0;
            for (receiver, one) in &receivers.known {
                prop_assert!(receivers.shares.of(receiver) <= MOST_OF_ONE);
                if one.is_shut() {
                    let shown = &shown[receiver];
                    prop_assert_eq!(shown.circuit, one.circuit.state().as_str());
                    prop_assert_eq!(shown.running, receivers.shares.of(receiver));
                }
                for kind in Kind::ALL {
                    if one.waits[kind as usize].is_none() { continue }
                    waits += 1;
                    let slot = receivers.slot(receiver, kind);
                    let place = (receiver.clone(), slot.part, kind, slot.address);
                    prop_assert!(places.contains(&place));
                    let is_open = one.shut_until().is_none_or(|at| at <= now);
                    if is_open && receivers.shares.may_begin(&slot) {
                        prop_assert!(receivers.has_turn(now), "{receiver:?} {kind:?}");
                    } else if !is_open {
                        prop_assert!(receivers.next_at(now) <= one.shut_until());
                    }
                }
            }
            prop_assert_eq!(filed.len(), waits);
        }
    }
}
