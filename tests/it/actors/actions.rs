//! Actions by kind and by client: nobody's wait behind another's.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use hoiam::backend::{ResultKnown, TaskEnded, TaskSubmitted, store as tasks};
use hoiam::db::Tx;
use hoiam::resource::row::TableRow as _;
use hoiam_api::Service;
use serde_json::json;
use uuid::Uuid;

use super::backend::{accepts, speaks, spoken, start, tts};
use super::panics::panics;
use super::support::{Reply, START, Seen, Server, World, create, eventually, task_row};

/// Hand-overs that are under way at most, where other kinds may have their slots.
const MOST_HAND_OVERS: usize = 48;

async fn submit(world: &World, client: &'static str, many: usize) -> Vec<Uuid> {
    let submitted = world.db.write(move |tx| {
        (0..many)
            .map(|_| {
                let id = Uuid::now_v7();
                let new = tasks::New {
                    id,
                    client: client.to_owned(),
                    idempotency_key: None,
                    request: create("test/silence", None, 3600).into(),
                    extra: tasks::NewTask {
                        report_to: "http://127.0.0.1:9/v1/callbacks".into(),
                        retry_of: None,
                    },
                };
                tasks::submit(tx, &new)?;
                Ok(id)
            })
            .collect()
    });
    submitted.await.unwrap()
}

async fn is(world: &World, id: Uuid, status: &str) -> bool {
    task_row(&world.db, id).await.status == status
}

/// What is done for those who wait for something else, at this very moment.
async fn a_fetch_and_an_abandon_are_made(
    world: &World,
    actor: &actix::Addr<hoiam::backend::Backend>,
) {
    let ids = submit(world, "", 2).await;
    let (fetched, canceled) = (ids[0], ids[1]);
    let now = world.now();
    let owe = move |tx: &mut Tx<'_>| {
        tasks::result_known(tx, &spoken(fetched), "test")?;
        tasks::cancel(tx, canceled).map(drop)
    };
    world.db.write(owe).await.unwrap();
    actor.do_send(ResultKnown);
    actor.do_send(TaskEnded);
    eventually("it is fetched", || async {
        is(world, fetched, "completed").await
    })
    .await;
    eventually("it is abandoned", || async {
        task_row(&world.db, canceled).await.action.is_none()
    })
    .await;
    assert_eq!(world.now(), now);
}

#[actix_rt::test]
async fn fetches_and_abandons_do_not_wait_for_hand_overs_that_hang() {
    let mut world = World::new(Service::Backend);
    let server = Server::start(|seen| match seen.method.as_str() {
        "PUT" => Reply::Hang,
        _ => speaks(seen),
    });
    submit(&world, "", 100).await;
    let (actor, _) = start(&mut world, &server);
    eventually("as many hang as may", || async {
        server.hanging() == MOST_HAND_OVERS
    })
    .await;
    a_fetch_and_an_abandon_are_made(&world, &actor).await;
    world.settle().await;
    assert_eq!(server.most_hanging(), MOST_HAND_OVERS);
}

#[actix_rt::test]
async fn a_429_holds_back_hand_overs_and_nothing_else() {
    let mut world = World::new(Service::Backend);
    let server = Server::start(|seen| match seen.method.as_str() {
        "PUT" => Reply::RetryAfter(429, 30),
        _ => speaks(seen),
    });
    submit(&world, "", 1000).await;
    let (actor, _) = start(&mut world, &server);
    eventually("hand-overs are refused", || async {
        server.count("PUT") > 0
    })
    .await;
    world.settle().await;
    a_fetch_and_an_abandon_are_made(&world, &actor).await;
    world.advance_ms(29_999);
    world.settle().await;
    let refused = server.count("PUT");
    // Those that were under way when the first one was refused, and whoever took
    // the place of one that was refused before that was known.
    assert!(refused < 2 * MOST_HAND_OVERS, "{refused}");
    a_fetch_and_an_abandon_are_made(&world, &actor).await;
    server.answers(accepts);
    world.advance_ms(60_000);
    eventually("all the rest is handed over", || async {
        server.count("PUT") >= 1000
    })
    .await;
}

/// Answers the hand-overs of these tasks with a problem of this code, which is no
/// time to wait for longer than a second, and accepts all others.
fn refuses(
    ids: &Arc<Mutex<HashSet<String>>>,
    code: &'static str,
) -> impl Fn(&Seen) -> Reply + use<> {
    let ids = Arc::clone(ids);
    move |seen| {
        let id = seen.path.rsplit('/').next().unwrap();
        if ids.lock().unwrap().contains(id) {
            return Reply::Json(429, json!({ "code": code, "detail": "No." }));
        }
        accepts(seen)
    }
}

#[actix_rt::test]
async fn a_client_whose_share_is_full_waits_alone_and_a_full_queue_holds_back_all() {
    for (code, others_wait) in [("share_full", false), ("queue_full", true)] {
        let mut world = World::new(Service::Backend);
        let refused = Arc::default();
        let server = tts(refuses(&refused, code));
        let flood = submit(&world, "a", 300).await;
        let names = flood.iter().map(Uuid::to_string);
        refused.lock().unwrap().extend(names);
        let (actor, _) = start(&mut world, &server);
        eventually("one was refused", || async {
            let rows = world.db.read({
                let flood = flood.clone();
                move |conn| {
                    flood
                        .iter()
                        .map(|id| tasks::Row::get(conn, *id))
                        .collect::<Result<Vec<_>, _>>()
                }
            });
            let rows = rows.await.unwrap();
            rows.iter().flatten().any(|row| row.action_attempt == 1)
        })
        .await;
        world.settle().await;
        let other = submit(&world, "b", 1).await[0];
        actor.do_send(TaskSubmitted);
        if others_wait {
            world.settle().await;
            assert!(is(&world, other, "queued").await);
            world.advance_ms(1000);
        }
        eventually("another's is handed over", || async {
            is(&world, other, "in_progress").await
        })
        .await;
        let now = START + if others_wait { 1000 } else { 0 };
        assert_eq!(world.now(), now);
        refused.lock().unwrap().clear();
        for id in flood {
            eventually("the flood has its turn", || async {
                let is_handed_over = is(&world, id, "in_progress").await;
                if !is_handed_over {
                    world.advance_ms(500);
                }
                is_handed_over
            })
            .await;
        }
    }
}

#[actix_rt::test]
async fn a_client_that_comes_behind_a_flood_is_handed_over_in_its_turn() {
    let mut world = World::new(Service::Backend);
    let server = tts(|_| Reply::Hang);
    submit(&world, "flood", 500).await;
    let other = submit(&world, "other", 2).await;
    let (_actor, _) = start(&mut world, &server);
    eventually("as many hang as may", || async {
        server.hanging() == MOST_HAND_OVERS
    })
    .await;
    let seen = server.seen();
    for id in other {
        let path = format!("/v1/speech/{id}");
        assert!(seen.iter().any(|seen| seen.path == path));
    }
}

#[actix_rt::test]
async fn an_erasure_waits_for_a_hand_over_that_was_begun_before_a_restart() {
    let mut world = World::new(Service::Backend);
    let server = Server::start(|seen| match seen.method.as_str() {
        "PUT" => Reply::Hang,
        "DELETE" => Reply::Status(204),
        _ => Reply::Status(404),
    });
    let id = submit(&world, "", 1).await[0];
    let (actor, _) = start(&mut world, &server);
    eventually("the hand-over is under way", || async {
        server.hanging() == 1
    })
    .await;
    // Nobody tells the actor, and the hand-over is not made again after the restart.
    let erase = move |tx: &mut Tx<'_>| {
        tasks::cancel(tx, id)?;
        tasks::erase(tx, id).map(drop)
    };
    world.db.write(erase).await.unwrap();
    panics(&world, "backend").await;
    for _ in 0..5 {
        actor.do_send(TaskEnded);
        world.settle().await;
    }
    assert_eq!(server.count("DELETE"), 0);
    server.release();
    eventually("the speech is erased", || async {
        server.count("DELETE") == 1
    })
    .await;
}
