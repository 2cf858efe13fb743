//! The wire of the raw peers, u32 big-endian length and then that many bytes, and their sockets.

pub mod sys;

/// Length of the payload of the frame at the start of `input`, when all of it is there.
pub fn frame(input: &[u8]) -> Option<usize> {
    let len = u32::from_be_bytes(input.get(..4)?.try_into().unwrap()) as usize;
    (input.len() - 4 >= len).then_some(len)
}

/// Appends one reply per whole frame of `input` to `out`, returns the bytes eaten.
pub fn echo(input: &[u8], out: &mut Vec<u8>) -> usize {
    let mut at = 0;
    while let Some(len) = frame(&input[at..]) {
        out.extend_from_slice(&(len as u32).to_be_bytes());
        out.extend_from_slice(&input[at + 4..at + 4 + len]);
        at += 4 + len;
    }
    at
}

/// Bytes eaten and number of whole frames, for servers whose reply does not depend on the request.
pub fn count_frames(input: &[u8]) -> (usize, usize) {
    let (mut at, mut count) = (0, 0);
    while let Some(len) = frame(&input[at..]) {
        at += 4 + len;
        count += 1;
    }
    (at, count)
}

/// Runs `serve` on that many threads until all of them end.
pub fn on_threads(threads: usize, serve: impl Fn() + Send + Clone + 'static) {
    let start = |_| std::thread::spawn(serve.clone());
    let threads: Vec<_> = (0..threads).map(start).collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
}
