//! Unary calls: what each kind of reply, failure and interruption looks like to the caller.

use crate::harness::{block_on, host, host_with, join_all, poll_once};
use crate::{on_every_model, on_every_model_over_unix};
use kettle::{Code, Inbound, Model, Next, Outbound, Request, Response, Server, Status};
use kettle_testkit::trial::trial_client::TrialClient;
use kettle_testkit::trial::{Behaviour, Task, task};
use std::pin::pin;
use std::time::Duration;

on_every_model! {
    a_reply_comes_back
    an_error_comes_back_with_its_details
    metadata_goes_both_ways
    large_messages_go_both_ways
    a_message_over_the_limit_is_refused
    a_handler_may_wait_for_another_thread
    a_handler_may_wake_itself
    a_panic_ends_its_call_only
    a_deadline_ends_the_call_on_both_sides
    a_dropped_call_is_cancelled
    wakes_may_race_a_cancel
    what_is_not_there_is_named
    many_calls_share_a_connection
    calls_over_the_limit_wait_for_a_place
    interceptors_stand_around_calls
    a_handler_may_make_calls
}

on_every_model_over_unix! {
    large_messages_go_both_ways
    a_deadline_ends_the_call_on_both_sides
    a_dropped_call_is_cancelled
    wakes_may_race_a_cancel
    many_calls_share_a_connection
    calls_over_the_limit_wait_for_a_place
}

fn a_reply_comes_back(model: Model) {
    let host = host(model);
    let client = host.client();
    for i in 0..100u64 {
        let payload = vec![i as u8; i as usize * 10];
        let task = Task {
            payload: payload.clone().into(),
            number: i,
            ..task(Behaviour::Echo)
        };
        let reply = block_on(client.run(task)).unwrap().into_inner();
        assert_eq!((reply.payload.as_ref(), reply.number), (&payload[..], i));
    }
    assert_eq!(host.service.started(), 100);
    let stats = host.server.stats();
    assert_eq!(
        (stats.connections, stats.calls, stats.calls_failed),
        (1, 100, 0)
    );
}

fn an_error_comes_back_with_its_details(model: Model) {
    let host = host(model);
    let client = host.client();
    for code in [Code::NotFound, Code::DataLoss, Code::from_u32(4711)] {
        let number = u64::from(code.as_u32());
        let fail = Task {
            number,
            payload: "details".into(),
            ..task(Behaviour::Fail)
        };
        let status = block_on(client.run(fail)).unwrap_err();
        assert_eq!(status.code(), code);
        assert_eq!(status.message(), "told to fail, ünd so it does");
        assert_eq!(status.details(), b"details");
        assert_eq!(status.metadata().get("trailing"), Some("metadata"));
    }
    assert_eq!(host.server.stats().calls_failed, 3);
}

fn metadata_goes_both_ways(model: Model) {
    let host = host(model);
    let mut request = Request::new(task(Behaviour::Metadata));
    request.metadata_mut().append("text", "one").unwrap();
    request.metadata_mut().append("text", "two").unwrap();
    request
        .metadata_mut()
        .append("bytes-bin", vec![0, 255, 10])
        .unwrap();
    let expected = request.metadata().clone();
    let response = block_on(host.client().run(request)).unwrap();
    assert_eq!(response.metadata(), &expected);
    assert_eq!(response.trailers(), &expected);
    let texts: Vec<_> = response.metadata().iter().map(|(key, _)| key).collect();
    assert_eq!(texts, ["text", "text", "bytes-bin"]);
}

fn large_messages_go_both_ways(model: Model) {
    let host = host(model);
    let client = host.client();
    for bytes in [65_535, 65_536, 1_048_576, 4_000_000] {
        let payload: Vec<u8> = (0..bytes).map(|i| (i / 7) as u8).collect();
        let task = Task {
            payload: payload.clone().into(),
            ..task(Behaviour::Echo)
        };
        let reply = block_on(client.run(task)).unwrap().into_inner();
        assert!(reply.payload == payload, "{bytes} bytes came back changed");
    }
}

fn a_message_over_the_limit_is_refused(model: Model) {
    let host = host_with(Server::builder().model(model).message_bytes_max(1_000_000));
    let client = host.client();
    let task_of = |bytes| Task {
        payload: vec![1; bytes].into(),
        ..task(Behaviour::Echo)
    };
    let status = block_on(client.run(task_of(1_000_001))).unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("message_bytes_max"), "{status}");
    assert!(status.message().contains("1000000"), "{status}");
    // The connection lives on, and a message within the limit passes.
    assert!(block_on(client.run(task_of(999_000))).is_ok());
    // A reply over the client's limit, 4 MiB by default.
    let large = Task {
        number: 5_000_000,
        ..task(Behaviour::Large)
    };
    let status = block_on(client.run(large)).unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("4194304"), "{status}");
    assert!(block_on(client.run(task_of(1))).is_ok());
    assert_eq!(
        host.server.stats().connections_accepted,
        1,
        "it was one connection all along"
    );
}

fn a_handler_may_wait_for_another_thread(model: Model) {
    let host = host(model);
    let wait = Task {
        payload: "later".into(),
        number: 20,
        ..task(Behaviour::Thread)
    };
    let reply = block_on(host.client().run(wait)).unwrap();
    assert_eq!(reply.get_ref().payload, "later");
}

fn a_handler_may_wake_itself(model: Model) {
    let host = host(model);
    let client = host.client();
    let wake = Task {
        payload: "again".into(),
        number: 1000,
        ..task(Behaviour::SelfWake)
    };
    let reply = block_on(client.run(wake)).unwrap();
    assert_eq!(reply.get_ref().payload, "again");
    host.until("its end", |host| host.server.stats().handlers_pending == 0);
}

fn a_panic_ends_its_call_only(model: Model) {
    let host = host(model);
    let client = host.client();
    let (at_once, later) = (task(Behaviour::Panic), task(Behaviour::PanicLater));
    let neighbour = Task {
        number: 50,
        ..task(Behaviour::Thread)
    };
    let calls = [at_once, later, neighbour, task(Behaviour::Echo)].map(|task| client.run(task));
    let mut ended = block_on(join_all(calls)).into_iter();
    for _ in 0..2 {
        let status = ended.next().unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains("panicked"), "{status}");
        assert!(
            !status.message().contains("told to"),
            "a panic's text stays on the server"
        );
    }
    assert!(ended.all(|neighbour| neighbour.is_ok()));
    assert!(block_on(client.run(task(Behaviour::Echo))).is_ok());
}

fn a_deadline_ends_the_call_on_both_sides(model: Model) {
    let host = host(model);
    let client = host.client();
    let within = |behaviour, millis| {
        let mut request = Request::new(task(behaviour));
        request.set_timeout(Duration::from_millis(millis));
        request
    };
    let status = block_on(client.run(within(Behaviour::Never, 50))).unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    host.until("the handler's end", |host| host.service.dropped() == 1);
    assert_eq!(host.service.waiting(), 0);
    let left = block_on(client.run(within(Behaviour::Deadline, 60_000))).unwrap();
    // The client's loop counts from its last look at the clock, which may be older than the call.
    assert!(
        (50_000..=61_000).contains(&left.get_ref().number),
        "{left:?}"
    );
    let none = block_on(client.run(task(Behaviour::Deadline))).unwrap();
    assert_eq!(none.get_ref().number, u64::MAX);
}

fn a_dropped_call_is_cancelled(model: Model) {
    let host = host(model);
    let client = host.client();
    {
        let mut call = pin!(client.run(task(Behaviour::Never)));
        assert!(poll_once(call.as_mut()).is_pending());
        host.until("the handler's start", |host| host.service.waiting() == 1);
        host.until("its count", |host| {
            host.server.stats().handlers_pending == 1
        });
    }
    host.until("the handler's end", |host| host.service.dropped() == 1);
    assert!(block_on(client.run(task(Behaviour::Echo))).is_ok());
}

fn wakes_may_race_a_cancel(model: Model) {
    let host = host(model);
    let client = host.client();
    for round in 1..=20 {
        {
            let mut call = pin!(client.run(task(Behaviour::Restless)));
            assert!(poll_once(call.as_mut()).is_pending());
            host.until("the handler's start", |host| {
                host.service.started() == round * 2 - 1
            });
        }
        // A new call takes the place of the cancelled one, whose wakes still come.
        let wait = Task {
            number: 1,
            ..task(Behaviour::Thread)
        };
        assert!(block_on(client.run(wait)).is_ok());
        host.until("the handler's end", |host| host.service.dropped() == round);
    }
}

fn what_is_not_there_is_named(model: Model) {
    let host = host(model);
    let channel = host.channel();
    let call = |path: &'static str| {
        let request = Request::new(Outbound::from_bytes("".into()));
        block_on(channel.call(path, request)).unwrap_err()
    };
    let status = call("/kettle.trial.v1.Trial/Nothing");
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("no method"), "{status}");
    let status = call("/no.Such/Method");
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(
        status.message().contains("kettle.trial.v1.Trial"),
        "it names what is there: {status}"
    );
    let status = call("Method");
    assert!(
        status.message().contains("/package.Service/Method"),
        "{status}"
    );
    let request = Request::new(Outbound::from_bytes(vec![0xff; 10].into()));
    let status = block_on(channel.call("/kettle.trial.v1.Trial/Run", request)).unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("decode"), "{status}");
}

fn many_calls_share_a_connection(model: Model) {
    let host = host(model);
    let client = host.client();
    let calls = (0..500).map(|i| {
        let behaviour = if i % 50 == 0 {
            Behaviour::Thread
        } else {
            Behaviour::Echo
        };
        let payload = format!("call {i}").into_bytes().into();
        client.run(Task {
            payload,
            number: i % 7,
            ..task(behaviour)
        })
    });
    for (i, reply) in block_on(join_all(calls)).into_iter().enumerate() {
        assert_eq!(reply.unwrap().into_inner().payload, format!("call {i}"));
    }
    assert_eq!(host.server.stats().connections_accepted, 1);
}

fn calls_over_the_limit_wait_for_a_place(model: Model) {
    let host = host_with(Server::builder().model(model).calls_max(4));
    let client = host.client();
    let calls = (0..40).map(|_| {
        client.run(Task {
            number: 1,
            ..task(Behaviour::Thread)
        })
    });
    assert!(block_on(join_all(calls)).iter().all(Result::is_ok));
    // One that waits behind calls that never end meets its deadline there.
    let stuck = (0..4).map(|_| client.run(task(Behaviour::Never)));
    let mut stuck: Vec<_> = stuck.map(Box::pin).collect();
    assert!(
        stuck
            .iter_mut()
            .all(|call| poll_once(call.as_mut()).is_pending())
    );
    host.until("the handlers' start", |host| host.service.waiting() == 4);
    let mut request = Request::new(task(Behaviour::Echo));
    request.set_timeout(Duration::from_millis(30));
    let status = block_on(client.run(request)).unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(host.service.started(), 44, "it never came to the server");
}

fn interceptors_stand_around_calls(model: Model) {
    struct Name(String);
    async fn sign(
        mut request: Request<Outbound>,
        next: Next<Outbound, Inbound>,
    ) -> Result<Response<Inbound>, Status> {
        request.metadata_mut().insert("name", "Ada").unwrap();
        next.run(request).await
    }
    async fn check(
        mut request: Request<Inbound>,
        next: Next<Inbound, Outbound>,
    ) -> Result<Response<Outbound>, Status> {
        assert_eq!(request.method(), "/kettle.trial.v1.Trial/Run");
        assert!(request.remote_addr().unwrap().ip().is_loopback());
        let Some(name) = request.metadata().get("name").map(str::to_owned) else {
            return Err(Status::unauthenticated("say your name"));
        };
        request.extensions_mut().insert(Name(name));
        next.run(request).await
    }
    async fn greet(
        request: Request<Inbound>,
        next: Next<Inbound, Outbound>,
    ) -> Result<Response<Outbound>, Status> {
        let greeting = format!("hello {}", request.extensions().get::<Name>().unwrap().0);
        let mut response = next.run(request).await?;
        response
            .metadata_mut()
            .insert("greeting", greeting)
            .unwrap();
        Ok(response)
    }
    let host = host_with(
        Server::builder()
            .model(model)
            .interceptor(check)
            .interceptor(greet),
    );
    let status = block_on(host.client().run(task(Behaviour::Echo))).unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    drop(host.client());
    let channel = kettle::Channel::builder(host.url())
        .interceptor(sign)
        .connect_lazy()
        .unwrap();
    let client = TrialClient::new(channel);
    let wait = Task {
        number: 5,
        ..task(Behaviour::Thread)
    };
    let response = block_on(client.run(wait)).unwrap();
    assert_eq!(response.metadata().get("greeting"), Some("hello Ada"));
}

fn a_handler_may_make_calls(model: Model) {
    let (inner, outer) = (host(model), host(model));
    let call_back = Task {
        payload: inner.url().into(),
        ..task(Behaviour::CallBack)
    };
    let reply = block_on(outer.client().run(call_back)).unwrap();
    assert_eq!(reply.get_ref().payload, "from inside");
    assert_eq!(inner.service.started(), 1);
}
