//! Test tools of kettle. Not published.
//!
//! [`driver_suite`] holds every I/O model to the promises of [`kettle_io::Driver`]; [`fake`] is a
//! driver for hosts that behaves as differently from readiness as those promises allow. [`pair`]
//! joins two protocol machines by a simulated wire on a virtual clock. [`fuzz`] is what the fuzz targets
//! run, [`frames`] writes frames of the native protocol by hand.
#![forbid(unsafe_code)]

pub mod cutter;
pub mod driver_suite;
pub mod fake;
pub mod frames;
pub mod fuzz;
pub mod pair;
pub mod trial;

/// The models of which one driver serves many connections.
pub const MULTIPLEXED: [kettle_io::Model; 7] = [
    kettle_io::Model::Scan,
    kettle_io::Model::Select,
    kettle_io::Model::Poll,
    kettle_io::Model::Epoll,
    kettle_io::Model::EpollEdge,
    kettle_io::Model::Signal,
    kettle_io::Model::Uring,
];
