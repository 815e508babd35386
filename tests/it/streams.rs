//! Event streams beyond what is kept in memory for them.

use std::future::poll_fn;
use std::pin::pin;

use actix_web::body::MessageBody;
use actix_web::{App, test, web};
use hoiam::contract::Service;
use hoiam::edge::streams::{Streams, all_events};
use tokio::sync::watch;
use uuid::Uuid;

use crate::actors::support::{World, task};

/// More events than a stream may be behind in memory.
const MANY: i64 = 6000;

/// The ids in a piece of a stream.
fn ids(piece: &[u8]) -> Vec<i64> {
    let text = String::from_utf8_lossy(piece);
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.map(|id| id.parse().unwrap()).collect()
}

#[actix_rt::test]
async fn a_stream_that_is_thousands_of_events_behind_gets_every_one_of_them_in_order() {
    let world = World::new(Service::Backend);
    let (_stop, stopping) = watch::channel(false);
    let app = App::new()
        .app_data(web::Data::new(world.db.clone()))
        .app_data(web::Data::new(Streams::new(stopping)))
        .route("/v1/events", web::get().to(all_events));
    let app = test::init_service(app).await;
    let request = test::TestRequest::get()
        .uri("/v1/events")
        .insert_header(("accept", "text/event-stream"))
        .insert_header(("last-event-id", "0"))
        .to_request();
    let answer = test::call_service(&app, request).await;
    let mut body = pin!(answer.into_body());
    // It has read the history, which is empty, and listens.
    poll_fn(|cx| body.as_mut().poll_next(cx))
        .await
        .unwrap()
        .unwrap();
    for _ in 0..MANY / 500 {
        let written = world.db.write(|tx| {
            for _ in 0..500 {
                task(Uuid::now_v7(), 60)(tx)?;
            }
            Ok(())
        });
        written.await.unwrap();
    }
    let mut last = 0;
    while last < MANY {
        let piece = poll_fn(|cx| body.as_mut().poll_next(cx)).await;
        for id in ids(&piece.unwrap().unwrap()) {
            assert_eq!(id, last + 1, "none is left out, none comes twice");
            last = id;
        }
    }
}
