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
