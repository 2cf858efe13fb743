//! A generated client calls a generated server.

use crate::codegen::prost::bytes::Bytes;
use crate::codegen::{MethodInfo, Service};
use crate::generated::{echo, names, shop};
use crate::stand_in::now;
use crate::{Channel, Request, Response, Status, Streaming};
use futures_core::Stream;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use echo::echo_client::{EchoClient, blocking};
use echo::echo_server::{Echo, EchoServer};
use echo::{EchoReply, EchoRequest};

struct MyEcho;

impl Echo for MyEcho {
    async fn unary(&self, request: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        Ok(Response(EchoReply {
            payload: request.0.payload,
        }))
    }

    async fn old(&self, _: Request<EchoRequest>) -> Result<Response<EchoReply>, Status> {
        Err(Status("too old".to_owned()))
    }

    async fn join(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<EchoReply>, Status> {
        let (mut requests, mut payload) = (request.0, Vec::new());
        while let Some(request) = requests.message().await? {
            payload.extend_from_slice(&request.payload);
        }
        let payload = payload.into();
        Ok(Response(EchoReply { payload }))
    }

    type RepeatStream = Replies;

    async fn repeat(&self, request: Request<EchoRequest>) -> Result<Response<Replies>, Status> {
        let EchoRequest { payload, want } = request.0;
        let replies = (0..want).map(|_| payload.clone());
        Ok(Response(Replies(replies.collect())))
    }

    type ChatStream = Replies;

    async fn chat(
        &self,
        request: Request<Streaming<EchoRequest>>,
    ) -> Result<Response<Replies>, Status> {
        let (mut requests, mut replies) = (request.0, Vec::new());
        while let Some(request) = requests.message().await? {
            replies.push(request.payload);
        }
        Ok(Response(Replies(replies.into())))
    }
}

struct Replies(VecDeque<Bytes>);

impl Stream for Replies {
    type Item = Result<EchoReply, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let payload = self.0.pop_front();
        Poll::Ready(payload.map(|payload| Ok(EchoReply { payload })))
    }
}

struct Requests(VecDeque<EchoRequest>);

impl Stream for Requests {
    type Item = EchoRequest;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<EchoRequest>> {
        Poll::Ready(self.0.pop_front())
    }
}

fn requests() -> Requests {
    let one = |payload: &'static str| EchoRequest {
        payload: payload.into(),
        want: 0,
    };
    Requests(["green", "black"].map(one).into())
}

fn blocking_client() -> blocking::EchoClient {
    let channel = Channel::to(EchoServer::new(MyEcho));
    blocking::EchoClient::new(crate::blocking::Channel(channel))
}

#[test]
fn a_blocking_client_calls_a_server() {
    let client = blocking_client();
    let request = EchoRequest {
        payload: "tea".into(),
        want: 2,
    };
    let Response(reply) = client.unary(request.clone()).unwrap();
    assert_eq!(reply.payload, "tea");
    #[allow(deprecated)] // the method is, and is called all the same
    let result = client.old(Request(request.clone()));
    assert_eq!(result.unwrap_err(), Status("too old".to_owned()));
    let Response(replies) = client.repeat(request).unwrap();
    let payloads: Vec<_> = replies.map(|reply| reply.unwrap().payload).collect();
    assert_eq!(payloads, ["tea", "tea"]);
    let requests = || {
        ["green", "black"].map(|payload| EchoRequest {
            payload: payload.into(),
            want: 0,
        })
    };
    assert_eq!(client.join(requests()).unwrap().0.payload, "greenblack");
    let mut sender = client.join_sender(()).unwrap();
    requests().into_iter().for_each(|it| sender.send(it));
    assert_eq!(sender.finish().unwrap()[0].payload, "greenblack");
    let mut chat = client.chat(Request(())).unwrap();
    requests().into_iter().for_each(|it| chat.send(it));
    let replies: Vec<_> = chat.finish().unwrap();
    let payloads: Vec<_> = replies.into_iter().map(|reply| reply.payload).collect();
    assert_eq!(payloads, ["green", "black"]);
    assert!(blocking::EchoClient::connect("kettle://nowhere").is_err());
}

#[test]
fn blocking_clients_share_a_channel_that_they_borrow() {
    let channel = crate::blocking::Channel(Channel::to(EchoServer::new(MyEcho)));
    let clients = [0, 1].map(|_| blocking::EchoClient::new(&channel));
    for client in clients {
        assert!(client.unary(EchoRequest::default()).is_ok());
    }
}

#[test]
fn streams_go_both_ways() {
    let client = EchoClient::new(Channel::to(EchoServer::new(MyEcho)));
    let Response(joined) = now(client.join(requests())).unwrap();
    assert_eq!(joined.payload, "greenblack");
    let twice = EchoRequest {
        payload: "tea".into(),
        want: 2,
    };
    let Response(mut replies) = now(client.repeat(twice)).unwrap();
    for _ in 0..2 {
        assert_eq!(now(replies.message()).unwrap().unwrap().payload, "tea");
    }
    assert_eq!(now(replies.message()), Ok(None));
    // A `Request` of a stream does as well.
    let Response(mut replies) = now(client.chat(Request(requests()))).unwrap();
    for payload in ["green", "black"] {
        assert_eq!(now(replies.message()).unwrap().unwrap().payload, payload);
    }
    assert_eq!(now(replies.message()), Ok(None));
}

#[test]
fn a_client_calls_a_server() {
    let client = EchoClient::new(Channel::to(EchoServer::new(MyEcho)));
    let request = EchoRequest {
        payload: "tea".into(),
        want: 0,
    };
    let Response(reply) = now(client.unary(request.clone())).unwrap();
    assert_eq!(reply.payload, "tea");
    // A `Request` does as well, and the error comes through.
    #[allow(deprecated)]
    let result = now(client.old(Request(request)));
    assert_eq!(result.unwrap_err(), Status("too old".to_owned()));
}

#[test]
fn a_server_says_what_it_is() {
    let server = EchoServer::from_arc(Arc::new(MyEcho));
    assert_eq!(EchoServer::<MyEcho>::NAME, "echo.v1.Echo");
    assert_eq!(echo::echo_server::SERVICE_NAME, "echo.v1.Echo");
    assert_eq!(server.name(), "echo.v1.Echo");
    let methods = [
        MethodInfo::new("Unary", false, false),
        MethodInfo::new("Old", false, false),
        MethodInfo::new("Join", true, false),
        MethodInfo::new("Repeat", false, true),
        MethodInfo::new("Chat", true, true),
    ];
    let clone = server.clone();
    assert_eq!(
        (clone.methods(), server.methods()),
        (&methods[..], &methods[..])
    );
}

#[test]
fn an_unknown_method_is_unimplemented() {
    let server = EchoServer::new(MyEcho);
    let status = now(server.call(5, Request(Vec::new()))).unwrap_err();
    assert_eq!(status, Status("echo.v1.Echo has no such method".to_owned()));
}

use names::send_client::SendClient;
use names::send_server::{Send, SendServer};
use names::{Type, r#type::Nested};

/// Answers each method with its own name.
#[derive(Clone)]
struct MySend;

fn named(name: &str) -> Result<Response<Type>, Status> {
    Ok(Response(Type {
        self_: name.to_owned(),
        ..Type::default()
    }))
}

impl Send for MySend {
    async fn connect(&self, _: Request<Type>) -> Result<Response<Type>, Status> {
        named("connect")
    }
    async fn new(&self, _: Request<Type>) -> Result<Response<Type>, Status> {
        named("new")
    }
    async fn clone(&self, _: Request<Type>) -> Result<Response<Type>, Status> {
        named("clone")
    }
    async fn r#match(&self, request: Request<Nested>) -> Result<Response<Nested>, Status> {
        Ok(Response(Nested {
            r#match: !request.0.r#match,
        }))
    }
    async fn self_(&self, _: Request<Type>) -> Result<Response<Type>, Status> {
        named("self")
    }
}

#[test]
fn names_that_clash_can_be_called() {
    let client = SendClient::new(Channel::to(SendServer::new(MySend)));
    let empty = Type::default;
    assert_eq!(now(client.connect_(empty())).unwrap().0.self_, "connect");
    assert_eq!(now(client.new_(empty())).unwrap().0.self_, "new");
    assert_eq!(now(client.clone(empty())).unwrap().0.self_, "clone");
    assert_eq!(now(client.self_(empty())).unwrap().0.self_, "self");
    assert!(
        now(client.r#match(Nested { r#match: false }))
            .unwrap()
            .0
            .r#match
    );
}

#[test]
fn names_that_clash_can_be_called_blocking() {
    let channel = Channel::to(SendServer::new(MySend));
    let client = names::send_client::blocking::SendClient::new(crate::blocking::Channel(channel));
    let empty = Type::default;
    assert_eq!(client.connect_(empty()).unwrap().0.self_, "connect");
    assert_eq!(client.new_(empty()).unwrap().0.self_, "new");
    assert_eq!(client.clone(empty()).unwrap().0.self_, "clone");
    assert_eq!(client.self_(empty()).unwrap().0.self_, "self");
}

struct Empty;

impl names::http_result_server::HttpResult for Empty {}

#[test]
fn a_service_without_methods() {
    let server = names::http_result_server::HttpResultServer::new(Empty);
    assert_eq!((server.name(), server.methods()), ("HTTPResult", &[][..]));
}

use shop::goods::Item;
use shop::orders::v1::{Order, orders_client::OrdersClient, orders_server};

struct MyOrders;

impl orders_server::Orders for MyOrders {
    async fn place(&self, request: Request<Item>) -> Result<Response<Order>, Status> {
        Ok(Response(Order {
            item: Some(request.0),
            placed: None,
        }))
    }
    async fn now(&self, _: Request<()>) -> Result<Response<prost_types::Timestamp>, Status> {
        Ok(Response(prost_types::Timestamp {
            seconds: 7,
            nanos: 0,
        }))
    }
    async fn is_open(&self, request: Request<String>) -> Result<Response<bool>, Status> {
        Ok(Response(request.0 == "tea room"))
    }
}

#[test]
fn types_of_other_packages_and_well_known_types() {
    let server = orders_server::OrdersServer::new(MyOrders);
    let client = OrdersClient::new(Channel::to(server));
    let item = Item {
        name: "kettle".to_owned(),
    };
    assert_eq!(now(client.place(item.clone())).unwrap().0.item, Some(item));
    assert_eq!(now(client.now(())).unwrap().0.seconds, 7);
    assert!(now(client.is_open("tea room".to_owned())).unwrap().0);
}
