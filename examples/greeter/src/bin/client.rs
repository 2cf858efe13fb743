use kettle::{LocalLoop, Model};

kettle::include_proto!("greeter.v1");
use greeter_client::GreeterClient;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1);
    let url = url.unwrap_or("kettle://127.0.0.1:50051".into());
    let name = "kettle".into();
    let reply = LocalLoop::new(Model::Epoll)?.block_on(async {
        let greeter = GreeterClient::connect(url).await?;
        greeter.say_hello(HelloRequest { name }).await
    })??;
    println!("{}", reply.into_inner().text);
    Ok(())
}
