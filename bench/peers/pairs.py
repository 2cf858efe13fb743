"""Two peers in turns A B A B …: the ratio of their servers' CPU time per request, pair by pair."""

import json
import statistics

from counts import calls_per_request
from load import Load, check_grpc, measure
from sample import machine
from servers import PORT, Server

FIGURES = ("cpu_us", "client_us", "rps", "util", "client_util", "switches", "forced", "noise")


def pairs(a, b, loads, payloads, count, secs, json_file=None):
    state = machine()
    rows = []
    with Server(a, PORT) as server_a, Server(b, PORT + 1) as server_b:
        for payload in payloads:
            for text in loads:
                load = Load.parse(text, payload)
                rows.append(compare(server_a, server_b, load, count, secs))
    print(markdown(a, b, state, rows))
    if json_file:
        with open(json_file, "w") as file:
            json.dump({"a": a, "b": b, **state, "loads": rows}, file, indent=1)


def compare(server_a, server_b, load, count, secs):
    servers = (server_a, server_b)
    for server in servers:
        if server.client == "h2load":
            check_grpc(server, load)
    runs = [[measure(server, load, secs) for server in servers] for _ in range(count)]
    # Counted in runs of their own: even a cheap tracer is not free.
    calls = [calls_per_request(server, load, secs) for server in servers]
    return {"load": str(load), "payload": load.payload, **summary(runs), "calls": calls, "runs": runs}


def summary(runs):
    """Ratio and its quartiles over the pairs; the median of every other figure for A and for B."""
    q1, median, q3 = quartiles([a["cpu_us"] / b["cpu_us"] for a, b in runs])
    both = lambda run: run["cpu_us"] + run["client_us"]
    ends = quartiles([both(a) / both(b) for a, b in runs])
    sides = {
        figure: [statistics.median(pair[side][figure] for pair in runs) for side in (0, 1)]
        for figure in FIGURES
    }
    return {"ratio": median, "q1": q1, "q3": q3, "both_ends": ends, **sides}


def quartiles(ratios):
    return statistics.quantiles(ratios, n=4, method="inclusive")


def markdown(a, b, state, rows):
    lines = [
        f"A = {a}, B = {b}: server CPU µs per request, {len(rows[0]['runs'])} alternating pairs.",
        "",
        "| load | payload | A µs | B µs | **A/B median** | quartiles | krps A / B "
        "| system calls per request A / B | waits per 1,000 requests A / B "
        "| server core used A / B | client core used A / B | noise A / B "
        "| client µs A / B | with the client A/B |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [row_of(row) for row in rows]
    lines += [
        "",
        f"{state['machine']}; Linux {state['kernel']}; commit {state['commit']}; "
        f"{state['date']}; load average {state['load_average']:.2f} before.",
        "",
        f"    {state['command']}",
    ]
    return "\n".join(lines)


def row_of(row):
    both = lambda values, form: " / ".join("–" if v is None else form.format(v) for v in values)
    cells = [
        row["load"].replace("x", "×"),
        f"{row['payload']} B",
        f"{row['cpu_us'][0]:.2f}",
        f"{row['cpu_us'][1]:.2f}",
        f"**{row['ratio']:.2f}**",
        f"{row['q1']:.2f}–{row['q3']:.2f}",
        both([rps / 1000 for rps in row["rps"]], "{:.1f}"),
        both(row["calls"], "{:.3f}"),
        both([1000 * switches for switches in row["switches"]], "{:.1f}"),
        both(row["util"], "{:.0%}"),
        both(row["client_util"], "{:.0%}"),
        both(row["noise"], "{:.0%}"),
        both(row["client_us"], "{:.2f}"),
        "{1:.2f} ({0:.2f}–{2:.2f})".format(*row["both_ends"]),
    ]
    return "| " + " | ".join(cells) + " |"
