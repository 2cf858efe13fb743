//! What the peers share: arguments, tokio start-up, the closed-loop client, reporting.

mod client;
mod report;

pub use client::{Plan, run_client};
pub use report::Report;

use std::collections::HashMap;
use std::future::Future;

/// `--name value` pairs; everything has a default, so that a peer is started in one line.
pub struct Args(HashMap<String, String>);

impl Args {
    pub fn parse() -> Self {
        let mut map = HashMap::new();
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let key = word.strip_prefix("--").expect("arguments are --name value");
            let value = words.next().expect("a value after --name");
            map.insert(key.to_string(), value);
        }
        Args(map)
    }

    pub fn num(&self, key: &str, default: usize) -> usize {
        let parse = |value: &String| value.parse().expect("a number");
        self.0.get(key).map_or(default, parse)
    }

    pub fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.0.get(key).map_or(default, String::as_str)
    }

    pub fn port(&self) -> u16 {
        self.num("port", 9000) as u16
    }

    pub fn threads(&self) -> usize {
        self.num("threads", 1)
    }
}

/// Runs `server` *on a worker* of a multi-thread runtime, so that one thread does all the work.
pub fn run_server<F: Future<Output = ()> + Send + 'static>(threads: usize, server: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { tokio::spawn(server).await.unwrap() });
}
