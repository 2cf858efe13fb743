//! Protobuf messages that lie in several segments.

use super::input::Input;
use crate::trial::Task;
use kettle_buf::{Chain, Segment};
use prost::Message;

/// A message means the same in one piece and cut anywhere.
pub(super) fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let step = 1 + input.below(32);
    let bytes = input.rest();
    let mut chain = Chain::new();
    for piece in bytes.chunks(step) {
        chain.append(Segment::copy_from_slice(piece));
    }
    let (whole, cut) = (Task::decode(bytes), Task::decode(chain));
    assert_eq!(whole, cut, "cut into pieces of {step}");
    if let Ok(task) = whole {
        let again = Task::decode(&*task.encode_to_vec());
        assert_eq!(again.as_ref(), Ok(&task));
    }
}
