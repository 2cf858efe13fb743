//! The I/O models by name, what each can do, and whether this machine runs it.

mod blocking;
mod epoll;
mod epoll_edge;
mod poll;
mod scan;
mod select;
mod signal;
mod threads;
mod uring;

pub use blocking::{BLOCK_BYTES_MAX, CLIENT_STREAMS_MAX};
pub use select::FD_SETSIZE;
pub use uring::UringFeatures;

use crate::{Driver, DriverConfig, Patience, Ready, Waker};
use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

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
    /// Real-time signals (fcntl(2), F_SETSIG), read from a signalfd(2).
    Signal,
    /// io_uring(7).
    Uring,
    /// Tasks of a tokio runtime, which watches the sockets. It has no driver here: whoever hosts connections hands
    /// them to the runtime.
    Tokio,
}

impl Model {
    /// All models, in the order in which the article introduces them.
    pub const ALL: [Model; 10] = [
        Model::Blocking,
        Model::Threads,
        Model::Scan,
        Model::Select,
        Model::Poll,
        Model::Epoll,
        Model::EpollEdge,
        Model::Signal,
        Model::Uring,
        Model::Tokio,
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
            Model::Signal => "signal",
            Model::Uring => "uring",
            Model::Tokio => "tokio",
        }
    }

    /// What this model is and can do, for people and for whoever hosts its drivers.
    pub fn traits(self) -> Traits {
        let multiplexed = Traits {
            term: "I/O multiplexing",
            summary: "",
            limit: "descriptors of the process (RLIMIT_NOFILE)",
            driver_connections_max: None,
            thread_per_connection: false,
            spins: false,
        };
        match self {
            Model::Blocking => Traits {
                term: "BIO 1.0",
                summary: "one thread serves one connection to its end, then the next",
                limit: "one connection at a time; others wait in the backlog",
                driver_connections_max: Some(1),
                ..multiplexed
            },
            Model::Threads => Traits {
                term: "BIO 2.0",
                summary: "a blocking thread per connection",
                limit: "the server's cap on threads",
                driver_connections_max: Some(1),
                thread_per_connection: true,
                ..multiplexed
            },
            Model::Scan => Traits {
                term: "NIO 1.0",
                summary: "one thread tries every connection in turn",
                spins: true,
                ..multiplexed
            },
            Model::Select => Traits {
                summary: "select(2): the kernel looks through a bit per descriptor on every wait",
                limit: "descriptors numbered below FD_SETSIZE = 1024",
                driver_connections_max: Some(FD_SETSIZE),
                ..multiplexed
            },
            Model::Poll => Traits {
                summary: "poll(2): the kernel looks through a list of descriptors on every wait",
                ..multiplexed
            },
            Model::Epoll => Traits {
                summary: "epoll(7), level-triggered: the kernel keeps a list of who is ready",
                ..multiplexed
            },
            Model::EpollEdge => Traits {
                summary: "epoll(7), edge-triggered: the kernel tells who has become ready",
                ..multiplexed
            },
            Model::Signal => Traits {
                term: "signal-driven I/O",
                summary: "a real-time signal for each event, read in batches from a signalfd(2)",
                ..multiplexed
            },
            Model::Uring => Traits {
                term: "AIO",
                summary: "io_uring(7): the kernel carries out operations and tells what they brought",
                ..multiplexed
            },
            Model::Tokio => Traits {
                summary: "a task per connection on a tokio runtime, which sleeps in epoll(7)",
                ..multiplexed
            },
        }
    }

    /// Whether this crate has a driver of this model. All but [`Model::Tokio`] have one.
    pub fn has_driver(self) -> bool {
        self != Model::Tokio
    }

    /// Asks the kernel whether it runs this model: opens a driver and waits for no time. For `tokio`, which has no
    /// driver, it asks for the epoll(7) that the runtime needs.
    pub fn probe(self) -> Probe {
        if !self.has_driver() {
            return Model::Epoll.probe();
        }
        let patience = Patience {
            timeout: Some(Duration::ZERO),
            wakeable: true,
        };
        let tried = open(self, &DriverConfig::default())
            .and_then(|mut driver| driver.wait(patience, &mut Vec::new()));
        let features = tried.and_then(|()| match self {
            Model::Uring => uring::find_features(),
            _ => Ok(Vec::new()),
        });
        match features {
            Ok(features) => Probe::Runs(features),
            Err(error) => Probe::Refused(error.to_string()),
        }
    }
}

/// What a model is and can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traits {
    /// The term of the article on network I/O that this project follows.
    pub term: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// What limits the number of connections, in words.
    pub limit: &'static str,
    /// Most connections that one driver can have attached; `None` when only the process limits it.
    /// The listener, the waker and the process's other files count against it as well for `select`.
    pub driver_connections_max: Option<usize>,
    /// Whether each connection needs a thread with a driver of its own.
    pub thread_per_connection: bool,
    /// Whether an idle driver keeps its core busy ([`DriverConfig::scan_nap`] ends that).
    pub spins: bool,
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
    /// It does. `uring` lists which features of the kernel it found.
    Runs(Vec<Feature>),
    /// It does not, and why.
    Refused(String),
}

impl Probe {
    /// Whether it does.
    pub fn runs(&self) -> bool {
        matches!(self, Probe::Runs(_))
    }
}

/// Something that a model uses where the kernel has it, and does without elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// What it is, in a few words.
    pub name: &'static str,
    /// Whether this kernel has it.
    pub found: bool,
}

/// A driver of the given model.
///
/// # Errors
/// When the kernel refuses what the model needs: its poller, or a descriptor for the waker.
/// [`io::ErrorKind::Unsupported`] for a model without a driver ([`Model::has_driver`]).
pub fn open(model: Model, config: &DriverConfig) -> io::Result<Box<dyn Driver>> {
    Ok(match model {
        Model::Blocking => Box::new(blocking::Blocking::new(config)),
        Model::Threads => Box::new(threads::driver(config)),
        Model::Scan => {
            let waker = Waker::new();
            let scan = scan::Scan::new(waker.clone(), config.scan_nap);
            Box::new(Ready::with_waker(scan, waker, config)?)
        }
        Model::Select => Box::new(Ready::new(select::Select::new(), config)?),
        Model::Poll => Box::new(Ready::new(poll::Poll::default(), config)?),
        Model::Epoll => Box::new(Ready::new(epoll::Epoll::level()?, config)?),
        Model::EpollEdge => Box::new(Ready::new(epoll_edge::selector()?, config)?),
        Model::Signal => {
            let waker = Waker::new();
            Box::new(Ready::with_waker(
                signal::Signal::new(waker.clone()),
                waker,
                config,
            )?)
        }
        Model::Uring => Box::new(uring::Uring::new(config)?),
        Model::Tokio => {
            let text = "the model tokio has no driver: it runs on a tokio runtime";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
    })
}

/// The driver of a client whose thread sleeps in recv(2), as a server's does on [`Model::Blocking`]: two
/// system calls per call. It holds up to [`CLIENT_STREAMS_MAX`] streams, and sleeps in poll(2) when there are
/// several. A listener rests while there is a stream.
pub fn open_blocking_client(config: &DriverConfig) -> Box<dyn Driver> {
    Box::new(blocking::Blocking::client(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for model in Model::ALL {
            assert_eq!(model.to_string().parse(), Ok(model));
            assert!(!model.traits().summary.is_empty());
        }
        assert_eq!(Model::default(), Model::Epoll);
        let error = "urging".parse::<Model>().unwrap_err().to_string();
        assert!(
            error.contains("'urging'") && error.contains("epoll-edge"),
            "{error}"
        );
    }

    #[test]
    fn this_kernel_runs_every_model() {
        for model in Model::ALL {
            let probe = model.probe();
            assert!(probe.runs(), "{model}: {probe:?}");
        }
    }
}
