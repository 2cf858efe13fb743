//! Calls that handlers make: they inherit the handler's deadline, and end with it.

use crate::harness::{Host, block_on, host, host_so, poll_once};
use crate::on_every_model;
use crate::streams::{all, stream};
use kettle::{Code, Disconnect, Hosting, Model, Request, Server, Service};
use kettle_testkit::trial::{Behaviour, Task};
use std::time::Duration;

on_every_model! {
    calls_inherit_the_deadline
    streams_inherit_the_deadline
    a_cancelled_handler_cancels_its_calls
    a_handler_that_finishes_lets_its_calls_finish
}

/// On the loop and on the pool.
const PLACES: [fn(Hosting) -> Hosting; 2] = [|hosting| hosting, Hosting::on_pool];

/// A server on the model, in front of another.
fn front(model: Model, place: fn(Hosting) -> Hosting, disconnect: Disconnect) -> (Host, Host) {
    let front = host_so(Server::builder().model(model), |server| {
        place(server.on_disconnect(disconnect))
    });
    (front, host(Model::Epoll))
}

fn forward(back: &Host, behaviour: Behaviour) -> Task {
    Task {
        behaviour: Behaviour::Forward.into(),
        payload: back.url().into(),
        number: i32::from(behaviour) as u64,
    }
}

const NEVER: u64 = u64::MAX;

/// The handler's time-out in seconds, what it says of its call, and the most that is left there, in
/// milliseconds.
type Case = (u64, &'static [(&'static str, &'static str)], u64);

fn calls_inherit_the_deadline(model: Model) {
    let cases: [Case; 9] = [
        (0, &[], NEVER),
        (60, &[], 60_000),
        (0, &[("later", "")], NEVER),
        (60, &[("later", "")], 60_000),
        (60, &[("timeout", "40000")], 40_000),
        (60, &[("timeout", "90000"), ("later", "")], 60_000),
        (60, &[("detached", "")], NEVER),
        (60, &[("detached", ""), ("timeout", "90000")], 90_000),
        (0, &[("timeout", "90000")], 90_000),
    ];
    let policies = [Disconnect::Cancel, Disconnect::Finish];
    for (place, policy) in PLACES
        .into_iter()
        .flat_map(|place| policies.map(|it| (place, it)))
    {
        let (front, back) = front(model, place, policy);
        let client = front.client();
        for (timeout, metadata, most) in cases {
            let mut request = Request::new(forward(&back, Behaviour::Deadline));
            if 0 < timeout {
                request.set_timeout(Duration::from_secs(timeout));
            }
            for (key, value) in metadata {
                request.metadata_mut().insert(*key, *value).unwrap();
            }
            let own = metadata.iter().find(|(key, _)| *key == "timeout");
            let own = own.map_or(NEVER, |(_, millis)| millis.parse().unwrap());
            // A handler that finishes has nothing to hand down.
            let most = if policy == Disconnect::Finish {
                own
            } else {
                most
            };
            let left = block_on(client.run(request)).unwrap().get_ref().number;
            // 30 s is more than anything here may take.
            let fits = left <= most && most - 30_000 < left;
            assert!(fits, "{timeout} s, {metadata:?}, {policy:?}: {left} ms");
        }
    }
}

/// In later polls of a handler, and in those of its stream of replies.
fn streams_inherit_the_deadline(model: Model) {
    for place in PLACES {
        let (front, back) = front(model, place, Disconnect::Cancel);
        let client = front.client();
        for (timeout, most) in [(Some(60), 60_000), (None, NEVER)] {
            let tasks = || {
                let tasks = [0; 3].map(|_| forward(&back, Behaviour::Deadline));
                let mut request = Request::new(stream(tasks));
                if let Some(timeout) = timeout {
                    request.set_timeout(Duration::from_secs(timeout));
                }
                request
            };
            let replies = all(block_on(client.chat(tasks())).unwrap());
            assert_eq!(replies.len(), 3);
            for reply in replies {
                let left = reply.number;
                assert!(left <= most && most - 30_000 < left, "{left} of {most}");
            }
            assert!(block_on(client.collect(tasks())).is_ok());
        }
    }
}

fn a_cancelled_handler_cancels_its_calls(model: Model) {
    for place in PLACES {
        let (front, back) = front(model, place, Disconnect::Cancel);
        let client = front.client();
        let mut call = Box::pin(client.run(forward(&back, Behaviour::Never)));
        assert!(poll_once(call.as_mut()).is_pending());
        back.until("the inner handler's start", |back| {
            back.service.waiting() == 1
        });
        drop(call);
        back.until("the inner handler's end", |back| {
            back.service.dropped() == 1
        });
        front.until("the outer handler's end", |front| {
            front.service.dropped() == 1
        });
        // By a deadline too, which is the same for both.
        let mut request = Request::new(forward(&back, Behaviour::Never));
        request.set_timeout(Duration::from_millis(200));
        let status = block_on(client.run(request)).unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        back.until("all ends", |back| back.service.waiting() == 0);
        front.until("all ends", |front| front.service.waiting() == 0);
    }
}

fn a_handler_that_finishes_lets_its_calls_finish(model: Model) {
    for place in PLACES {
        let (front, back) = front(model, place, Disconnect::Finish);
        let client = front.client();
        let mut call = Box::pin(client.run(forward(&back, Behaviour::Gate)));
        assert!(poll_once(call.as_mut()).is_pending());
        back.until("the inner handler's start", |back| {
            back.service.waiting() == 1
        });
        drop(call);
        drop(client);
        front.until("the end of the connection", |front| {
            front.server.stats().connections == 0
        });
        assert_eq!((front.service.waiting(), back.service.waiting()), (1, 1));
        back.service.open_gate();
        front.until("the outer handler's end", |front| {
            front.service.waiting() == 0
        });
        assert_eq!((front.service.dropped(), back.service.dropped()), (0, 0));
    }
}
