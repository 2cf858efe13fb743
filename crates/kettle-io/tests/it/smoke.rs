//! One connection, one echo, over real sockets.

use kettle_io::{DriverConfig, Model, Op, OpKind, Outcome, Patience, Role, Token, open, socket};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn echo(model: Model) {
    let mut driver = open(model, &DriverConfig::default()).unwrap();
    let listener = socket::listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
    let address = socket::local_address(&listener).unwrap();
    let client = std::thread::spawn(move || {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"kettle").unwrap();
        let mut reply = [0; 6];
        client.read_exact(&mut reply).unwrap();
        reply
    });
    let listener = driver.attach(listener, Role::Listener, Token(1)).unwrap();
    driver.submit(Op::Accept { socket: listener });
    let patience = Patience {
        timeout: Some(Duration::from_secs(10)),
        wakeable: true,
    };
    let (mut done, mut connection, mut ended) = (Vec::new(), None, false);
    while !ended {
        driver.wait(patience, &mut done).unwrap();
        assert!(!done.is_empty(), "nothing came in time");
        for completion in done.drain(..) {
            match completion.outcome {
                Outcome::Accepted { stream, .. } => {
                    let id = driver.attach(stream, Role::Stream, Token(2)).unwrap();
                    driver.submit(Op::Receive { socket: id });
                    connection = Some(id);
                }
                Outcome::Received(segment) if segment.is_empty() => ended = completion.last,
                Outcome::Received(segment) => {
                    let socket = connection.unwrap();
                    driver.submit(Op::Send {
                        socket,
                        payload: segment.into(),
                    });
                }
                Outcome::Sent { rest, .. } => assert!(rest.is_empty()),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(&client.join().unwrap(), b"kettle");
    driver.detach(connection.unwrap());
    driver.cancel(listener, OpKind::Accept);
    driver.wait(patience, &mut done).unwrap();
    println!("{:?}", driver.stats());
}

#[test]
fn every_model_echoes() {
    for model in Model::ALL {
        println!("{model}");
        echo(model);
    }
}
