//! The log through its handle, through calls on every I/O model, and as a process that is killed.

mod checker;
mod harness;
mod kill;
mod log;
mod process;
mod readers;
mod service;
