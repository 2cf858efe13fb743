//! The file service and its client, as processes would use them: over connections, on the I/O models that differ in
//! how they send files.

mod downloads;
mod harness;
mod listing;
mod reading;
mod safety;
mod writing;
