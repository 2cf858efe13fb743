//! A service with a method of each kind: `cargo run -p tour --bin routeguide-server`.

mod data;

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use kettle::{Error, Request, Response, Server, Status, Streaming};
use std::sync::{Arc, Mutex};
use std::time::Instant;

kettle::include_proto!("routeguide.v1");
use route_guide_server::{RouteGuide, RouteGuideServer};

struct Guide {
    features: Vec<Feature>,
    notes: Arc<Mutex<Vec<RouteNote>>>,
}

impl Guide {
    fn at(&self, point: &Point) -> Option<&Feature> {
        let is_here = |feature: &&Feature| feature.location.as_ref() == Some(point);
        self.features.iter().find(is_here)
    }
}

impl RouteGuide for Guide {
    async fn get_feature(&self, request: Request<Point>) -> Result<Response<Feature>, Status> {
        let point = request.into_inner();
        let feature = self.at(&point).cloned().unwrap_or(Feature {
            name: String::new(),
            location: Some(point),
        });
        Ok(Response::new(feature))
    }

    // A method that replies with a stream names the stream's type: any `futures::Stream` does.
    type ListFeaturesStream = BoxStream<'static, Result<Feature, Status>>;

    async fn list_features(
        &self,
        request: Request<Rectangle>,
    ) -> Result<Response<Self::ListFeaturesStream>, Status> {
        let Rectangle { lo, hi } = request.into_inner();
        let (Some(lo), Some(hi)) = (lo, hi) else {
            return Err(Status::invalid_argument("a rectangle has two corners"));
        };
        let features = self.features.iter().filter(|it| is_inside(it, &lo, &hi));
        let features: Vec<_> = features.cloned().map(Ok).collect();
        // A message is made when there is room for it: a slow reader makes the stream wait.
        Ok(Response::new(stream::iter(features).boxed()))
    }

    async fn record_route(
        &self,
        request: Request<Streaming<Point>>,
    ) -> Result<Response<RouteSummary>, Status> {
        let begun = Instant::now();
        let mut points = request.into_inner();
        let (mut summary, mut last) = (RouteSummary::default(), None);
        let mut metres = 0.0;
        while let Some(point) = points.message().await? {
            summary.points += 1;
            summary.features += u32::from(self.at(&point).is_some());
            metres += last.map_or(0.0, |last| distance(&last, &point));
            last = Some(point);
        }
        summary.distance = metres as u32;
        summary.elapsed_ms = begun.elapsed().as_millis() as u64;
        Ok(Response::new(summary))
    }

    type RouteChatStream = BoxStream<'static, Result<RouteNote, Status>>;

    async fn route_chat(
        &self,
        request: Request<Streaming<RouteNote>>,
    ) -> Result<Response<Self::RouteChatStream>, Status> {
        let notes = Arc::clone(&self.notes);
        // The stream of replies takes the requests: it is asked for the next when that can be sent.
        let replies = request.into_inner().map_ok(move |note| {
            let mut notes = notes.lock().expect("nobody panics with it");
            let here = notes.iter().filter(|it| it.location == note.location);
            let earlier: Vec<_> = here.cloned().map(Ok).collect();
            notes.push(note);
            stream::iter(earlier)
        });
        Ok(Response::new(replies.try_flatten().boxed()))
    }
}

fn is_inside(feature: &Feature, lo: &Point, hi: &Point) -> bool {
    let between = |n: i32, a: i32, b: i32| (a.min(b)..=a.max(b)).contains(&n);
    feature.location.as_ref().is_some_and(|point| {
        between(point.latitude, lo.latitude, hi.latitude)
            && between(point.longitude, lo.longitude, hi.longitude)
    })
}

/// Metres between two points of an island, on which the earth is flat.
fn distance(a: &Point, b: &Point) -> f64 {
    const METRES_PER_DEGREE: f64 = 111_195.0;
    let degrees = |e7: i32| f64::from(e7) / 1e7;
    let north = degrees(b.latitude) - degrees(a.latitude);
    let middle = (degrees(a.latitude) + degrees(b.latitude)) / 2.0;
    let east = (degrees(b.longitude) - degrees(a.longitude)) * middle.to_radians().cos();
    METRES_PER_DEGREE * north.hypot(east)
}

fn main() -> Result<(), Error> {
    let guide = Guide {
        features: data::features(),
        notes: Arc::default(),
    };
    Server::builder()
        .from_env()
        .add_service(RouteGuideServer::new(guide))
        .serve("127.0.0.1:50051")
}
