//! Greets whoever calls: `cargo run -p tour --bin hello-server`.

use kettle::{Error, Request, Response, Server, Status};

kettle::include_proto!("hello.v1");
use greeter_server::{Greeter, GreeterServer};

struct MyGreeter;

// The trait has `async fn`s: no attribute is needed.
impl Greeter for MyGreeter {
    async fn say_hello(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<HelloReply>, Status> {
        let name = &request.get_ref().name;
        if name.is_empty() {
            return Err(Status::invalid_argument("say who you are"));
        }
        let message = format!("Hello, {name}!");
        Ok(Response::new(HelloReply { message }))
    }
}

fn main() -> Result<(), Error> {
    // `serve` runs the server on threads of its own until SIGINT or SIGTERM: there is no runtime to start.
    Server::builder()
        .from_env() // KETTLE_MODEL, KETTLE_LOOPS, KETTLE_LISTEN
        .add_service(GreeterServer::new(MyGreeter))
        .serve("127.0.0.1:50051")
}
