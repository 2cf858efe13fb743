"""What the kernel says of processes, cores and the machine."""

import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass

from servers import HERE, SERVER_CORE

CPUCLOCK_SCHED = 2  # include/linux/posix-timers_types.h
TICK = os.sysconf("SC_CLK_TCK")


def cpu_secs(pid):
    """CPU time of a whole process in seconds, by its CPU clock: clock_getcpuclockid(3).

    Nanoseconds instead of the 10 ms ticks of /proc/PID/stat. The sum over
    /proc/PID/task/*/schedstat has them too, but loses the threads that have ended.
    """
    try:
        return time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED)
    except OSError:
        return sum(user_and_system_secs(pid))


def user_and_system_secs(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    return int(fields[11]) / TICK, int(fields[12]) / TICK


def context_switches(pid):
    """(voluntary, forced) of all threads that live."""
    counts = {"voluntary_ctxt_switches": 0, "nonvoluntary_ctxt_switches": 0}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key in counts:
                    counts[key] += int(value)
    return tuple(counts.values())


def busy_secs(core):
    """Time that a core was not idle, with what the hypervisor stole."""
    with open("/proc/stat") as file:
        line = next(line for line in file if line.startswith(f"cpu{core} "))
    fields = [int(field) for field in line.split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICK


@dataclass
class Sample:
    """Counters at one moment; the difference of two is a measurement."""

    at: float
    server: float
    client: float
    system: float
    total: float
    voluntary: int
    forced: int
    busy: float

    @staticmethod
    def take(server, client):
        user, system = user_and_system_secs(server)
        voluntary, forced = context_switches(server)
        return Sample(
            at=time.monotonic(),
            server=cpu_secs(server),
            client=cpu_secs(client),
            system=system,
            total=user + system,
            voluntary=voluntary,
            forced=forced,
            busy=busy_secs(SERVER_CORE),
        )

    def until(self, later, rps):
        """The figures of the window between two samples at `rps` requests per second."""
        secs = later.at - self.at
        requests = rps * secs
        server = later.server - self.server
        ticks = later.total - self.total
        return {
            "rps": rps,
            "cpu_us": server / requests * 1e6,
            "sys_share": (later.system - self.system) / ticks if ticks else 0.0,
            "util": server / secs,
            "client_util": (later.client - self.client) / secs,
            "client_us": (later.client - self.client) / requests * 1e6,
            "noise": (later.busy - self.busy - server) / secs,
            "switches": (later.voluntary - self.voluntary) / requests,
            "forced": (later.forced - self.forced) / requests,
        }


def machine():
    """What a reader needs to repeat a measurement."""
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--abbrev=12"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    return {
        "machine": f"{os.cpu_count()} cores, {names[0] if names else platform.machine()}",
        "kernel": platform.release(),
        "commit": commit or "unknown",
        "command": " ".join([os.path.basename(sys.argv[0]), *map(quoted, sys.argv[1:])]),
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "load_average": os.getloadavg()[0],
    }


def quoted(word):
    return f'"{word}"' if " " in word else word
