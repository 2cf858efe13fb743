//! What a process has cost so far, read from /proc.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where processor time comes from: of each thread, or of the process in coarse steps.
const FINE: &str = "schedstat";
const COARSE: &str = "stat";

/// Processor time and context switches of a process at one moment.
#[derive(Clone, Debug, Default)]
pub struct ProcSample {
    /// Of each thread that is alive.
    threads: BTreeMap<u32, ThreadSample>,
    /// Processor time of all threads, those that ended too, in nanoseconds, but in coarse steps.
    coarse_nanos: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct ThreadSample {
    /// `None` where the kernel does not tell.
    nanos: Option<u64>,
    switches: u64,
}

/// What a process cost between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Processor time, user and system together, in nanoseconds.
    pub nanos: u64,
    /// Where it comes from.
    pub source: &'static str,
    /// Context switches; `None` when a thread ended meanwhile and took its count along.
    pub switches: Option<u64>,
}

impl ProcSample {
    /// Reads the counts of a process. It costs that process nothing.
    ///
    /// # Source
    /// proc_pid_schedstat(5), proc_pid_status(5), proc_pid_stat(5).
    pub fn read(pid: u32) -> io::Result<Self> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(process.join("task"))? {
            let entry = entry?;
            let id = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            // A thread that ends while it is looked at has no files any more.
            if let (Some(id), Ok(thread)) = (id, ThreadSample::read(&entry.path())) {
                threads.insert(id, thread);
            }
        }
        let stat = fs::read_to_string(process.join("stat"))?;
        let ticks = stat_ticks(&stat).ok_or(io::ErrorKind::InvalidData)?;
        let nanos_per_tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
        Ok(Self {
            threads,
            coarse_nanos: ticks * nanos_per_tick,
        })
    }

    /// What the process cost since an earlier moment.
    pub fn since(&self, earlier: &Self) -> Cost {
        let alive = earlier
            .threads
            .keys()
            .all(|id| self.threads.contains_key(id));
        let (now, then) = (sum(&self.threads), sum(&earlier.threads));
        match (now.nanos, then.nanos) {
            (Some(now), Some(then)) if alive => Cost {
                nanos: now.saturating_sub(then),
                source: FINE,
                switches: None,
            },
            _ => {
                let nanos = self.coarse_nanos.saturating_sub(earlier.coarse_nanos);
                Cost {
                    nanos,
                    source: COARSE,
                    switches: None,
                }
            }
        }
        .with_switches(alive.then(|| now.switches.saturating_sub(then.switches)))
    }
}

/// The bytes of a process's memory that no file is behind: heap and stacks, as far as they were
/// touched. The kernel's memory for its sockets is not part of it. `None` where the kernel does not
/// tell.
///
/// # Source
/// proc_pid_smaps(5).
pub fn anonymous_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    field(&text, "Anonymous:").map(|kib| kib * 1024)
}

impl Cost {
    /// That of several processes together.
    pub fn sum(costs: impl Iterator<Item = Self>) -> Self {
        let nothing = Self {
            nanos: 0,
            source: FINE,
            switches: Some(0),
        };
        costs.fold(nothing, |sum, cost| Self {
            nanos: sum.nanos + cost.nanos,
            source: if sum.source == FINE {
                cost.source
            } else {
                sum.source
            },
            switches: sum.switches.zip(cost.switches).map(|(a, b)| a + b),
        })
    }

    fn with_switches(self, switches: Option<u64>) -> Self {
        Self { switches, ..self }
    }
}

impl ThreadSample {
    fn read(thread: &Path) -> io::Result<Self> {
        let status = fs::read_to_string(thread.join("status"))?;
        let nanos = fs::read_to_string(thread.join("schedstat")).ok();
        let nanos = nanos.and_then(|text| text.split_whitespace().next()?.parse().ok());
        Ok(Self {
            nanos,
            switches: switches(&status),
        })
    }
}

fn sum(threads: &BTreeMap<u32, ThreadSample>) -> ThreadSample {
    let nanos = threads.values().map(|thread| thread.nanos).sum();
    ThreadSample {
        nanos,
        switches: threads.values().map(|thread| thread.switches).sum(),
    }
}

/// Voluntary and other context switches.
fn switches(status: &str) -> u64 {
    let names = ["voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:"];
    names.iter().filter_map(|name| field(status, name)).sum()
}

/// utime and stime: the 14th and 15th field. The second is a name in parentheses, with anything in it.
fn stat_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(threads: &[(u32, Option<u64>)], coarse_nanos: u64) -> ProcSample {
        let thread = |&(id, nanos): &(u32, _)| {
            (
                id,
                ThreadSample {
                    nanos,
                    switches: 10,
                },
            )
        };
        ProcSample {
            threads: threads.iter().map(thread).collect(),
            coarse_nanos,
        }
    }

    #[test]
    fn threads_that_live_are_counted_finely() {
        let earlier = sample(&[(1, Some(100)), (2, Some(50))], 0);
        let later = sample(&[(1, Some(300)), (2, Some(50)), (3, Some(7))], 10);
        let wanted = Cost {
            nanos: 207,
            source: "schedstat",
            switches: Some(10),
        };
        assert_eq!(later.since(&earlier), wanted);
    }

    #[test]
    fn a_thread_that_ended_is_counted_by_its_process() {
        let earlier = sample(&[(1, Some(100)), (2, Some(50))], 5);
        let later = sample(&[(1, Some(300))], 1005);
        let wanted = Cost {
            nanos: 1000,
            source: "stat",
            switches: None,
        };
        assert_eq!(later.since(&earlier), wanted);
    }

    #[test]
    fn a_kernel_without_schedstat() {
        let earlier = sample(&[(1, None)], 5);
        let later = sample(&[(1, None)], 25);
        let wanted = Cost {
            nanos: 20,
            source: "stat",
            switches: Some(0),
        };
        assert_eq!(later.since(&earlier), wanted);
    }

    #[test]
    fn several_processes_are_added_up() {
        let cost = |nanos, source, switches| Cost {
            nanos,
            source,
            switches,
        };
        let fine = [cost(5, FINE, Some(1)), cost(7, FINE, Some(2))];
        assert_eq!(Cost::sum(fine.into_iter()), cost(12, FINE, Some(3)));
        let one_coarse = [cost(5, FINE, Some(1)), cost(7, COARSE, None), fine[0]];
        assert_eq!(Cost::sum(one_coarse.into_iter()), cost(17, COARSE, None));
    }

    #[test]
    fn fields_of_stat_stand_behind_the_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 30 12 13 14 15";
        assert_eq!(stat_ticks(stat), Some(42));
        assert_eq!(stat_ticks("7 (x) S 1"), None);
    }

    #[test]
    fn fields_have_names() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t7\n";
        assert_eq!(switches(status), 12);
        assert_eq!(
            field("Rss: 8 kB\nAnonymous:      123 kB\n", "Anonymous:"),
            Some(123)
        );
    }

    #[test]
    fn this_process_costs_something() {
        let earlier = ProcSample::read(std::process::id()).unwrap();
        let begun = std::time::Instant::now();
        let cost = || {
            ProcSample::read(std::process::id())
                .unwrap()
                .since(&earlier)
        };
        // Reading costs processor time itself.
        while cost().nanos < 20_000_000 {
            assert!(begun.elapsed().as_secs() < 20, "{:?}", cost());
        }
        assert!(0 < anonymous_bytes(std::process::id()).unwrap());
    }
}
