//! Tests of kettle-proto through its public interface.

mod document;
mod ends;
mod frames;
mod limits;
mod malformed;
mod simulation;
mod splits;
mod time;
mod unary;
mod whole;
