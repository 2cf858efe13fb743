//! Code around calls, on both sides: `cargo run -p tour --bin interceptor`.

use kettle::{Channel, Inbound, Next, Outbound, Request, Response, Server, Status};
use std::time::Instant;

kettle::include_proto!("hello.v1");
use greeter_client::GreeterClient;
use greeter_server::{Greeter, GreeterServer};

struct MyGreeter;

/// Who calls, as [`authenticate`] found out.
struct Caller(String);

impl Greeter for MyGreeter {
    async fn say_hello(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<HelloReply>, Status> {
        let caller = request.extensions().get::<Caller>();
        let caller = caller.map_or("nobody", |caller| caller.0.as_str());
        let message = format!("Hello, {}, says {caller}", request.get_ref().name);
        Ok(Response::new(HelloReply { message }))
    }
}

/// Server: refuses calls without a token, and tells the handler whose token it is.
async fn authenticate(
    mut request: Request<Inbound>,
    next: Next<Inbound, Outbound>,
) -> Result<Response<Outbound>, Status> {
    match request.metadata().get("authorization") {
        Some("Bearer open sesame") => {
            request.extensions_mut().insert(Caller("Ali Baba".into()));
            next.run(request).await
        }
        _ => Err(Status::unauthenticated("a valid token is missing")),
    }
}

/// Server: tells the client how long the call took. On a stream that is the time until it begins.
async fn measure(
    request: Request<Inbound>,
    next: Next<Inbound, Outbound>,
) -> Result<Response<Outbound>, Status> {
    let begun = Instant::now();
    let method = request.method().to_owned();
    let mut result = next.run(request).await;
    let elapsed = begun.elapsed();
    eprintln!("{method} took {elapsed:?}");
    let took = format!("handler;dur={}", elapsed.as_secs_f64() * 1e3);
    if let Ok(response) = &mut result {
        response.metadata_mut().insert("server-timing", took).ok();
    }
    result
}

/// Client: signs every call.
async fn sign(
    mut request: Request<Outbound>,
    next: Next<Outbound, Inbound>,
) -> Result<Response<Inbound>, Status> {
    let metadata = request.metadata_mut();
    let signed = metadata.insert("authorization", "Bearer open sesame");
    signed.map_err(|error| Status::internal(error.to_string()))?;
    next.run(request).await
}

async fn call(url: &str) -> Result<(), Box<dyn std::error::Error>> {
    let ask = || HelloRequest {
        name: "Cassim".into(),
    };
    let stranger = GreeterClient::connect(url).await?;
    let status = stranger.say_hello(ask()).await.unwrap_err();
    println!("unsigned: {}: {}", status.code(), status.message());

    let channel = Channel::builder(url).interceptor(sign).connect().await?;
    let reply = GreeterClient::new(channel).say_hello(ask()).await?;
    let is_timed = reply.metadata().get("server-timing").is_some();
    println!("signed: {}, timed: {is_timed}", reply.get_ref().message);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The first added runs first: also calls that are refused are measured.
    let server = Server::builder()
        .interceptor(measure)
        .interceptor(authenticate)
        .add_service(GreeterServer::new(MyGreeter))
        .spawn("127.0.0.1:0")?;
    let url = format!("kettle://{}", server.local_addr());
    futures::executor::block_on(call(&url))
}
