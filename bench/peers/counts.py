"""System calls of a server per request."""

import shutil
import signal
import subprocess
import time

from load import Load, check_grpc, finish, start
from servers import Server

ATTACH_SECS = 0.5  # until a tracer follows all threads of a server


def counts(name, load, payload, secs):
    load = Load.parse(load, payload)
    with Server(name) as server:
        if server.client == "h2load":
            check_grpc(server, load)
        total = calls_per_request(server, load, secs)
        requests, out = observed(server, load, secs, ["strace", "-f", "-c"])
    title = f"{name} {load} {payload} B:"
    if total is not None:
        print(f"{title} {total:.3f} system calls per request by perf stat, nearly at full speed")
    calls = strace_calls(out)
    print(f"{title} {sum(calls.values()) / requests:.3f} by strace, {requests} requests; of them")
    for call, number in sorted(calls.items(), key=lambda item: -item[1]):
        print(f"  {call:20} {number / requests:.4f}")


def calls_per_request(server, load, secs):
    """From the kernel's tracepoint, far cheaper than strace; None where perf may not read it."""
    if not shutil.which("perf"):
        return None
    stat = ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter"]
    requests, out = observed(server, load, secs, stat)
    number = perf_count(out)
    return None if number is None else number / requests


def observed(server, load, secs, tracer):
    """Number of requests, and a tracer's report of the server from before the first to after the last.

    A traced server is slower, so a window of it may not be set against requests of another one.
    """
    process = subprocess.Popen(
        [*tracer, "-p", str(server.pid)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        time.sleep(ATTACH_SECS)
        client = start(server, load, 0, secs)
        try:
            requests = finish(server, client, secs)["requests"]
        finally:
            client.kill()
    finally:
        process.send_signal(signal.SIGINT)
        out = process.communicate()[1]
    return requests, out


def perf_count(text):
    fields = [line.split(",") for line in text.splitlines() if "sys_enter" in line]
    return int(fields[0][0]) if fields and fields[0][0].isdigit() else None


def strace_calls(text):
    """Name → number from the table of `strace -c`."""
    calls = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
            calls[fields[-1]] = int(fields[3])
    return calls
