//! Calls a method of each kind on this thread, without an executor and without other threads:
//! `cargo run -p tour --bin blocking-client [URL]`, beside `routeguide-server`.

use kettle::Request;
use kettle::blocking::Channel;
use std::time::Duration;

kettle::include_proto!("routeguide.v1");
use route_guide_client::blocking::RouteGuideClient;

fn point(latitude: i32, longitude: i32) -> Point {
    Point {
        latitude,
        longitude,
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1);
    let url = url.unwrap_or("kettle://127.0.0.1:50051".into());
    // `RouteGuideClient::connect(url)?` does for a client without settings.
    let channel = Channel::builder(url)
        .timeout(Duration::from_secs(10))
        .connect_blocking()?;
    // Several clients may borrow one channel.
    let guide = RouteGuideClient::new(&channel);

    let feature = guide.get_feature(point(551_250_000, -60_900_000))?;
    println!("{}", feature.into_inner().name);

    // A stream of replies is an iterator, and other calls may be made while it is open.
    let tarns = Rectangle {
        lo: Some(point(551_400_000, -61_500_000)),
        hi: Some(point(551_600_000, -61_300_000)),
    };
    for feature in guide.list_features(tarns)?.into_inner() {
        let place = feature?.location.unwrap_or_default();
        let again = guide.get_feature(place)?.into_inner();
        println!("in the mountains: {}", again.name);
    }

    // Requests come from an iterator, where they are at hand …
    let route = (0..5).map(|n| point(551_200_000 + 10_000 * n, -61_900_000));
    let summary = guide.record_route(route)?.into_inner();
    println!("{} points, {} m", summary.points, summary.distance);

    // … or are sent one by one, as they come. `()` stands for a request without metadata.
    let mut request = Request::new(());
    request.set_timeout(Duration::from_secs(5));
    let mut sender = guide.record_route_sender(request)?;
    for n in 0..3 {
        sender.send(point(551_200_000, -61_900_000 + 10_000 * n))?;
    }
    let summary = sender.finish()?.into_inner();
    println!("{} points, {} m", summary.points, summary.distance);

    // Sends and receives in any order.
    let mut chat = guide.route_chat(())?;
    for message in ["first", "second", "third"] {
        chat.send(RouteNote {
            location: Some(point(3, 0)),
            message: message.to_owned(),
        })?;
        if message == "second" {
            let earlier = chat.recv()?.ok_or("the server has ended the call")?;
            println!("before {message}: {}", earlier.message);
        }
    }
    chat.finish()?;
    for note in &mut chat {
        println!("before third: {}", note?.message);
    }
    Ok(())
}
