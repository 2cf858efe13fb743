//! Files over kettle: the service `kettle.file.v1.Files`, which serves a directory, and its client.
//!
//! [`FilesService`] is rooted in a directory that no path leads out of. What it reads goes from the file to the
//! socket without passing through user space; what it writes goes from the received segments to the file.
//! [`Download`] fetches a file on several connections, goes on where a broken one stopped, and verifies a
//! checksum; [`upload`] sends one.
//!
//! `root.rs` keeps paths inside, `service.rs` and `service/` are the methods, `client/` the other side.
#![forbid(unsafe_code)]

mod checksum;
mod client;
mod info;
mod path;
mod refusal;
mod root;
mod service;
mod vectored;

/// The generated messages, `files_client` and `files_server`.
#[allow(missing_docs)] // generated
pub mod v1 {
    kettle::include_proto!("kettle.file.v1");
}

pub use client::{
    Download, DownloadOptions, Error, Fetched, Resumed, UploadOptions, list, read_raw, stat, upload,
};
pub use service::{CHUNK_BYTES, FILE_BYTES_MAX, FilesService};
