"""System calls of a server per request."""

import shutil
import signal
import subprocess
import time

from load import EDGE_SECS, WARMUP_SECS, Load, check_grpc, finish, start
from servers import Server

TRACER_SECS = 0.5  # until strace has attached


def counts(name, load, payload, secs):
    load = Load.parse(load, payload)
    with Server(name) as server:
        if server.client == "h2load":
            check_grpc(server, load)
        total = calls_per_request(server, load, secs)
        requests, calls = traced(server, load, secs)
    if total is not None:
        print(f"{name} {load} {payload} B: {total:.3f} system calls per request (perf stat, full speed)")
    shown = sum(calls.values()) / requests
    print(f"{name} {load} {payload} B: {shown:.3f} under strace -c -f, {requests} requests; of them")
    for call, number in sorted(calls.items(), key=lambda item: -item[1]):
        print(f"  {call:20} {number / requests:.4f}")


def calls_per_request(server, load, secs):
    """At nearly full speed, from the kernel's tracepoint; None where perf may not read it."""
    if not shutil.which("perf"):
        return None
    client = start(server, load, WARMUP_SECS, secs)
    try:
        time.sleep(WARMUP_SECS + EDGE_SECS)
        window = secs - 2 * EDGE_SECS
        stat = ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", str(server.pid)]
        run = subprocess.run([*stat, "--", "sleep", str(window)], capture_output=True, text=True)
        rps = finish(server, client, secs)["rps"]
    finally:
        client.kill()
    number = perf_count(run.stderr)
    return None if number is None else number / (rps * window)


def perf_count(text):
    fields = [line.split(",") for line in text.splitlines() if "sys_enter" in line]
    return int(fields[0][0]) if fields and fields[0][0].isdigit() else None


def traced(server, load, secs):
    """Traced from before the first request to after the last, so the ratio holds although slow."""
    words = ["strace", "-f", "-c", "-p", str(server.pid)]
    tracer = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        time.sleep(TRACER_SECS)
        client = start(server, load, 0, secs)
        requests = finish(server, client, secs)["requests"]
        time.sleep(TRACER_SECS)
    finally:
        tracer.send_signal(signal.SIGINT)
        out = tracer.communicate()[1]
    return requests, strace_calls(out)


def strace_calls(text):
    """Name → number from the table of `strace -c`."""
    calls = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
            calls[fields[-1]] = int(fields[3])
    return calls
