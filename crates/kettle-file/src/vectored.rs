//! Writing received segments to a file as they lie.

use kettle::Chain;
use rustix::io::{Errno, pwritev};
use std::fs::File;
use std::io::IoSlice;

/// Segments of one pwritev(2); the kernel takes 1,024 (UIO_MAXIOV).
const SLICES_MAX: usize = 64;

/// Writes all of `data` at `offset`, with as few calls as its segments allow and without joining them.
///
/// # Errors
/// The kernel's; a part may be written then.
pub(crate) fn write_all_at(file: &File, mut data: Chain, mut offset: u64) -> Result<(), Errno> {
    while !data.is_empty() {
        let slices = data.segments().take(SLICES_MAX);
        let slices: Vec<_> = slices.map(|segment| IoSlice::new(segment)).collect();
        let written = pwritev(file, &slices, offset);
        match written {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                data.advance(written);
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kettle::Segment;
    use std::os::unix::fs::FileExt;

    #[test]
    fn more_segments_than_one_call_takes_are_written_in_order() {
        let content: Vec<u8> = (0..3 * SLICES_MAX as u32 + 5).map(|n| n as u8).collect();
        let mut chain = Chain::new();
        for part in content.chunks(1) {
            chain.append(Segment::copy_from_slice(part));
        }
        let file = tempfile::tempfile().unwrap();
        write_all_at(&file, chain, 7).unwrap();
        let mut written = vec![0; content.len()];
        file.read_exact_at(&mut written, 7).unwrap();
        assert_eq!(written, content);
        assert_eq!(file.metadata().unwrap().len(), 7 + content.len() as u64);
    }

    #[test]
    fn errors_are_the_kernels() {
        let file = File::open("/dev/null").unwrap();
        let data = Chain::from(Segment::from_static(b"some"));
        assert_eq!(write_all_at(&file, data, 0), Err(Errno::BADF));
    }
}
