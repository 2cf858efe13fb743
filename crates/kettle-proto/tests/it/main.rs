//! Tests of kettle-proto through its public interface.

mod ends;
mod unary;
