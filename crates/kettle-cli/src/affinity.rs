//! Which cores the server and the load generator of the lab run on.

use crate::failure::Failure;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::io;
use std::process::{Child, Command};

/// Keeps the server and the load generator on a core each, so that neither takes the other's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// The server's, with all its threads.
    pub server: usize,
    /// The load generator's.
    pub generator: usize,
}

impl Cores {
    /// The first two cores that this process may use; `None` when there is only one.
    pub fn choose() -> io::Result<Option<Self>> {
        let allowed = sched_getaffinity(None)?;
        Ok(first_two(
            (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)),
        ))
    }
}

fn first_two(mut allowed: impl Iterator<Item = usize>) -> Option<Cores> {
    Some(Cores {
        server: allowed.next()?,
        generator: allowed.next()?,
    })
}

/// Starts a server's process on the server's core. The calling thread goes on to the load generator's.
pub fn spawn_server(command: &mut Command, cores: Option<Cores>) -> Result<Child, Failure> {
    if let Some(cores) = cores {
        pin(cores.server)?;
    }
    let spawned = command.spawn();
    if let Some(cores) = cores {
        pin(cores.generator)?;
    }
    spawned.map_err(|error| Failure::because("cannot start a server", &error))
}

/// Keeps the calling thread on one core. Threads and processes that it starts inherit that.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu);
    Ok(sched_setaffinity(None, &only)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cores_or_none() {
        assert_eq!(first_two([3].into_iter()), None);
        let two = Some(Cores {
            server: 1,
            generator: 4,
        });
        assert_eq!(first_two([1, 4, 5].into_iter()), two);
    }

    #[test]
    fn a_pinned_thread_may_use_one_core() {
        let thread = std::thread::spawn(|| {
            let cpu = sched_getaffinity(None).unwrap();
            let cpu = (0..CpuSet::MAX_CPU)
                .find(|&index| cpu.is_set(index))
                .unwrap();
            pin(cpu).unwrap();
            assert_eq!(Cores::choose().unwrap(), None);
        });
        thread.join().unwrap();
    }
}
