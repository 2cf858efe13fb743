"""Clients: closed loops of C connections with D calls in flight on each."""

import json
import os
import re
import struct
import subprocess
import time
from dataclasses import dataclass

from sample import Sample
from servers import CLIENT_CORE, KETTLE, RELEASE, TARGET

WARMUP_SECS = 1
EDGE_SECS = 0.1  # left out at both ends of a client's window, where it starts and stops
GRPC_HEADERS = ["-H", "content-type: application/grpc", "-H", "te: trailers"]


@dataclass
class Load:
    """C x D with a payload in bytes; `reply` > 0 asks for replies of that many bytes."""

    connections: int
    depth: int
    payload: int
    reply: int = 0

    @staticmethod
    def parse(text, payload):
        connections, depth = text.split("x")
        return Load(int(connections), int(depth), payload)

    def __str__(self):
        return f"{self.connections}x{self.depth}"


def measure(server, load, secs):
    """Loads a server for `secs` after a warm-up; its figures as a dictionary."""
    client = start(server, load, WARMUP_SECS, secs)
    try:
        time.sleep(WARMUP_SECS + EDGE_SECS)
        before = Sample.take(server.pid, client.pid)
        time.sleep(secs - 2 * EDGE_SECS)
        after = Sample.take(server.pid, client.pid)
        result = finish(server, client, secs)
    finally:
        client.kill()
    figures = before.until(after, result.pop("rps"))
    return figures | {key: value for key, value in result.items() if key.endswith("_us")}


def start(server, load, warmup, secs, log=None):
    command = {"h2load": h2load_command, "kettle": kettle_command}.get(program(server), own_command)
    words = command(server, load, warmup, secs)
    if log:
        words[1:1] = ["--log-file", log]
    return subprocess.Popen(
        ["taskset", "-c", CLIENT_CORE, *words], stdout=subprocess.PIPE, text=True
    )


def program(server):
    """A client without its options."""
    return server.client.split()[0]


def finish(server, client, secs):
    """Waits for a client and reads its report: rps, requests and, where it has them, percentiles."""
    out, _ = client.communicate(timeout=secs + 60)
    if client.returncode != 0:
        raise RuntimeError(f"{server.name}: the client ended with {client.returncode}: {out[-2000:]}")
    if server.client == "h2load":
        return h2load_report(out, secs)
    report = json.loads(out)
    if program(server) == "kettle":
        if report["errors"] or report.get("unserved"):
            raise RuntimeError(f"{server.name}: failed calls: {out}")
        report["requests"] = report["calls"]
    return report


def own_command(server, load, warmup, secs):
    words = [str(RELEASE / server.client), "--port", str(server.port)]
    words += ["--conns", str(load.connections), "--depth", str(load.depth)]
    words += ["--payload", str(load.payload), "--resp", str(load.reply or load.payload)]
    words += ["--warmup-ms", str(int(warmup * 1000)), "--secs-ms", str(int(secs * 1000))]
    return words + server.extra


def kettle_command(server, load, warmup, secs):
    options = server.client.split()[1:]
    words = [KETTLE, "bench", f"kettle://127.0.0.1:{server.port}", "--json", *options]
    if "--blocking" not in options:
        words += ["--connections", str(load.connections), "--in-flight", str(load.depth)]
    elif str(load) != "1x1":
        raise RuntimeError(f"{server.name}: a blocking client loads 1x1, not {load}")
    return words + ["--payload", str(load.payload), "--warmup", str(warmup), "--duration", str(secs)]


def h2load_command(server, load, warmup, secs):
    # Windows of 1 GiB (h2load's default), so that only the server's flow control counts.
    words = ["h2load", "-t1", "-c", str(load.connections), "-m", str(load.depth), "-D", str(secs)]
    if warmup:
        words += ["--warm-up-time", str(warmup)]
    return [*words, *GRPC_HEADERS, "-d", grpc_body(load), grpc_url(server)]


def h2load_report(out, secs):
    done = re.search(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded", out)
    lost = re.search(r"(\d+) failed, (\d+) errored", out)
    if not done or not lost or lost.groups() != ("0", "0") or done[1] != done[2]:
        raise RuntimeError(f"h2load: {out}")
    return {"requests": int(done[2]), "rps": int(done[2]) / secs}


def h2load_percentiles(server, load, secs=2):
    """h2load reports none, so they come from a run of their own with its log."""
    log = "/dev/shm/kettle-h2load.log"
    try:
        finish(server, start(server, load, WARMUP_SECS, secs, log), secs)
        with open(log) as file:
            latencies = sorted(int(line.split("\t")[2]) for line in file)
    finally:
        if os.path.exists(log):
            os.unlink(log)
    pick = lambda share: latencies[min(len(latencies) - 1, int(len(latencies) * share))]
    return {"p50_us": pick(0.5), "p99_us": pick(0.99), "p999_us": pick(0.999)}


def check_grpc(server, load):
    """One call by nghttp: grpc-status 0 in the trailers and the right number of body bytes."""
    words = ["nghttp", "-v", "-n", *GRPC_HEADERS, "-H", ":method: POST", "-d", grpc_body(load)]
    run = subprocess.run([*words, grpc_url(server)], capture_output=True, timeout=30)
    out = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout.decode("latin1"))
    size = sum(int(n) for n in re.findall(r"recv DATA frame <length=(\d+)", out))
    want = grpc_reply_len(load.reply or load.payload)
    if not re.search(r"recv \(stream_id=\d+\) grpc-status: 0", out) or size != want:
        raise RuntimeError(f"{server.name}: {size} bytes of body instead of {want}: {out[-2000:]}")


def grpc_url(server):
    return f"http://127.0.0.1:{server.port}/echo.v1.Echo/Unary"


def grpc_body(load):
    """A file with one gRPC message, an EchoRequest, in it."""
    message = b"\x0a" + varint(load.payload) + b"x" * load.payload if load.payload else b""
    message += b"\x10" + varint(load.reply) if load.reply else b""
    path = TARGET / f"body-{load.payload}-{load.reply}.bin"
    path.write_bytes(b"\0" + struct.pack(">I", len(message)) + message)
    return str(path)


def grpc_reply_len(payload):
    """Bytes of the gRPC prefix and an EchoReply with that payload."""
    return 5 + 1 + len(varint(payload)) + payload


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])
