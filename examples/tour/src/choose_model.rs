//! The same service on any I/O model: `cargo run -p tour --bin choose-model [MODEL]`.
//!
//! Without an argument it is that of the environment variable KETTLE_MODEL, or epoll.

use kettle::{Model, Probe, Request, Response, Server, Status};

kettle::include_proto!("hello.v1");
use greeter_server::{Greeter, GreeterServer};

struct OnModel;

impl Greeter for OnModel {
    async fn say_hello(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<HelloReply>, Status> {
        let message = format!("Hello, {}!", request.into_inner().name);
        Ok(Response::new(HelloReply { message }))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = Server::builder().from_env();
    if let Some(name) = std::env::args().nth(1) {
        // The error for a wrong name lists the right ones.
        let model: Model = name.parse()?;
        // Some kernels or sandboxes do not run every model: ask before, or let the start fail.
        if let Probe::Refused(reason) = model.probe() {
            return Err(format!("{model} does not run here: {reason}").into());
        }
        builder = builder.model(model);
    }
    builder
        .add_service(GreeterServer::new(OnModel))
        .serve("127.0.0.1:50051")?;
    Ok(())
}
