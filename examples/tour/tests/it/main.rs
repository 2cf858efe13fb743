//! Every example runs, and prints what it should.

mod process;

use kettle::Model;
use process::{Chatter, Server, run};

#[test]
fn hello() {
    let server = Server::start(env!("CARGO_BIN_EXE_hello-server"), &[]);
    let client = env!("CARGO_BIN_EXE_hello-client");
    assert_eq!(server.call(client, &[]), "Hello, kettle!\n");
    assert_eq!(server.call(client, &["tea"]), "Hello, tea!\n");
}

#[test]
fn routeguide() {
    let server = Server::start(env!("CARGO_BIN_EXE_routeguide-server"), &[]);
    let text = server.call(env!("CARGO_BIN_EXE_routeguide-client"), &[]);
    let expected = "Harbour Kettle, a tea room\n\
        nothing at 0, 0\n\
        in the mountains: Whistling Pass\n\
        in the mountains: Hut below the Pass\n\
        in the mountains: Upper Tarn\n\
        in the mountains: Lower Tarn\n\
        4 points, 3 sights, 1840 m\n\
        left at 1 before: first\n\
        left at 1 before: first\n\
        left at 1 before: third\n";
    assert_eq!(text, expected);
}

#[test]
fn blocking_client() {
    let server = Server::start(env!("CARGO_BIN_EXE_routeguide-server"), &[]);
    let text = server.call(env!("CARGO_BIN_EXE_blocking-client"), &[]);
    let expected = "East Light\n\
        in the mountains: Whistling Pass\n\
        in the mountains: Hut below the Pass\n\
        in the mountains: Upper Tarn\n\
        in the mountains: Lower Tarn\n\
        5 points, 444 m\n\
        3 points, 127 m\n\
        before second: first\n\
        before third: first\n\
        before third: second\n";
    assert_eq!(text, expected);
}

#[test]
fn interceptor() {
    let text = run(env!("CARGO_BIN_EXE_interceptor"), &[]);
    let expected = "unsigned: UNAUTHENTICATED: a valid token is missing\n\
        signed: Hello, Cassim, says Ali Baba, timed: true\n";
    assert_eq!(text, expected);
}

#[test]
fn choose_model() {
    let server = env!("CARGO_BIN_EXE_choose-model");
    let client = env!("CARGO_BIN_EXE_hello-client");
    for model in Model::ALL.into_iter().filter(|it| it.has_driver()) {
        let server = Server::start(server, &[model.name()]);
        assert_eq!(server.call(client, &[]), "Hello, kettle!\n", "{model}");
    }
}

#[test]
fn chat() {
    let server = Server::start(env!("CARGO_BIN_EXE_chat-server"), &[]);
    let mut ada = Chatter::enter(&server, "ada");
    let mut bob = Chatter::enter(&server, "bob");
    ada.hears("room: bob has entered");
    bob.says("is there tea?");
    ada.hears("bob: is there tea?");
    bob.hears("bob: is there tea?");
    ada.says("it is boiling");
    bob.hears("ada: it is boiling");
    bob.leaves();
    ada.hears("ada: it is boiling");
    ada.hears("room: bob has left");
    ada.leaves();
}
