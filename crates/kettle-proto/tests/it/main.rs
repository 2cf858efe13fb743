//! Tests of kettle-proto through its public interface.

mod document;
mod encoded;
mod ends;
mod limits;
mod malformed;
mod simulation;
mod splits;
mod stream_simulation;
mod streams;
mod time;
mod unary;
mod whole;

use kettle_testkit::frames;
