//! Calls a method of each kind: `cargo run -p tour --bin routeguide-client [URL]`.

use futures::StreamExt;
use futures::stream;

kettle::include_proto!("routeguide.v1");
use route_guide_client::RouteGuideClient;

fn point(latitude: i32, longitude: i32) -> Point {
    Point {
        latitude,
        longitude,
    }
}

async fn walk(url: String) -> Result<(), Box<dyn std::error::Error>> {
    let guide = RouteGuideClient::connect(url).await?;

    // One message each way.
    for place in [point(551_215_000, -61_840_000), point(0, 0)] {
        let feature = guide.get_feature(place).await?.into_inner();
        match feature.name.as_str() {
            "" => println!("nothing at {}, {}", place.latitude, place.longitude),
            name => println!("{name}"),
        }
    }

    // A stream of replies. It is also a `Stream`; dropping it cancels the call.
    let tarns = Rectangle {
        lo: Some(point(551_400_000, -61_500_000)),
        hi: Some(point(551_600_000, -61_300_000)),
    };
    let mut features = guide.list_features(tarns).await?.into_inner();
    while let Some(feature) = features.message().await? {
        println!("in the mountains: {}", feature.name);
    }

    // A stream of requests.
    let route = [
        point(551_200_000, -61_900_000),
        point(551_210_000, -61_850_000),
        point(551_300_000, -61_750_000),
        point(551_300_000, -61_700_000),
    ];
    let summary = guide.record_route(stream::iter(route)).await?.into_inner();
    let RouteSummary {
        points,
        features,
        distance,
        ..
    } = summary;
    println!("{points} points, {features} sights, {distance} m");

    // Both: replies come while requests are sent.
    let note = |latitude, message: &str| RouteNote {
        location: Some(point(latitude, 0)),
        message: message.to_owned(),
    };
    let notes = [
        note(1, "first"),
        note(2, "second"),
        note(1, "third"),
        note(1, "fourth"),
    ];
    let replies = guide.route_chat(stream::iter(notes)).await?;
    let mut replies = replies.into_inner();
    while let Some(note) = replies.next().await {
        let RouteNote { location, message } = note?;
        let latitude = location.unwrap_or_default().latitude;
        println!("left at {latitude} before: {message}");
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1);
    let url = url.unwrap_or("kettle://127.0.0.1:50051".into());
    futures::executor::block_on(walk(url))
}
