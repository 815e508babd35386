use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;

use super::*;

fn receiver(client: usize, number: usize) -> Receiver {
    Receiver {
        client: format!("c{client}").into(),
        origin: format!("http://{number}").into(),
    }
}

fn slot(part: Part, receiver: Receiver, kind: Kind) -> Slot {
    Slot {
        receiver,
        kind,
        part,
        address: None,
    }
}

/// Whether it could begin; if so it has.
fn try_begin(shares: &mut Shares, slot: &Slot) -> bool {
    let may = shares.may_begin(slot);
    if may {
        shares.begin(slot);
    }
    may
}

/// All of these want as many as they can get, by turns.
fn all_want_more(shares: &mut Shares, slots: &[Slot]) {
    let mut begins = true;
    while begins {
        let tried = slots.iter().map(|slot| try_begin(shares, slot));
        begins = tried.fold(false, |any, began| any | began);
    }
}

fn of_one_client(part: Part, receivers: usize, kind: Kind) -> Vec<Slot> {
    let of = |number| slot(part, receiver(0, number), kind);
    (0..receivers).map(of).collect()
}

#[test]
fn a_few_receivers_have_many_each_and_many_have_equal_parts() {
    let of_answering = [(1, 32), (4, 32), (10, 32), (40, 8)];
    let of_unproven = [(1, 8), (2, 7), (4, 4), (40, 1)];
    for (part, cases) in [
        (Part::Answering, &of_answering[..]),
        (Part::Unproven, &of_unproven),
    ] {
        for (receivers, share) in cases {
            let mut shares = Shares::default();
            let slots = of_one_client(part, *receivers, Kind::Retry);
            all_want_more(&mut shares, &slots);
            for slot in &slots {
                let of = shares.of(&slot.receiver);
                assert!(of.abs_diff(*share) <= 1, "{of} of {receivers} in {part:?}");
            }
        }
    }
}

#[test]
fn no_storm_of_retries_takes_the_slots_that_are_kept_for_first_tries() {
    for part in Part::ALL {
        let mut shares = Shares::default();
        all_want_more(&mut shares, &of_one_client(part, 1000, Kind::Retry));
        assert!(shares.room(part, "c0", Kind::Retry) == 0);
        assert!(shares.room(part, "c0", Kind::FirstTry) > 0);
        all_want_more(&mut shares, &of_one_client(part, 1000, Kind::FirstTry));
        assert!(shares.room(part, "c0", Kind::FirstTry) == 0);
    }
}

#[test]
fn first_tries_that_hang_leave_room_for_retries_as_long_as_there_is_any() {
    let mut shares = Shares::default();
    let first_tries = of_one_client(Part::Unproven, 150, Kind::FirstTry);
    all_want_more(&mut shares, &first_tries);
    assert_eq!(shares.in_part(Part::Unproven), 150);
    let retry = |number| slot(Part::Unproven, receiver(0, number), Kind::Retry);
    assert!((150..170).all(|number| try_begin(&mut shares, &retry(number))));
    assert!(!try_begin(&mut shares, &retry(170)), "its share is full");
}

#[test]
fn a_receiver_has_no_more_for_having_some_in_another_part() {
    for (part, other, more) in [
        (Part::Answering, Part::Unproven, 0),
        (Part::Unproven, Part::Answering, 24),
    ] {
        let mut shares = Shares::default();
        let of = |part| [slot(part, receiver(0, 0), Kind::FirstTry)];
        all_want_more(&mut shares, &of(part));
        let before = shares.in_part(part);
        all_want_more(&mut shares, &of(other));
        assert_eq!(shares.of(&receiver(0, 0)), before + more);
    }
}

/// Whoever came first, so many more each has as there are fewer.
#[test]
fn slow_receivers_of_several_clients_have_equal_parts() {
    for (clients, share) in [(2, 32), (10, 32), (20, 24), (40, 13)] {
        let mut shares = Shares::default();
        let of = |client| slot(Part::Answering, receiver(client, 0), Kind::FirstTry);
        let slots: Vec<Slot> = (0..clients).map(of).collect();
        all_want_more(&mut shares, &slots);
        for slot in &slots {
            let of = shares.of(&slot.receiver);
            assert!(of.abs_diff(share) <= 3, "{of} of {clients}");
        }
    }
}

#[test]
fn what_does_not_answer_takes_nothing_from_what_does() {
    let mut shares = Shares::default();
    for client in 0..40 {
        let of = |number| slot(Part::Unproven, receiver(client, number), Kind::FirstTry);
        all_want_more(&mut shares, &(0..300).map(of).collect::<Vec<_>>());
    }
    assert_eq!(shares.in_part(Part::Unproven), 256);
    for part in [Part::Own, Part::Answering] {
        let new = slot(part, receiver(0, 300 + part as usize), Kind::Retry);
        (0..16).for_each(|_| assert!(try_begin(&mut shares, &new)));
    }
}

#[test]
fn an_address_has_a_bound_of_its_own_whatever_the_name_and_the_port() {
    let mut shares = Shares::default();
    let address = Some([192, 0, 2, 1].into());
    let at = |client, number| Slot {
        address,
        ..slot(Part::Unproven, receiver(client, number), Kind::FirstTry)
    };
    let flood: Vec<Slot> = (0..1500).map(|number| at(0, number)).collect();
    all_want_more(&mut shares, &flood);
    assert_eq!(shares.in_part(Part::Unproven), 42);
    assert!(shares.may_begin(&slot(Part::Unproven, receiver(0, 9999), Kind::Retry)));
    assert!(
        try_begin(&mut shares, &at(1, 0)),
        "another client, there too"
    );
    let answers = Slot {
        part: Part::Answering,
        ..at(0, 0)
    };
    assert!(shares.may_begin(&answers));
    let begun = shares.clone();
    for slot in flood.iter().filter(|slot| begun.of(&slot.receiver) > 0) {
        shares.end(slot);
    }
    assert_eq!(shares.by_address.values().map(Bound::all).sum::<usize>(), 1);
}

#[derive(Debug, Clone)]
enum Step {
    Begin {
        client: usize,
        number: usize,
        kind: Kind,
        part: Part,
        at: u8,
    },
    End(Index),
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![1 => Just(Kind::FirstTry), 4 => Just(Kind::Retry)]
}

fn any_part() -> impl Strategy<Value = Part> {
    prop_oneof![1 => Just(Part::Own), 3 => Just(Part::Answering), 4 => Just(Part::Unproven)]
}

/// Mostly of a few receivers, whose appetite has no end.
fn steps(clients: usize, receivers: usize) -> impl Strategy<Value = Vec<Step>> {
    let number = prop_oneof![2 => 0..receivers, 1 => 0..receivers.min(8)];
    let step = prop_oneof![
        4 => (0..clients, number, any_kind(), any_part(), 0..3_u8).prop_map(
            |(client, number, kind, part, at)| Step::Begin { client, number, kind, part, at },
        ),
        1 => any::<Index>().prop_map(Step::End),
    ];
    prop::collection::vec(step, 0..900)
}

fn address(at: u8) -> Option<IpAddr> {
    // Some are not known.
    (at > 0).then(|| [192, 0, 2, at].into())
}

/// Takes these steps, looks now and then and after the last, and ends everything.
fn walk(
    steps: Vec<Step>,
    look: impl Fn(&Shares) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let (mut shares, mut under_way) = (Shares::default(), Vec::new());
    let count = steps.len();
    for (nth, step) in steps.into_iter().enumerate() {
        match step {
            Step::Begin {
                client,
                number,
                kind,
                part,
                at,
            } => {
                let slot = Slot {
                    address: address(at),
                    ..slot(part, receiver(client, number), kind)
                };
                if try_begin(&mut shares, &slot) {
                    under_way.push(slot);
                }
            }
            Step::End(which) if !under_way.is_empty() => {
                let slot = under_way.swap_remove(which.index(under_way.len()));
                shares.end(&slot);
            }
            Step::End(_) => {}
        }
        for part in Part::ALL {
            prop_assert!(shares.in_part(part) <= part.most());
        }
        prop_assert!(
            shares
                .by_address
                .values()
                .all(|at| at.all() <= MOST_OF_ADDRESS)
        );
        if nth % 50 == 49 || nth + 1 == count {
            look(&shares)?;
        }
    }
    under_way.iter().for_each(|slot| shares.end(slot));
    let is_idle =
        |part: &Under| part.bound.all() + part.by_receiver.len() + part.retries.len() == 0;
    let none = shares.parts.iter().all(is_idle);
    prop_assert!(none && shares.by_address.is_empty());
    Ok(())
}

proptest! {
    #[test]
    fn whatever_15_clients_are_owed_another_one_begins_four_at_once(steps in steps(15, 400)) {
        walk(steps, |shares| {
            for part in Part::ALL {
                for kind in Kind::ALL {
                    let new = |number| slot(part, receiver(99, number), kind);
                    let mut shares = shares.clone();
                    let begun = (0..FEW).all(|number| try_begin(&mut shares, &new(number)));
                    prop_assert!(begun, "{part:?} {kind:?} {shares:?}");
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn beside_three_clients_it_does_at_an_address_that_does_not_answer_too(
        steps in steps(3, 400),
    ) {
        walk(steps, |shares| {
            for at in 0..3 {
                let new = Slot {
                    address: address(at),
                    ..slot(Part::Unproven, receiver(99, 0), Kind::Retry)
                };
                prop_assert!(shares.may_begin(&new), "{shares:?}");
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_receiver_that_has_none_begins_one_at_once_beside_79_others_of_its_client(
        steps in steps(1, 79),
    ) {
        walk(steps, |shares| {
            for part in [Part::Answering, Part::Unproven] {
                for kind in Kind::ALL {
                    let new = slot(part, receiver(0, 99), kind);
                    prop_assert!(shares.may_begin(&new), "{part:?} {kind:?} {shares:?}");
                }
            }
            Ok(())
        })?;
    }
}
