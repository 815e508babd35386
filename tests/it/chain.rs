//! The whole chain: text in at the Backend, voice back by callback.

use serde_json::json;

use crate::support::chain::submit;
use crate::support::signed::{SECRET, assert_signed};
use crate::support::{Peer, Service};

#[test]
fn a_task_is_spoken_fetched_and_told_with_a_signature_that_others_can_check() {
    let service = Service::all().start();
    let (client, receiver) = (service.client(), Peer::receiver());
    let task = submit(&client, json!({"callback_url": receiver.url("/hook")}));
    let callback = receiver.wait_for_callback("task.completed");
    assert_signed(&callback, SECRET);
    assert_eq!(
        callback.json()["data"]["id"],
        client.get(&task).expect(200).json()["id"]
    );
}
