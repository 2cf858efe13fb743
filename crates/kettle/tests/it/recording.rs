//! Recordings: what stands in them, and what keeps a server from recording but not from serving.

use crate::harness::{Host, block_on, host_with, join_all, poll_once};
use crate::on_every_model;
use crate::streams::stream;
use kettle::{Channel, Code, Model, Recorder, RecorderBuilder, Server, Streaming};
use kettle_testkit::trial::trial_client::TrialClient;
use kettle_testkit::trial::{Behaviour, Outcome, Task, task};
use prost::Message;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;
use tempfile::TempDir;

on_every_model! {
    every_kind_of_call_stands_in_the_file
    calls_that_do_not_end_well_stand_in_the_file
    a_full_file_ends_the_recording_and_not_the_server
    a_server_that_ends_completes_its_file
    payloads_are_recorded_when_asked_for
}

/// How long a slow handler takes, in microseconds.
const SLOW_US: u64 = 20_000;

/// A file that is not there yet, in a folder that goes with it.
struct Place {
    _folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traffic.jsonl");
        Self {
            _folder: folder,
            path,
        }
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.path).unwrap();
        assert!(text.ends_with('\n'), "the last line is whole");
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    }

    /// Lines of calls, in the order of their arrival.
    fn calls(&self) -> Vec<Value> {
        let mut calls = self.lines();
        calls.retain(|line| line.get("method").is_some());
        calls.sort_by_key(|call| call["at_us"].as_u64());
        calls
    }
}

fn recording(model: Model, builder: RecorderBuilder) -> (Place, Recorder, Host) {
    let place = Place::new();
    let recorder = builder.create(&place.path).unwrap();
    let host = host_with(Server::builder().model(model).interceptor(recorder.clone()));
    (place, recorder, host)
}

fn echo(bytes: usize) -> Task {
    Task {
        payload: vec![7; bytes].into(),
        ..task(Behaviour::Echo)
    }
}

fn all(mut replies: Streaming<Outcome>) -> Vec<Outcome> {
    let mut all = Vec::new();
    while let Some(reply) = block_on(replies.message()).unwrap() {
        all.push(reply);
    }
    all
}

fn bytes(messages: &[Outcome]) -> usize {
    messages.iter().map(Message::encoded_len).sum()
}

/// What a line says of a call's messages.
fn messages(call: &Value) -> Value {
    let path = call["method"].as_str().unwrap();
    let name = path.strip_prefix("/kettle.trial.v1.Trial/").unwrap();
    json!([
        name,
        call["kind"],
        call["requests"],
        call["request_bytes"],
        call["replies"],
        call["reply_bytes"]
    ])
}

/// Makes a call of each kind; what is to be recorded of each.
fn call_in_every_way(host: &Host) -> Vec<Value> {
    let client = host.client();
    let slow = Task {
        number: SLOW_US,
        ..task(Behaviour::Sleep)
    };
    let five = Task {
        number: 5,
        ..echo(30)
    };
    let (slow_bytes, five_bytes) = (slow.encoded_len(), five.encoded_len());
    let one = block_on(client.run(echo(100))).unwrap().into_inner();
    let slept = block_on(client.run(slow)).unwrap().into_inner();
    let tasks = stream([echo(10), echo(20), echo(0)]);
    let collected = block_on(client.collect(tasks)).unwrap().into_inner();
    let pushed = all(block_on(client.push(five)).unwrap().into_inner());
    let talk = stream([echo(40), echo(50)]);
    let said = all(block_on(client.chat(talk)).unwrap().into_inner());
    // A payload of up to 127 bytes takes two more.
    vec![
        json!(["Run", "unary", 1, 102, 1, one.encoded_len()]),
        json!(["Run", "unary", 1, slow_bytes, 1, slept.encoded_len()]),
        json!([
            "Collect",
            "client-stream",
            3,
            12 + 22,
            1,
            collected.encoded_len()
        ]),
        json!(["Push", "server-stream", 1, five_bytes, 5, bytes(&pushed)]),
        json!(["Chat", "bidi", 2, 42 + 52, 2, bytes(&said)]),
    ]
}

fn every_kind_of_call_stands_in_the_file(model: Model) {
    let (place, recorder, host) = recording(model, Recorder::builder());
    let wanted = call_in_every_way(&host);
    drop(host);
    let recorded = recorder.stop();
    assert_eq!((recorded.calls, recorded.unrecorded), (5, 0));
    assert_eq!(recorded.bytes, fs::metadata(&place.path).unwrap().len());
    let lines = place.lines();
    assert_eq!(lines[0]["kettle_recording"], 1);
    assert_eq!(lines[0]["payloads"], false);
    let end = lines.last().unwrap();
    assert_eq!((&end["calls"], &end["unrecorded"]), (&json!(5), &json!(0)));
    let calls = place.calls();
    let said: Vec<_> = calls.iter().map(messages).collect();
    assert_eq!(said, wanted);
    for call in &calls {
        assert_eq!(
            (&call["status"], &call["connection"]),
            (&json!("OK"), &json!(1))
        );
        assert!(
            call["at_us"].as_u64() < end["end_us"].as_u64(),
            "{call} {end}"
        );
    }
    assert!(
        Some(SLOW_US) <= calls[1]["took_us"].as_u64(),
        "{}",
        calls[1]
    );
}

fn calls_that_do_not_end_well_stand_in_the_file(model: Model) {
    let (place, recorder, host) = recording(model, Recorder::builder());
    let client = host.client();
    let fail = Task {
        number: Code::NotFound.as_u32().into(),
        ..task(Behaviour::Fail)
    };
    block_on(client.run(fail)).unwrap_err();
    block_on(client.run(task(Behaviour::Panic))).unwrap_err();
    {
        let mut call = pin!(client.run(task(Behaviour::Never)));
        assert!(poll_once(call.as_mut()).is_pending());
        host.until("the call", |host| host.service.waiting() == 1);
    }
    host.until("the cancellation", |host| host.service.waiting() == 0);
    drop((client, host));
    assert_eq!(recorder.stop().calls, 3);
    let statuses: Vec<_> = place
        .calls()
        .iter()
        .map(|call| call["status"].clone())
        .collect();
    assert_eq!(statuses, ["NOT_FOUND", "INTERNAL", "CANCELLED"]);
    let replies: Vec<_> = place
        .calls()
        .iter()
        .map(|call| call["replies"].clone())
        .collect();
    assert_eq!(replies, [0, 0, 0]);
}

fn a_full_file_ends_the_recording_and_not_the_server(model: Model) {
    const CALLS: u64 = 200;
    let (place, recorder, host) = recording(model, Recorder::builder().bytes_max(4096));
    let client = host.client();
    for _ in 0..CALLS {
        block_on(client.run(echo(8))).unwrap();
    }
    drop((client, host));
    let recorded = recorder.stop();
    assert!(
        recorded.is_full && recorded.failure.is_none(),
        "{recorded:?}"
    );
    assert!((10..CALLS).contains(&recorded.calls), "{recorded:?}");
    assert_eq!(recorded.calls + recorded.unrecorded, CALLS);
    assert!(recorded.bytes <= 4096, "{recorded:?}");
    let lines = place.lines();
    assert_eq!(place.calls().len() as u64, recorded.calls);
    let [.., full, end] = lines.as_slice() else {
        panic!("{lines:?}")
    };
    assert!(full.get("full_us").is_some(), "{full}");
    assert_eq!(
        (&end["calls"], &end["unrecorded"]),
        (&json!(recorded.calls), &json!(recorded.unrecorded))
    );
}

fn a_server_that_ends_completes_its_file(model: Model) {
    let place = Place::new();
    let recorder = Recorder::builder().create(&place.path).unwrap();
    let host = host_with(Server::builder().model(model).interceptor(recorder));
    block_on(host.client().run(echo(1))).unwrap();
    drop(host);
    // The last loop or task of the server drops it, at the latest soon after.
    let is_complete = || place.lines().last().unwrap().get("end_us").is_some();
    let begun = std::time::Instant::now();
    while !is_complete() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{:?}",
            place.lines()
        );
        std::thread::yield_now();
    }
    assert_eq!(place.calls().len(), 1);
}

fn payloads_are_recorded_when_asked_for(model: Model) {
    let (place, recorder, host) = recording(model, Recorder::builder().payloads(true));
    let client = host.client();
    block_on(client.run(Task {
        payload: "tea".into(),
        ..echo(0)
    }))
    .unwrap();
    block_on(client.collect(stream([
        echo(0),
        Task {
            payload: "pot".into(),
            ..echo(0)
        },
    ])))
    .unwrap();
    drop((client, host));
    recorder.stop();
    assert_eq!(place.lines()[0]["payloads"], true);
    let payloads: Vec<_> = place
        .calls()
        .iter()
        .map(|call| call["payloads"].clone())
        .collect();
    // Tag 2 of wire type 2, the length 3, and the text, as base64.
    assert_eq!(payloads, [json!(["EgN0ZWE="]), json!(["", "EgNwb3Q="])]);
}

#[test]
fn connections_are_told_apart() {
    let (place, recorder, host) = recording(Model::Epoll, Recorder::builder());
    let clients: Vec<_> = (0..3).map(|_| TrialClient::new(host.channel())).collect();
    for client in clients.iter().chain(&clients[..1]) {
        block_on(client.run(echo(1))).unwrap();
    }
    drop((clients, host));
    recorder.stop();
    let connections: Vec<_> = place
        .calls()
        .iter()
        .map(|call| call["connection"].clone())
        .collect();
    assert_eq!(connections, [1, 2, 3, 1]);
}

#[test]
fn calls_of_many_loops_and_of_the_pool_come_together() {
    let place = Place::new();
    let recorder = Recorder::builder().create(&place.path).unwrap();
    let builder = Server::builder().loops(3).interceptor(recorder.clone());
    let host = crate::harness::host_so(builder, kettle::Service::on_pool);
    let clients: Vec<_> = (0..6).map(|_| TrialClient::new(host.channel())).collect();
    block_on(join_all(clients.iter().map(|client| async {
        for _ in 0..50 {
            client.run(echo(5)).await.unwrap();
        }
        let one = Task {
            number: 1,
            ..echo(5)
        };
        let mut replies = client.push(one).await.unwrap().into_inner();
        while replies.message().await.unwrap().is_some() {}
    })));
    drop((clients, host));
    let recorded = recorder.stop();
    assert_eq!((recorded.calls, recorded.unrecorded), (6 * 51, 0));
    let calls = place.calls();
    assert_eq!(calls.len(), 6 * 51);
    let streams = calls.iter().filter(|call| call["kind"] == "server-stream");
    assert!(
        streams
            .clone()
            .all(|call| call["replies"] == 1 && call["status"] == "OK")
    );
    assert_eq!(streams.count(), 6);
}

#[test]
fn a_file_that_is_there_is_left_alone() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "mine").unwrap();
    let error = Recorder::builder().create(file.path()).unwrap_err();
    assert!(
        error.to_string().contains("a recording overwrites no file"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "mine");
    let error = Recorder::builder()
        .create("/nonexistent/traffic")
        .unwrap_err();
    assert!(format!("{error:?}").contains("No such file"), "{error:?}");
    let error = Recorder::builder()
        .bytes_max(100)
        .create("/nonexistent/traffic")
        .unwrap_err();
    assert!(error.is_config(), "{error}");
}

#[test]
fn a_recording_is_for_its_user_only() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let recorder = Recorder::builder().create(&place.path).unwrap();
    let mode = fs::metadata(&place.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    recorder.stop();
    assert_eq!(
        recorder.stop(),
        recorder.recorded(),
        "a second stop does nothing"
    );
}

#[test]
fn calls_after_a_stop_are_served_and_not_recorded() {
    let (place, recorder, host) = recording(Model::Epoll, Recorder::builder());
    let channel = block_on(Channel::connect(host.url())).unwrap();
    let client = TrialClient::new(channel);
    block_on(client.run(echo(1))).unwrap();
    recorder.stop();
    block_on(client.run(echo(1))).unwrap();
    drop((client, host));
    assert_eq!(place.calls().len(), 1);
    assert_eq!(recorder.recorded().unrecorded, 1);
}
