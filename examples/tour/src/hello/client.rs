//! Calls the greeter: `cargo run -p tour --bin hello-client [URL] [NAME]`.

use kettle::Request;
use std::time::Duration;

kettle::include_proto!("hello.v1");
use greeter_client::GreeterClient;

async fn greet(url: String, name: String) -> Result<(), Box<dyn std::error::Error>> {
    let greeter = GreeterClient::connect(url).await?;
    let mut request = Request::new(HelloRequest { name });
    request.set_timeout(Duration::from_secs(10));
    let reply = greeter.say_hello(request).await?;
    println!("{}", reply.into_inner().message);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or("kettle://127.0.0.1:50051".into());
    let name = args.next().unwrap_or("kettle".into());
    // Any executor does, such as tokio's: the connection lives on a thread of kettle's.
    futures::executor::block_on(greet(url, name))
}
