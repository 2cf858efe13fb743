//! The example is the README's: its files stand there word for word, and it runs on every I/O model.

use kettle::Model;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

/// The files that the README shows, each with the language of its block.
const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", "toml"),
    ("build.rs", "rust"),
    ("proto/greeter.proto", "proto"),
    ("src/bin/server.rs", "rust"),
    ("src/bin/client.rs", "rust"),
];

/// How long a server may take until it answers.
const START_MAX: Duration = Duration::from_secs(20);

#[test]
fn the_readme_shows_these_files() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(here.join("../../README.md")).unwrap();
    for (path, language) in FILES {
        let text = fs::read_to_string(here.join(path)).unwrap();
        // The reader's crate lies beside the clone, this one in it.
        let text = text.replace("../../crates/", "../kettle/crates/");
        let block = format!("`{path}`:\n\n```{language}\n{text}```\n");
        assert!(
            readme.contains(&block),
            "README.md does not show {path} as it is. It should have:\n\n{block}"
        );
    }
}

#[test]
fn it_runs_on_every_model() {
    for model in Model::ALL.into_iter().filter(|it| it.has_driver()) {
        let (server, url) = Server::start(model);
        let output = server.answer(&url);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, "Hello, kettle!\n", "{model}");
    }
}

/// A server process; dropping it ends it.
struct Server(Child);

impl Server {
    /// Starts a server on a port that was free just now.
    fn start(model: Model) -> (Self, String) {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let child = Command::new(env!("CARGO_BIN_EXE_server"))
            .env("KETTLE_MODEL", model.name())
            .env("KETTLE_LISTEN", &address)
            .env_remove("KETTLE_LOOPS")
            .spawn()
            .unwrap();
        (Self(child), format!("kettle://{address}"))
    }

    /// Runs the client again and again until the server listens, for a bounded time.
    fn answer(mut self, url: &str) -> Output {
        let begun = Instant::now();
        loop {
            let client = Command::new(env!("CARGO_BIN_EXE_client"))
                .arg(url)
                .output()
                .unwrap();
            if client.status.success() {
                return client;
            }
            assert_eq!(self.0.try_wait().unwrap(), None, "the server ended");
            assert!(begun.elapsed() < START_MAX, "{client:?}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
