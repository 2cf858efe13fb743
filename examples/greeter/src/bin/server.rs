use kettle::{Error, Request, Response, Server, Status};

kettle::include_proto!("greeter.v1");
use greeter_server::{Greeter, GreeterServer};

struct Polite;

impl Greeter for Polite {
    async fn say_hello(&self, req: Request<HelloRequest>) -> Result<Response<HelloReply>, Status> {
        let text = format!("Hello, {}!", req.get_ref().name);
        Ok(Response::new(HelloReply { text }))
    }
}

fn main() -> Result<(), Error> {
    Server::builder()
        .from_env()
        .add_service(GreeterServer::new(Polite))
        .serve("127.0.0.1:50051")
}
