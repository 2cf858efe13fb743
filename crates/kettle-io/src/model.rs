//! The I/O models by name, what each can do, and whether this machine runs it.

mod epoll;
mod epoll_edge;

use crate::{Driver, DriverConfig, Ready};
use std::fmt;
use std::io;
use std::str::FromStr;

/// An I/O model. Its [`fmt::Display`] and [`FromStr`] are the names of [`Model::name`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Model {
    /// One thread serves one connection to its end, then the next.
    Blocking,
    /// A blocking thread per connection.
    Threads,
    /// One thread tries every connection in turn.
    Scan,
    /// select(2).
    Select,
    /// poll(2).
    Poll,
    /// epoll(7), level-triggered.
    #[default]
    Epoll,
    /// epoll(7), edge-triggered.
    EpollEdge,
}

impl Model {
    /// All models, in the order in which the article introduces them.
    pub const ALL: [Model; 7] = [
        Model::Blocking,
        Model::Threads,
        Model::Scan,
        Model::Select,
        Model::Poll,
        Model::Epoll,
        Model::EpollEdge,
    ];

    /// The name in code, on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Model::Blocking => "blocking",
            Model::Threads => "threads",
            Model::Scan => "scan",
            Model::Select => "select",
            Model::Poll => "poll",
            Model::Epoll => "epoll",
            Model::EpollEdge => "epoll-edge",
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Model {
    type Err = UnknownModel;

    fn from_str(name: &str) -> Result<Self, UnknownModel> {
        let model = Model::ALL.into_iter().find(|model| model.name() == name);
        model.ok_or_else(|| UnknownModel {
            name: name.to_owned(),
        })
    }
}

/// A name that no model has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownModel {
    name: String,
}

impl fmt::Display for UnknownModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Model::ALL.iter().map(|model| model.name()).collect();
        write!(
            f,
            "no I/O model is called '{}': it is one of {}",
            self.name,
            names.join(", ")
        )
    }
}

impl std::error::Error for UnknownModel {}

/// Whether this machine runs a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It does.
    Runs,
    /// It does not, and why.
    Refused(String),
}

/// A driver of the given model.
///
/// # Errors
/// When the kernel refuses what the model needs: its poller, or a descriptor for the waker.
pub fn open(model: Model, config: &DriverConfig) -> io::Result<Box<dyn Driver>> {
    match model {
        Model::Epoll => Ok(Box::new(Ready::new(epoll::Epoll::level()?, config)?)),
        Model::EpollEdge => Ok(Box::new(Ready::new(epoll_edge::selector()?, config)?)),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "not built yet")),
    }
}
