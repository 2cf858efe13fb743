//! One level-triggered epoll loop per thread; read a lot, answer every frame, write once.
//! `--resp N` answers each frame with N bytes from one buffer instead of echoing.

use harness::Args;
use raw::sys::{self, Epoll, IN, OUT};
use raw::{count_frames, echo, on_threads};
use std::collections::HashMap;
use std::io;

const CHUNK_BYTES: usize = 256 * 1024;

#[derive(Default)]
struct Conn {
    input: Vec<u8>, // the unparsed tail of what was read
    out: Vec<u8>,   // replies not sent yet
    sent: usize,    // how much of `out` is gone
    owed: usize,    // with --resp: bytes of fixed replies still to send
    waiting: bool,  // OUT is asked for
}

fn main() {
    let args = Args::parse();
    let (port, reply) = (args.port(), args.num("resp", 0));
    on_threads(args.threads(), move || serve(port, reply));
}

fn serve(port: u16, reply: usize) {
    let mut epoll = Epoll::default();
    let listener = sys::listen(port, libc::SOCK_NONBLOCK);
    epoll.add(listener, IN, listener as u64);
    let mut fixed = (reply as u32).to_be_bytes().to_vec();
    fixed.resize(4 + reply, 0);
    let mut conns: HashMap<i32, Conn> = HashMap::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut ready = Vec::new();
    loop {
        ready.extend(epoll.wait(-1));
        for (events, number) in ready.drain(..) {
            let fd = number as i32;
            if fd == listener {
                let fd = sys::accept(listener);
                sys::no_delay(fd);
                epoll.add(fd, IN, fd as u64);
                conns.insert(fd, Conn::default());
                continue;
            }
            let conn = conns.get_mut(&fd).unwrap();
            if !matches!(conn.on_ready(fd, events, &mut chunk, &fixed), Ok(true)) {
                conns.remove(&fd);
                sys::close(fd);
                continue;
            }
            let blocked = !conn.out.is_empty() || conn.owed > 0;
            if blocked != conn.waiting {
                conn.waiting = blocked;
                // While replies are stuck, stop reading: that is the back-pressure.
                epoll.change(fd, if blocked { OUT } else { IN }, number);
            }
        }
    }
}

impl Conn {
    /// False when the connection is over.
    fn on_ready(
        &mut self,
        fd: i32,
        events: u32,
        chunk: &mut [u8],
        fixed: &[u8],
    ) -> io::Result<bool> {
        if events & IN != 0 {
            match sys::receive(fd, chunk)? {
                None => return Ok(true),
                Some(0) => return Ok(false),
                Some(len) => self.on_bytes(&chunk[..len], fixed),
            }
        } else if events & OUT == 0 {
            return Ok(false);
        }
        self.flush(fd, fixed)?;
        Ok(true)
    }

    fn on_bytes(&mut self, bytes: &[u8], fixed: &[u8]) {
        // Common case: nothing left over, parse straight out of the read buffer.
        if self.input.is_empty() {
            let eaten = self.answer(bytes, fixed);
            self.input.extend_from_slice(&bytes[eaten..]);
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let eaten = self.answer(&input, fixed);
        input.drain(..eaten);
        self.input = input;
    }

    fn answer(&mut self, input: &[u8], fixed: &[u8]) -> usize {
        if fixed.len() == 4 {
            return echo(input, &mut self.out);
        }
        let (eaten, frames) = count_frames(input);
        self.owed += frames * fixed.len();
        eaten
    }

    fn flush(&mut self, fd: i32, fixed: &[u8]) -> io::Result<()> {
        while self.owed > 0 {
            let at = (fixed.len() - self.owed % fixed.len()) % fixed.len();
            match sys::send(fd, &fixed[at..])? {
                Some(len) => self.owed -= len,
                None => return Ok(()),
            }
        }
        while self.sent < self.out.len() {
            match sys::send(fd, &self.out[self.sent..])? {
                Some(len) => self.sent += len,
                None => return Ok(()),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }
}
