//! What sending a file costs: CPU time of the sending thread per GB, by each strategy of a driver and by a bare
//! loop of the same system calls.
//!
//! ```text
//! cargo run --release -p kettle-io --example send_file [MIB] [ROUNDS]
//! ```
//!
//! It sends a file of MIB MiB (default 1,024), which it has written and so is in the page cache, over loopback
//! to a thread that throws it away, ROUNDS times (default 5) in each way, in turns, and prints the medians.

use kettle_buf::FileRegion;
use kettle_io::{DriverConfig, FileStrategy, Model, Op, Outcome, Patience, Role, Token, open};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::pipe::SpliceFlags;
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

const MIB: usize = 1 << 20;

/// A way to send a whole file on a socket in non-blocking mode.
type Way = Box<dyn Fn(TcpStream, &Arc<File>, u64) -> io::Result<()>>;

fn main() -> io::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let mut next = |default| match numbers.next() {
        None => Ok(default),
        Some(number) => number.map_err(io::Error::other),
    };
    let (bytes, rounds) = (next(1024)? * MIB as u64, next(5)?);
    let file = Arc::new(file_of(bytes)?);
    let ways = ways();
    let mut results = vec![Vec::new(); ways.len()];
    let mut order: Vec<usize> = (0..ways.len()).collect();
    for _ in 0..rounds {
        for &way in &order {
            results[way].push(measure(&ways[way].1, &file, bytes)?);
        }
        // None shall always come after the same other one.
        order.reverse();
        order.rotate_left(1);
    }
    println!("{:<26} {:>8} {:>8}", "way", "CPU s/GB", "GB/s");
    for (mut result, (name, _)) in results.into_iter().zip(ways) {
        let median = result.len() / 2;
        result.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (cpu, wall) = result[median];
        println!("{name:<26} {cpu:>8.3} {:>8.2}", 1.0 / wall);
    }
    Ok(())
}

fn ways() -> Vec<(String, Way)> {
    let mut ways: Vec<(String, Way)> = Vec::new();
    for strategy in FileStrategy::ALL {
        let driven: Way = Box::new(move |stream, file, bytes| drive(strategy, stream, file, bytes));
        ways.push((format!("driver, {strategy}"), driven));
    }
    for chunk in [64 * 1024, MIB] {
        let name = |call| format!("bare {call}, {} KiB", chunk / 1024);
        ways.push((
            name("splice"),
            Box::new(move |s, f, n| splice(&s, f, n, chunk)),
        ));
        ways.push((
            name("sendfile"),
            Box::new(move |s, f, n| sendfile(&s, f, n, chunk)),
        ));
    }
    for chunk in [64 * 1024, 256 * 1024, MIB] {
        let name = format!("bare pread + send, {} KiB", chunk / 1024);
        ways.push((name, Box::new(move |s, f, n| copy(&s, f, n, chunk))));
    }
    ways
}

/// CPU seconds of this thread, and seconds, per GB.
fn measure(way: &Way, file: &Arc<File>, bytes: u64) -> io::Result<(f64, f64)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut far = TcpStream::connect(listener.local_addr()?)?;
    let (near, _) = listener.accept()?;
    near.set_nonblocking(true)?;
    let reader = thread::spawn(move || -> io::Result<u64> {
        let (mut buffer, mut all) = (vec![0; MIB], 0);
        loop {
            match far.read(&mut buffer)? {
                0 => return Ok(all),
                n => all += n as u64,
            }
        }
    });
    let (cpu, wall) = (cpu_seconds(), Instant::now());
    way(near, file, bytes)?;
    let (cpu, wall) = (cpu_seconds() - cpu, wall.elapsed().as_secs_f64());
    assert_eq!(reader.join().expect("the reader lives")?, bytes);
    let gigabytes = bytes as f64 / 1e9;
    Ok((cpu / gigabytes, wall / gigabytes))
}

fn drive(
    file_strategy: FileStrategy,
    stream: TcpStream,
    file: &Arc<File>,
    bytes: u64,
) -> io::Result<()> {
    let config = DriverConfig {
        file_strategy,
        ..DriverConfig::default()
    };
    let mut driver = open(Model::Epoll, &config)?;
    let socket = driver.attach(stream.into(), Role::Stream, Token(0))?;
    let mut payload = FileRegion::new(Arc::clone(file), 0, bytes).into();
    let mut done = Vec::new();
    let patience = Patience {
        timeout: None,
        wakeable: false,
    };
    loop {
        driver.submit(Op::Send { socket, payload });
        driver.wait(patience, &mut done)?;
        payload = match done.pop().map(|one| one.outcome) {
            Some(Outcome::Sent { rest, .. }) if rest.is_empty() => return Ok(()),
            Some(Outcome::Sent { rest, .. }) => rest,
            other => panic!("{other:?}"),
        };
    }
}

fn splice(stream: &TcpStream, file: &File, bytes: u64, chunk: usize) -> io::Result<()> {
    let (reader, writer) = rustix::pipe::pipe()?;
    rustix::pipe::fcntl_setpipe_size(&writer, chunk)?;
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK | SpliceFlags::MORE;
    let mut offset = 0;
    while offset < bytes {
        let mut left = rustix::pipe::splice(file, Some(&mut offset), &writer, None, chunk, flags)?;
        while 0 < left {
            let send = || rustix::pipe::splice(&reader, None, stream, None, left, flags);
            left -= when_there_is_room(stream, send)?;
        }
    }
    Ok(())
}

fn sendfile(stream: &TcpStream, file: &File, bytes: u64, chunk: usize) -> io::Result<()> {
    let mut offset = 0;
    while offset < bytes {
        when_there_is_room(stream, || {
            rustix::fs::sendfile(stream, file, Some(&mut offset), chunk)
        })?;
    }
    Ok(())
}

fn copy(stream: &TcpStream, file: &File, bytes: u64, chunk: usize) -> io::Result<()> {
    let (mut buffer, mut offset) = (vec![0; chunk], 0);
    while offset < bytes {
        let read = rustix::io::pread(file, &mut buffer, offset)?;
        let mut left = &buffer[..read];
        while !left.is_empty() {
            let send = || rustix::net::send(stream, left, SendFlags::NOSIGNAL);
            left = &left[when_there_is_room(stream, send)?..];
        }
        offset += read as u64;
    }
    Ok(())
}

fn when_there_is_room(
    stream: &TcpStream,
    mut send: impl FnMut() -> rustix::io::Result<usize>,
) -> io::Result<usize> {
    loop {
        match send() {
            Err(Errno::WOULDBLOCK) => {
                poll(&mut [PollFd::new(stream, PollFlags::OUT)], None)?;
            }
            sent => return Ok(sent?),
        }
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A file without a name.
fn file_of(bytes: u64) -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("kettle-send-file-{}", std::process::id()));
    let mut options = File::options();
    let mut file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    std::fs::remove_file(path)?;
    let block: Vec<u8> = (0..MIB).map(|at| (at % 251) as u8).collect();
    for _ in 0..bytes / MIB as u64 {
        file.write_all(&block)?;
    }
    Ok(file)
}
