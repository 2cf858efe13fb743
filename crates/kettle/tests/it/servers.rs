//! Starting and stopping servers: settings, ports, runtimes, the environment.

use crate::harness::{block_on, host, host_at, host_with};
use kettle::{Channel, Model, Server};
use kettle_testkit::fake::FakeDriver;
use kettle_testkit::trial::{Behaviour, Task, TrialService, task, trial_server::TrialServer};

#[test]
fn a_second_server_on_the_port_fails() {
    for reuse_port in [false, true] {
        let first = host_with(Server::builder().loops(2).reuse_port(reuse_port));
        let second = Server::builder().loops(2).reuse_port(reuse_port);
        let error = second.spawn(first.server.local_addr()).unwrap_err();
        assert!(error.is_listen(), "{error}");
        assert!(
            error.to_string().contains("cannot listen on 127.0.0.1"),
            "{error}"
        );
    }
}

#[test]
fn with_reuse_port_every_loop_listens() {
    let host = host_with(Server::builder().loops(2).reuse_port(true));
    let channels: Vec<_> = (0..64).map(|_| host.channel()).collect();
    let spread = host.server.stats().connections_by_loop;
    assert!(
        spread.iter().all(|n| 0 < *n),
        "the kernel spreads 64 connections: {spread:?}"
    );
    drop(channels);
}

#[test]
fn wrong_settings_are_named() {
    let wrong = |builder: kettle::ServerBuilder, word: &str| {
        let error = builder.spawn("127.0.0.1:0").unwrap_err();
        assert!(
            error.is_config() && error.to_string().contains(word),
            "{error}"
        );
    };
    wrong(Server::builder().loops(0), "loops");
    wrong(
        Server::builder().model(Model::Blocking).loops(2),
        "blocking",
    );
    let service = || TrialServer::new(TrialService::default());
    wrong(
        Server::builder()
            .add_service(service())
            .add_service(service()),
        "twice",
    );
    for url in ["127.0.0.1:1", "grpc://localhost:1"] {
        let error = block_on(Channel::connect(url)).unwrap_err();
        assert!(
            error.is_config() && error.to_string().contains("kettle://"),
            "{error}"
        );
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let port = host(Model::Epoll).server.local_addr().port();
    for name in ["127.0.0.1", "localhost"] {
        let url = format!("kettle://{name}:{port}");
        let error = block_on(Channel::connect(&url)).unwrap_err();
        assert!(error.is_connect() && !error.is_timeout(), "{error}");
        let text = error.to_string();
        assert!(text.contains(&url) && text.contains("refused"), "{text}");
    }
}

#[test]
fn a_name_is_looked_up_and_its_addresses_tried() {
    let host = host(Model::Epoll);
    // localhost is ::1 first on many machines, where nobody listens.
    let url = format!("kettle://localhost:{}", host.server.local_addr().port());
    assert!(block_on(Channel::connect(url)).is_ok());
}

#[test]
fn serve_inside_tokio_is_refused_and_serve_async_works() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let error = Server::builder().serve("127.0.0.1:0").unwrap_err();
        assert!(error.to_string().contains("serve_async"), "{error}");
        let port = host(Model::Epoll).server.local_addr();
        let server = Server::builder().add_service(TrialServer::new(TrialService::default()));
        let serving = tokio::spawn(server.serve_async(port));
        let client = loop {
            // It starts when the task is polled.
            match Channel::connect(format!("kettle://{port}")).await {
                Ok(channel) => {
                    break kettle_testkit::trial::trial_client::TrialClient::new(channel);
                }
                Err(_) => tokio::task::yield_now().await,
            }
        };
        assert!(client.run(task(Behaviour::Echo)).await.is_ok());
        serving.abort();
        assert!(serving.await.unwrap_err().is_cancelled());
        // Dropping the future has stopped the server: the port is free again.
        while Server::builder().spawn(port).is_err() {
            tokio::task::yield_now().await;
        }
    });
}

/// A driver that yields several completions per operation, splits receives, sends short and releases
/// memory late: nothing above the trait depends on readiness.
#[test]
fn the_fake_driver_carries_calls() {
    let builder = Server::builder().driver(|config| FakeDriver::open(config, 7));
    let host = host_at(builder, "127.0.0.1:0");
    let client = host.client();
    for bytes in [0, 1, 1000, 100_000, 3_000_000] {
        let echo = Task {
            payload: vec![5; bytes].into(),
            ..task(Behaviour::Echo)
        };
        let reply = block_on(client.run(echo)).unwrap();
        assert_eq!(reply.get_ref().payload.len(), bytes);
        let wait = Task {
            number: 1,
            ..task(Behaviour::Thread)
        };
        assert!(block_on(client.run(wait)).is_ok());
    }
    drop(client);
    host.until("the connection's end", |host| {
        host.server.stats().connections == 0
    });
}
