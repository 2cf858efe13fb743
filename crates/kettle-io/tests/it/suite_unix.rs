//! The driver suite again, with streams that are Unix-domain sockets.

use kettle_io::{Driver, DriverConfig, Model, UringFeatures, open, open_blocking_client};
use kettle_testkit::driver_suite::Subject;
use kettle_testkit::driver_tests;
use std::io;

driver_tests!(
    blocking,
    Subject::blocking(|config| open(Model::Blocking, config)).over_unix()
);
driver_tests!(
    blocking_client,
    Subject::blocking_client(|config| Ok(open_blocking_client(config))).over_unix()
);
driver_tests!(
    scan,
    Subject::scanning(|config| open(Model::Scan, config)).over_unix()
);
driver_tests!(
    select,
    Subject::waiting(|config| open(Model::Select, config)).over_unix()
);
driver_tests!(
    poll,
    Subject::waiting(|config| open(Model::Poll, config)).over_unix()
);
driver_tests!(
    epoll,
    Subject::waiting(|config| open(Model::Epoll, config)).over_unix()
);
driver_tests!(
    epoll_edge,
    Subject::waiting(|config| open(Model::EpollEdge, config)).over_unix()
);
driver_tests!(
    signal,
    Subject::waiting(|config| open(Model::Signal, config)).over_unix()
);
driver_tests!(
    uring,
    Subject::waiting(|config| open(Model::Uring, config)).over_unix()
);
driver_tests!(
    uring_multishot,
    Subject::waiting(|config| open_uring(config, UringFeatures::ALL)).over_unix()
);
driver_tests!(
    uring_polled,
    Subject::waiting(|config| open_uring(config, UringFeatures::NONE)).over_unix()
);

/// As on a kernel that has these features only.
fn open_uring(config: &DriverConfig, uring: UringFeatures) -> io::Result<Box<dyn Driver>> {
    open(Model::Uring, &DriverConfig { uring, ..*config })
}
