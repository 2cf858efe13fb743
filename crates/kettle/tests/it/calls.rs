//! Unary calls: what each kind of reply, failure and interruption looks like to the caller.

use crate::harness::{block_on, host};
use crate::on_every_model;
use kettle::{Code, Model, Request};
use kettle_testkit::trial::{Behaviour, Task, task};

on_every_model! {
    a_reply_comes_back
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
}
