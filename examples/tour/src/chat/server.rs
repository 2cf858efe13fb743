//! A room in which everybody hears everybody: `cargo run -p tour --bin chat-server`.

use futures::channel::mpsc;
use futures::future;
use futures::stream::{self, BoxStream, StreamExt};
use kettle::{Error, Request, Response, Server, Status, Streaming};
use std::sync::{Arc, Mutex};

kettle::include_proto!("chat.v1");
use chat_server::{Chat, ChatServer};

/// Lines that may wait for a member; one who takes none for so long has to leave.
const LINES_MAX: usize = 256;

#[derive(Clone, Default)]
struct Room {
    members: Arc<Mutex<Vec<Member>>>,
}

struct Member {
    name: String,
    lines: mpsc::Sender<Line>,
}

impl Room {
    fn say(&self, name: &str, text: &str) {
        let mut members = self.members.lock().expect("nobody panics with it");
        let line = Line {
            name: name.to_owned(),
            text: text.to_owned(),
        };
        members.retain_mut(|member| member.lines.try_send(line.clone()).is_ok());
    }

    fn enter(&self, name: &str) -> mpsc::Receiver<Line> {
        let (lines, received) = mpsc::channel(LINES_MAX);
        let name = name.to_owned();
        let mut members = self.members.lock().expect("nobody panics with it");
        members.push(Member { name, lines });
        received
    }

    fn leave(&self, name: &str) {
        let mut members = self.members.lock().expect("nobody panics with it");
        members.retain(|member| member.name != name);
    }
}

/// Somebody who is in the room. Dropped when the call is over, in whatever way.
struct Presence {
    room: Room,
    name: String,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.room.leave(&self.name);
        self.room.say("room", &format!("{} has left", self.name));
    }
}

impl Chat for Room {
    type JoinStream = BoxStream<'static, Result<Line, Status>>;

    async fn join(
        &self,
        request: Request<Streaming<Line>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let Some(name) = request.metadata().get("name").map(str::to_owned) else {
            return Err(Status::invalid_argument("the metadata `name` is missing"));
        };
        let heard = self.enter(&name).map(Ok);
        self.say("room", &format!("{name} has entered"));
        let presence = Presence {
            room: self.clone(),
            name,
        };
        let mut lines = request.into_inner();
        // What the member says gives no replies of its own. When it ends, the member leaves, and with that
        // what is heard ends too.
        let said = async move {
            while let Ok(Some(line)) = lines.message().await {
                presence.room.say(&presence.name, &line.text);
            }
            drop(presence);
        };
        let said = stream::once(said).filter_map(|()| future::ready(None));
        Ok(Response::new(stream::select(said, heard).boxed()))
    }
}

fn main() -> Result<(), Error> {
    Server::builder()
        .from_env()
        .add_service(ChatServer::new(Room::default()))
        .serve("127.0.0.1:50051")
}
