//! Tests of the test tools.

mod corpora;
