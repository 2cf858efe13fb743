//! The commands as their users run them: as processes, against real servers.

mod arguments;
mod bench;
mod call;
mod completions;
mod connections;
mod files;
mod lab;
mod models;
mod process;
mod replay;
mod serve;
mod soak;
mod unix;
