//! Handlers that use tokio's timers, sockets and tasks.

use crate::harness::block_on;
use crate::on_every_model;
use kettle::{
    BoxAnswer, Channel, Code, Hosting, Inbound, MethodInfo, Model, Outbound, Request, Response,
    Server, ServerBuilder, ServerHandle, Service, Status, answer,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;

on_every_model! {
    handlers_use_the_runtime_that_the_server_was_started_in
    handlers_use_the_runtime_that_the_server_was_given
    without_a_runtime_only_the_call_fails
}

/// On the loop and on the pool.
const PLACES: [fn(Hosting) -> Hosting; 2] = [|hosting| hosting, Hosting::on_pool];

const METHODS: [&str; 3] = ["Sleep", "Fetch", "Spawn"];

/// Each method waits for tokio in another way.
#[derive(Clone, Copy)]
struct Guest {
    /// A server that says "tea".
    source: SocketAddr,
}

impl Service for Guest {
    fn name(&self) -> &'static str {
        "guest"
    }

    fn methods(&self) -> &'static [MethodInfo] {
        const { &METHODS_INFO }
    }

    fn call(&self, method: usize, _: Request<Inbound>) -> BoxAnswer {
        let source = self.source;
        answer(async move {
            let said = match METHODS[method] {
                "Sleep" => sleep().await,
                "Fetch" => fetch(source).await,
                _ => tokio::spawn(fetch(source)).await.unwrap(),
            };
            Ok(Response::new(Outbound::from_bytes(said.into())))
        })
    }
}

const METHODS_INFO: [MethodInfo; 3] = [
    MethodInfo::new(METHODS[0], false, false),
    MethodInfo::new(METHODS[1], false, false),
    MethodInfo::new(METHODS[2], false, false),
];

async fn sleep() -> Vec<u8> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    b"tea".to_vec()
}

/// Asks for tea.
async fn fetch(source: SocketAddr) -> Vec<u8> {
    let stream = tokio::net::TcpStream::connect(source).await.unwrap();
    stream.writable().await.unwrap();
    assert_eq!(stream.try_write(b"?").unwrap(), 1);
    let mut said = vec![0; 3];
    loop {
        stream.readable().await.unwrap();
        match stream.try_read(&mut said) {
            Ok(3) => return said,
            Ok(n) => panic!("{n} bytes"),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// A plain server that answers so many questions with "tea".
fn tea(questions: usize) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        for _ in 0..questions {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0]).unwrap();
            stream.write_all(b"tea").unwrap();
        }
    };
    (address, thread::spawn(serve))
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

async fn call(channel: &Channel, method: &str) -> Result<Vec<u8>, Status> {
    let path = format!("/guest/{method}");
    let request = Request::new(Outbound::from_bytes(Default::default()));
    let reply = channel.call(path, request).await?;
    Ok(reply.into_inner().into_bytes()?.to_vec())
}

/// Calls all methods several times on a server of each place, which `start` starts.
fn all_wait_for_tokio(model: Model, start: impl Fn(ServerBuilder) -> ServerHandle) {
    for place in PLACES {
        let (source, serving) = tea(6);
        let service = place(Guest { source }.into());
        let builder = Server::builder().model(model).add_service(service);
        runtime().block_on(async {
            let server = start(builder);
            let url = format!("kettle://{}", server.local_addr());
            let channel = Channel::connect(url).await.unwrap();
            for method in METHODS.into_iter().cycle().take(9) {
                let said = timeout(Duration::from_secs(30), call(&channel, method)).await;
                assert_eq!(said.expect("an answer in time").unwrap(), b"tea");
            }
            drop(channel);
            server.stop();
            server.stopped().await.unwrap();
        });
        serving.join().unwrap();
    }
}

fn handlers_use_the_runtime_that_the_server_was_started_in(model: Model) {
    all_wait_for_tokio(model, |builder| builder.spawn("127.0.0.1:0").unwrap());
}

fn handlers_use_the_runtime_that_the_server_was_given(model: Model) {
    all_wait_for_tokio(model, |builder| {
        let builder = builder.tokio_runtime(tokio::runtime::Handle::current());
        let outside = thread::spawn(|| builder.spawn("127.0.0.1:0").unwrap());
        outside.join().unwrap()
    });
}

fn without_a_runtime_only_the_call_fails(model: Model) {
    if !model.has_driver() {
        // A server on tokio brings its own.
        return;
    }
    for place in PLACES {
        let (source, serving) = tea(0);
        let service = place(Guest { source }.into());
        let server = Server::builder().model(model).add_service(service);
        let server = server.spawn("127.0.0.1:0").unwrap();
        let url = format!("kettle://{}", server.local_addr());
        let channel = block_on(Channel::connect(url)).unwrap();
        for method in METHODS {
            let status = block_on(call(&channel, method)).unwrap_err();
            assert_eq!(status.code(), Code::Internal);
        }
        serving.join().unwrap();
    }
}
