//! Says what is typed, and shows what is said: `cargo run -p tour --bin chat-client NAME [URL]`.

use futures::channel::mpsc;
use kettle::Request;
use std::io;
use std::thread;

kettle::include_proto!("chat.v1");
use chat_client::ChatClient;

async fn join(name: String, url: String) -> Result<(), Box<dyn std::error::Error>> {
    let chat = ChatClient::connect(url).await?;
    // Reading what is typed blocks: it has a thread of its own. Its end ends the stream of lines.
    let (lines, typed) = mpsc::unbounded();
    thread::spawn(move || {
        for text in io::stdin().lines().map_while(Result::ok) {
            let name = String::new();
            if lines.unbounded_send(Line { name, text }).is_err() {
                return;
            }
        }
    });
    let mut request = Request::new(typed);
    request.metadata_mut().insert("name", name)?;
    let mut heard = chat.join(request).await?.into_inner();
    while let Some(Line { name, text }) = heard.message().await? {
        println!("{name}: {text}");
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name = args
        .next()
        .ok_or("say who you are: chat-client NAME [URL]")?;
    let url = args.next().unwrap_or("kettle://127.0.0.1:50051".into());
    futures::executor::block_on(join(name, url))
}
