use std::task::{Context, Poll, Wake, Waker};

use futures_util::FutureExt;
use hoiam_api::{EventType, Service};

use super::*;

fn event(id: i64, subject: Uuid, to: &str) -> (Uuid, Event) {
    let event = Event {
        id: Some(id),
        to: Some(to.to_owned()),
        ..Event::of(Service::Tts, subject, EventType::State, 0)
    };
    (subject, event)
}

fn progress(subject: Uuid) -> (Uuid, Event) {
    let event = Event::of(Service::Tts, subject, EventType::Progress, 0);
    (subject, event)
}

/// Hands out what was published, and ends the hub.
fn hand_out(hub: Hub, hands: impl FnOnce()) {
    drop(hub);
    hands();
}

/// What waits for the listener.
fn heard(listener: &mut Subscription) -> Option<News> {
    listener.next().now_or_never()
}

fn ids(news: Option<News>) -> Vec<Option<i64>> {
    match news {
        Some(News::Events(events)) => events.iter().map(|event| event.id).collect(),
        other => panic!("no events but {other:?}"),
    }
}

/// How often a listener that waits was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn each_hears_of_what_it_has_asked_for_in_order() {
    let (hub, hands) = Hub::new();
    let [one, other] = [Uuid::now_v7(), Uuid::now_v7()];
    let mut of_one = hub.subscribe(Interest::Of(one));
    let mut of_all = hub.subscribe(Interest::All);
    let mut end_of_other = hub.subscribe(Interest::EndOf(other));
    let mut stored = hub.subscribe(Interest::Stored);
    let (first, second) = (event(1, one, "queued"), event(2, other, "queued"));
    hub.publish(vec![first, second]);
    hub.publish(vec![progress(one)]);
    hub.publish(vec![event(3, one, "completed")]);
    hand_out(hub, hands);
    assert_eq!(ids(heard(&mut of_one)), [Some(1), None, Some(3)]);
    assert_eq!(ids(heard(&mut of_all)), [Some(1), Some(2), None, Some(3)]);
    assert_eq!(heard(&mut end_of_other), None);
    assert_eq!(heard(&mut stored), Some(News::InTable));
    for listener in [&mut of_one, &mut of_all, &mut stored] {
        assert_eq!(heard(listener), None, "nothing comes twice");
    }
}

#[test]
fn nobody_is_woken_for_others_and_who_waits_for_an_end_but_once() {
    let (hub, _hands) = Hub::new();
    let [one, other] = [Uuid::now_v7(), Uuid::now_v7()];
    let interests = [
        Interest::Of(other),
        Interest::EndOf(other),
        Interest::EndOf(one),
        Interest::Stored,
    ];
    let mut listeners = interests.map(|interest| hub.subscribe(interest));
    let wakes = interests.map(|_| Arc::<Wakes>::default());
    let mut waiting: Vec<_> = listeners
        .iter_mut()
        .map(|listener| Box::pin(listener.next()))
        .collect();
    for (wait, wakes) in waiting.iter_mut().zip(&wakes) {
        let waker = Waker::from(Arc::clone(wakes));
        let polled = wait.as_mut().poll(&mut Context::from_waker(&waker));
        assert_eq!(polled, Poll::Pending);
    }
    let counts = || wakes.each_ref().map(|wakes| wakes.count());
    hub.shared.deliver(vec![progress(one)]);
    assert_eq!(counts(), [0, 0, 0, 0]);
    hub.shared.deliver(vec![event(1, one, "queued")]);
    assert_eq!(counts(), [0, 0, 0, 1]);
    hub.shared.deliver(vec![event(2, one, "completed")]);
    hub.shared.deliver(vec![event(3, one, "completed")]);
    assert_eq!(counts(), [0, 0, 1, 1]);
}

#[test]
fn who_falls_behind_is_told_to_look_at_the_table_and_goes_on_from_there() {
    let (hub, _hands) = Hub::new();
    let subject = Uuid::now_v7();
    let mut slow = hub.subscribe(Interest::Of(subject));
    let newest = i64::try_from(BACKLOG).unwrap();
    let many = |last| (1..=last).map(|id| event(id, subject, "queued")).collect();
    hub.shared.deliver(many(newest));
    assert_eq!(ids(heard(&mut slow)).len(), BACKLOG);
    hub.shared.deliver(many(newest));
    hub.shared.deliver(many(1));
    assert!(slow.mailbox.waiting().events.is_empty(), "no more is kept");
    assert_eq!(heard(&mut slow), Some(News::InTable));
    hub.shared.deliver(many(2));
    assert_eq!(ids(heard(&mut slow)), [Some(1), Some(2)]);
    assert_eq!(heard(&mut slow), None);
}

#[test]
fn when_the_hub_itself_falls_behind_all_look_at_the_table() {
    let (hub, hands) = Hub::new();
    let [one, other] = [Uuid::now_v7(), Uuid::now_v7()];
    let mut listeners = [
        hub.subscribe(Interest::Of(one)),
        hub.subscribe(Interest::EndOf(other)),
        hub.subscribe(Interest::All),
    ];
    for id in 0..=QUEUE {
        hub.publish(vec![event(i64::try_from(id).unwrap(), one, "queued")]);
    }
    hand_out(hub, hands);
    for listener in &mut listeners {
        assert_eq!(heard(listener), Some(News::InTable));
    }
}

#[test]
fn who_has_left_leaves_nothing_behind() {
    let (hub, _hands) = Hub::new();
    let subject = Uuid::now_v7();
    let listeners = [
        Interest::Of(subject),
        Interest::Of(subject),
        Interest::EndOf(subject),
        Interest::All,
        Interest::Stored,
    ]
    .map(|interest| hub.subscribe(interest));
    let mut first = hub.subscribe(Interest::EndOf(Uuid::now_v7()));
    assert_eq!(heard(&mut first), None);
    assert_eq!(hub.listeners(), 6);
    drop((first, listeners));
    assert_eq!(hub.listeners(), 0);
    assert!(hub.shared.mailboxes().is_empty());
    hub.publish(vec![event(1, subject, "queued")]);
    assert!(hub.queue.is_empty(), "nobody listens");
}

#[test]
fn a_wait_that_was_given_up_loses_nothing_for_the_next() {
    let (hub, hands) = Hub::new();
    let subject = Uuid::now_v7();
    let mut listener = hub.subscribe(Interest::Of(subject));
    assert_eq!(heard(&mut listener), None);
    hub.publish(vec![event(1, subject, "queued")]);
    hand_out(hub, hands);
    let taken = listener.next().now_or_never();
    assert_eq!(ids(taken), [Some(1)]);
}
