//! Servers without a loop: a protocol machine and a plain blocking socket, for what a well-behaved
//! server would not do.

use kettle_proto::{CallId, Closing, Event, Instant, Machine, native};
use kettle_testkit::trial::Outcome;
use prost::Message;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant as StdInstant};

/// The machine's time stands still: nothing here waits for a time-out of the server.
const NOW: Instant = Instant::from_nanos(0);

const PATIENCE: Duration = Duration::from_secs(30);

/// A listening socket that nobody serves.
pub struct RawServer {
    listener: TcpListener,
}

/// The server's end of a connection, which does exactly what it is told.
pub struct RawPeer {
    stream: TcpStream,
    machine: native::Connection,
}

impl RawServer {
    pub fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener }
    }

    pub fn url(&self) -> String {
        format!("kettle://{}", self.listener.local_addr().unwrap())
    }

    /// The next connection. Panics when none comes.
    pub fn accept(&self) -> RawPeer {
        let begin = StdInstant::now();
        loop {
            if let Some(peer) = self.try_accept() {
                return peer;
            }
            assert!(begin.elapsed() < PATIENCE, "no connection came");
            thread::yield_now();
        }
    }

    /// A connection that has come.
    pub fn try_accept(&self) -> Option<RawPeer> {
        let (stream, _) = self.listener.accept().ok()?;
        Some(RawPeer::new(stream))
    }
}

impl RawPeer {
    fn new(stream: TcpStream) -> Self {
        stream.set_nonblocking(false).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let machine = native::Connection::server(native::Config::default(), NOW);
        Self { stream, machine }
    }

    /// Greets the client, which must have greeted.
    pub fn greet(&mut self) {
        assert!(matches!(self.event(), Some(Event::Ready)));
        self.flush();
    }

    /// The next call.
    pub fn call(&mut self) -> CallId {
        loop {
            match self.event() {
                Some(Event::Call { call, .. }) => return call,
                Some(_) => {}
                None => panic!("the client has closed"),
            }
        }
    }

    pub fn answer(&mut self, call: CallId) {
        let closing = Closing {
            message: Some(Outcome::default().encode_to_vec().into()),
            ..Closing::default()
        };
        self.machine.finish(call, closing);
        self.flush();
    }

    /// Waits for a ping, and answers it.
    pub fn answer_ping(&mut self) {
        while self.output().is_empty() {
            assert!(self.read(), "the client has closed");
            while self.machine.poll_event().is_some() {}
            let pong = self.output();
            if !pong.is_empty() {
                return self.stream.write_all(&pong).unwrap();
            }
        }
        panic!("there was something to be sent before the ping");
    }

    /// Takes what comes and says nothing, until the client has closed.
    pub fn ignore(mut self) {
        while self.read() {}
    }

    fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.machine.poll_event() {
                return Some(event);
            }
            if !self.read() {
                return None;
            }
        }
    }

    fn read(&mut self) -> bool {
        let mut buffer = vec![0; 65_536];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                buffer.truncate(n);
                self.machine.handle_bytes(NOW, buffer.into());
                true
            }
        }
    }

    fn flush(&mut self) {
        let bytes = self.output();
        self.stream.write_all(&bytes).unwrap();
    }

    fn output(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(payload) = self.machine.poll_transmit(NOW, u64::MAX) {
            bytes.extend(payload.into_chain().unwrap().to_vec());
        }
        bytes
    }
}

/// A server whose connections can be broken one by one.
pub struct Fragile {
    pub url: String,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Fragile {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("kettle://{}", listener.local_addr().unwrap());
        let streams = Arc::<Mutex<Vec<_>>>::default();
        let accepted = Arc::clone(&streams);
        // It ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                accepted.lock().unwrap().push(stream.try_clone().unwrap());
                thread::spawn(move || answer_all(RawPeer::new(stream)));
            }
        });
        Self { url, streams }
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> usize {
        self.streams.lock().unwrap().len()
    }

    pub fn break_off(&self, connection: usize) {
        let streams = self.streams.lock().unwrap();
        streams[connection].shutdown(Shutdown::Both).unwrap();
    }
}

fn answer_all(mut peer: RawPeer) {
    while let Some(event) = peer.event() {
        if let Event::Call { call, .. } = event {
            let closing = Closing {
                message: Some(Outcome::default().encode_to_vec().into()),
                ..Closing::default()
            };
            peer.machine.finish(call, closing);
        }
        let bytes = peer.output();
        if peer.stream.write_all(&bytes).is_err() {
            return;
        }
    }
}
