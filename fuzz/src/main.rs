//! Runs the fuzz target that `KETTLE_FUZZ_TARGET` names with libFuzzer. `.ci/fuzz` builds and starts it.
#![no_main]

use kettle_testkit::fuzz::{Target, target};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("KETTLE_FUZZ_TARGET").expect("KETTLE_FUZZ_TARGET names a target");
    target(&name).unwrap_or_else(|| panic!("there is no target {name}"))
});

fuzz_target!(|input: &[u8]| (TARGET.run)(input));
