//! The driver suite on every model, and on the fake driver with several seeds.

use kettle_io::{Driver, DriverConfig, Model, UringFeatures, open, open_blocking_client};
use kettle_testkit::driver_suite::Subject;
use kettle_testkit::driver_tests;
use kettle_testkit::fake::FakeDriver;
use std::io;
use std::time::Duration;

driver_tests!(
    blocking,
    Subject::blocking(|config| open(Model::Blocking, config))
);
driver_tests!(
    threads,
    Subject::blocking(|config| open(Model::Threads, config))
);
driver_tests!(
    blocking_client,
    Subject::blocking_client(|config| Ok(open_blocking_client(config)))
);
driver_tests!(scan, Subject::scanning(|config| open(Model::Scan, config)));
driver_tests!(scan_with_nap, Subject::scanning(open_napping));
driver_tests!(
    select,
    Subject::waiting(|config| open(Model::Select, config))
);
driver_tests!(poll, Subject::waiting(|config| open(Model::Poll, config)));
driver_tests!(epoll, Subject::waiting(|config| open(Model::Epoll, config)));
driver_tests!(
    epoll_edge,
    Subject::waiting(|config| open(Model::EpollEdge, config))
);
driver_tests!(
    signal,
    Subject::waiting(|config| open(Model::Signal, config))
);
driver_tests!(uring, Subject::waiting(|config| open(Model::Uring, config)));
driver_tests!(
    uring_multishot,
    Subject::waiting(|config| open_uring(config, UringFeatures::ALL))
);
driver_tests!(
    uring_buffer_each,
    Subject::waiting(|config| open_uring(
        config,
        UringFeatures {
            deferred: false,
            incremental: false,
            ..UringFeatures::default()
        }
    ))
);
driver_tests!(
    uring_polled,
    Subject::waiting(|config| open_uring(config, UringFeatures::NONE)).copying()
);
driver_tests!(fake_1, Subject::fake(|config| FakeDriver::open(config, 1)));
driver_tests!(fake_2, Subject::fake(|config| FakeDriver::open(config, 2)));
driver_tests!(fake_3, Subject::fake(|config| FakeDriver::open(config, 3)));

/// As on a kernel that has these features only.
fn open_uring(config: &DriverConfig, uring: UringFeatures) -> io::Result<Box<dyn Driver>> {
    open(Model::Uring, &DriverConfig { uring, ..*config })
}

fn open_napping(config: &DriverConfig) -> io::Result<Box<dyn Driver>> {
    let scan_nap = Some(Duration::from_micros(50));
    open(
        Model::Scan,
        &DriverConfig {
            scan_nap,
            ..*config
        },
    )
}
