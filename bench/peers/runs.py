"""Many peers in turns: a line of JSON per run, and tables out of those lines."""

import json
import os
import statistics
from contextlib import ExitStack

from load import Load, check_grpc, h2load_percentiles, measure
from servers import PEERS, PORT, Server

MIB = 1 << 20
PERCENTILES = ("p50_us", "p99_us", "p999_us")


def run(names, loads, payloads, reps, secs):
    """All servers stay up (idle ones cost nothing) and take turns, so that noise hits all alike."""
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(n, PORT + i)) for i, n in enumerate(names)]
        for server in servers:
            if server.name == "netty":  # let the JIT compile first
                measure(server, Load(64, 16, 128), 4)
        for payload in payloads:
            for text in loads:
                turns(servers, Load.parse(text, payload), reps, secs)


def turns(servers, load, reps, secs):
    # Plain thrift has one call at a time per connection; more in flight is the multiplexed one.
    unfit = "volo-thrift/mux" if load.depth == 1 else "volo-thrift"
    servers = [server for server in servers if server.name != unfit]
    for server in servers:
        if server.client == "h2load":
            check_grpc(server, load)
    key = {"payload": load.payload, "load": str(load)}
    for rep in range(reps):
        for server in servers:
            emit(peer=server.name, **key, rep=rep, **measure(server, load, secs))
    for server in servers:
        if server.client == "h2load":
            emit(peer=server.name, **key, rep="log", **h2load_percentiles(server, load))


def large(names, reps, secs):
    """Replies of 1 and 16 MiB to a tiny request: 1 connection, 1 and 4 calls in flight."""
    for name in names:
        for mib in (1, 16):
            reply = mib * MIB
            fixed = ["--resp", str(reply)] if name == "raw epoll" else []
            with Server(name, extra=fixed) as server:
                for depth in (1, 4):
                    large_runs(server, Load(1, depth, 8, reply), reps, secs)


def large_runs(server, load, reps, secs):
    if server.client == "h2load":
        check_grpc(server, load)
    for rep in range(reps):
        figures = measure(server, load, secs)
        megabytes = load.reply / 1e6
        emit(
            peer=server.name,
            mib=load.reply // MIB,
            depth=load.depth,
            rep=rep,
            mb_s=figures["rps"] * megabytes,
            cpu_us_per_mb=figures["cpu_us"] / megabytes,
            **{key: figures[key] for key in ("sys_share", "util", "noise")},
        )


def emit(**fields):
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in fields.items()}
    print(json.dumps({**rounded, "la": os.getloadavg()[0]}), flush=True)


def table(files):
    rows = []
    for name in files:
        with open(name) as file:
            rows += [json.loads(line) for line in file]
    small = [row for row in rows if "load" in row]
    for payload in sorted({row["payload"] for row in small}):
        print(f"\n### {payload} B\n")
        print("| peer | load | krps | server CPU µs/req | best of all runs | of it kernel | core used | p50 µs | p99 µs | p99.9 µs | noise |")
        print("|---|---|---|---|---|---|---|---|---|---|---|")
        print_rows([row for row in small if row["payload"] == payload])
    print_large([row for row in rows if "mib" in row])


def print_rows(rows):
    loads = list(dict.fromkeys(row["load"] for row in rows))
    for name in PEERS:
        for load in loads:
            mine = [row for row in rows if (row["peer"], row["load"]) == (name, load)]
            if any("cpu_us" in row for row in mine):
                print(row_of(name, load, mine))


def row_of(name, load, rows):
    timed = [row for row in rows if "cpu_us" in row]
    latency = [row for row in rows if "p50_us" in row]
    med = lambda key, rows=timed: statistics.median(row[key] for row in rows)
    cells = [name, load.replace("x", "×"), f"{med('rps') / 1000:.1f}", f"**{med('cpu_us'):.2f}**"]
    cells += [f"{min(row['cpu_us'] for row in timed):.2f}"]
    cells += [f"{med('sys_share'):.0%}", f"{med('util'):.0%}"]
    cells += [f"{med(key, latency):.0f}" if latency else "" for key in PERCENTILES]
    return "| " + " | ".join([*cells, f"{med('noise'):.0%}"]) + " |"


def print_large(rows):
    if not rows:
        return
    print("\n### Large replies\n")
    print("| peer | reply | in flight | MB/s | server CPU µs/MB | of it kernel | core used | noise |")
    print("|---|---|---|---|---|---|---|---|")
    for key in sorted({(row["peer"], row["mib"], row["depth"]) for row in rows}):
        mine = [row for row in rows if (row["peer"], row["mib"], row["depth"]) == key]
        med = lambda field: statistics.median(row[field] for row in mine)
        cells = [key[0], f"{key[1]} MiB", str(key[2]), f"{med('mb_s'):.0f}"]
        cells += [f"**{med('cpu_us_per_mb'):.0f}**"]
        cells += [f"{med(field):.0%}" for field in ("sys_share", "util", "noise")]
        print("| " + " | ".join(cells) + " |")
