//! Handlers that run on after their clients have gone.

use crate::harness::{Host, block_on, host_so, poll_once, stream_to};
use crate::raw::RawClient;
use crate::streams::{echo, numbered};
use crate::{on_every_model, on_every_model_over_unix};
use kettle::{
    Code, Disconnect, Hosting, Inbound, Model, Next, Outbound, Request, Response, Server,
    ServerBuilder, Service, Status,
};
use kettle_testkit::trial::{Behaviour, Task, TrialService, task, trial_server::TrialServer};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

on_every_model! {
    a_handler_finishes_after_its_client_has_gone
    a_handler_finishes_after_its_call_was_cancelled
    a_handler_finishes_after_its_deadline
    a_stream_of_replies_is_made_to_its_end
    a_stream_of_requests_ends_with_an_error
    interceptors_finish_too
    only_so_many_finish
    a_handler_that_panics_is_not_polled_again
    a_stop_waits_for_what_finishes
    a_stop_at_once_drops_what_would_finish
}

on_every_model_over_unix! {
    a_handler_finishes_after_its_client_has_gone
    a_handler_finishes_after_its_call_was_cancelled
    a_stream_of_replies_is_made_to_its_end
    a_stop_waits_for_what_finishes
    a_stop_at_once_drops_what_would_finish
}

/// On the loop and on the pool.
const PLACES: [fn(Hosting) -> Hosting; 2] = [|hosting| hosting, Hosting::on_pool];

pub fn finishing(builder: ServerBuilder, place: fn(Hosting) -> Hosting) -> Host {
    host_so(builder, |server| {
        place(server.on_disconnect(Disconnect::Finish))
    })
}

/// Makes these calls, and goes away when their handlers have started.
pub fn call_and_go(host: &Host, calls: &[(&str, Task)]) {
    let nobody = |host: &Host| host.server.stats().connections == 0;
    host.until("the end of other connections", nobody);
    let started = host.service.started() + calls.len() as u64;
    let mut client = RawClient::connect(host.server.address());
    for (method, task) in calls {
        client.open_at(method, task, *method != "Collect");
    }
    client.flush();
    host.until("the handlers' start", |host| {
        host.service.started() == started
    });
    drop(client);
    host.until("the connection's end", nobody);
}

pub fn finished(host: &Host, dropped: u64) {
    host.until("the handlers' end", |host| host.service.waiting() == 0);
    assert_eq!(host.service.dropped(), dropped);
}

fn a_handler_finishes_after_its_client_has_gone(model: Model) {
    for place in PLACES {
        let host = finishing(Server::builder().model(model), place);
        call_and_go(&host, &[("Run", task(Behaviour::Gate))]);
        // Others are served meanwhile.
        assert!(block_on(host.client().run(echo("tea"))).is_ok());
        assert_eq!((host.service.waiting(), host.service.dropped()), (1, 0));
        host.service.open_gate();
        finished(&host, 0);
    }
    // One method finishes, and the others do not.
    let host = host_so(Server::builder().model(model), |server| {
        server.method_on_disconnect("Collect", Disconnect::Finish)
    });
    call_and_go(&host, &[("Run", task(Behaviour::Gate))]);
    host.until("the handler's end", |host| host.service.dropped() == 1);
}

fn a_handler_finishes_after_its_call_was_cancelled(model: Model) {
    for place in PLACES {
        let host = finishing(Server::builder().model(model), place);
        let client = host.client();
        for round in 1..=2 {
            let mut call = Box::pin(client.run(task(Behaviour::Gate)));
            assert!(poll_once(call.as_mut()).is_pending());
            host.until("the handler's start", |host| {
                host.service.waiting() == round
            });
            drop(call);
            assert!(block_on(client.run(echo("the connection lives on"))).is_ok());
        }
        host.service.open_gate();
        finished(&host, 0);
    }
}

fn a_handler_finishes_after_its_deadline(model: Model) {
    for place in PLACES {
        let host = finishing(Server::builder().model(model), place);
        let client = host.client();
        let mut request = Request::new(task(Behaviour::Gate));
        request.set_timeout(Duration::from_millis(300));
        let status = block_on(client.run(request)).unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        if host.service.started() == 0 {
            // The machine was so slow that the deadline came first.
            continue;
        }
        assert!(block_on(client.run(echo("tea"))).is_ok());
        assert_eq!((host.service.waiting(), host.service.dropped()), (1, 0));
        host.service.open_gate();
        finished(&host, 0);
    }
}

fn a_stream_of_replies_is_made_to_its_end(model: Model) {
    for place in PLACES {
        let host = finishing(Server::builder().model(model), place);
        // Far more than sockets hold.
        let many = Task {
            number: 3_000,
            ..echo(vec![0; 20_000])
        };
        call_and_go(&host, &[("Push", many)]);
        finished(&host, 0);
        assert_eq!(host.service.made(), 3_000);
    }
}

fn a_stream_of_requests_ends_with_an_error(model: Model) {
    for place in PLACES {
        let host = finishing(Server::builder().model(model), place);
        call_and_go(&host, &[("Collect", echo("tea"))]);
        finished(&host, 0);
        assert_eq!(host.service.taken(), 1);
    }
}

fn interceptors_finish_too(model: Model) {
    for place in PLACES {
        let ended = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&ended);
        let count = move |request: Request<Inbound>, next: Next<Inbound, Outbound>| {
            let counter = Arc::clone(&counter);
            async move {
                let result: Result<Response<Outbound>, Status> = next.run(request).await;
                counter.fetch_add(1, Ordering::SeqCst);
                result
            }
        };
        let host = finishing(Server::builder().model(model).interceptor(count), place);
        call_and_go(&host, &[("Run", task(Behaviour::Gate))]);
        assert_eq!(ended.load(Ordering::SeqCst), 0);
        host.service.open_gate();
        finished(&host, 0);
        host.until("the interceptor's end", |_| {
            ended.load(Ordering::SeqCst) == 1
        });
    }
}

fn only_so_many_finish(model: Model) {
    for place in PLACES {
        let builder = Server::builder().model(model).finishing_max(2);
        let host = finishing(builder, place);
        let gate = || ("Run", task(Behaviour::Gate));
        call_and_go(&host, &[gate(), gate(), gate()]);
        host.until("one handler's drop", |host| host.service.dropped() == 1);
        call_and_go(&host, &[gate()]);
        host.until("the last one's drop", |host| host.service.dropped() == 2);
        assert_eq!(host.service.waiting(), 2);
        host.service.open_gate();
        finished(&host, 2);
    }
}

fn a_handler_that_panics_is_not_polled_again(model: Model) {
    for place in PLACES {
        let host = finishing(Server::builder().model(model), place);
        let status = block_on(host.client().run(task(Behaviour::PanicLater))).unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        let status = block_on(host.client().run(task(Behaviour::Panic))).unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        call_and_go(&host, &[("Run", numbered(Behaviour::PanicLater, 100))]);
        finished(&host, 3);
        assert_eq!(host.service.started(), 3);
        assert!(block_on(host.client().run(echo("tea"))).is_ok());
    }
}

fn a_stop_waits_for_what_finishes(model: Model) {
    for place in PLACES {
        let host = finishing(Server::builder().model(model), place);
        call_and_go(&host, &[("Run", task(Behaviour::Gate))]);
        host.server.stop();
        // Without a handler the loop would end about now.
        let address = host.server.address();
        host.until("the end of listening", |_| stream_to(address).is_err());
        assert_eq!((host.service.waiting(), host.service.dropped()), (1, 0));
        host.service.open_gate();
        host.server.wait().unwrap();
        finished(&host, 0);
    }
}

fn a_stop_at_once_drops_what_would_finish(model: Model) {
    for place in PLACES {
        let host = finishing(Server::builder().model(model), place);
        call_and_go(&host, &[("Run", task(Behaviour::Gate))]);
        let client = host.client();
        let mut call = pin!(client.run(task(Behaviour::Gate)));
        assert!(poll_once(call.as_mut()).is_pending());
        host.until("the handler's start", |host| host.service.waiting() == 2);
        host.server.stop_now();
        assert_eq!(block_on(call).unwrap_err().code(), Code::Unavailable);
        host.server.wait().unwrap();
        assert_eq!((host.service.waiting(), host.service.dropped()), (0, 2));
    }
}

#[test]
fn a_method_that_is_not_there_cannot_finish() {
    let service = TrialServer::new(TrialService::default());
    let service = service.method_on_disconnect("Walk", Disconnect::Finish);
    let error = Server::builder().add_service(service).spawn("127.0.0.1:0");
    let error = error.unwrap_err();
    assert!(
        error.is_config() && error.to_string().contains("Walk"),
        "{error}"
    );
}
