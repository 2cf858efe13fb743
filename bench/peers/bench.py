#!/usr/bin/env python3
"""Measures kettle beside rivals and raw baselines; README.md in this folder says how to read it."""

import argparse
import os

LOADS = ["1x1", "1x64", "64x1", "64x16"]


def main():
    options = parser().parse_args()
    prefer()
    options.run(options)


def parser():
    top = argparse.ArgumentParser(description=__doc__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    rivals = ["raw epoll", "raw io_uring", "raw tokio", "tarpc", "tonic"]

    run = commands.add_parser("run", help="peers in turns; a line of JSON per run")
    run.add_argument("--peers", type=names, default=rivals, metavar="A,B,…")
    loads_and_payloads(run, [128, 4096])
    run.add_argument("--reps", type=at_least(1), default=3)
    run.add_argument("--secs", type=at_least(1), default=5)
    run.set_defaults(run=do_run)

    pairs = commands.add_parser("pairs", help="two peers in turns; ratio of CPU per request")
    pairs.add_argument("--a", default="kettle native", metavar="PEER")
    pairs.add_argument("--b", default="raw epoll", metavar="PEER")
    loads_and_payloads(pairs, [128])
    pairs.add_argument("--pairs", type=at_least(2), default=9)
    pairs.add_argument("--secs", type=at_least(1), default=2)
    pairs.add_argument("--json", metavar="FILE", help="also write every run to FILE")
    pairs.set_defaults(run=do_pairs)

    counts = commands.add_parser("counts", help="system calls per request of one peer")
    one_load(counts)
    counts.add_argument("--secs", type=at_least(1), default=2)
    counts.set_defaults(run=do_counts)

    where = commands.add_parser("where", help="profile of one peer's server, by layer")
    one_load(where)
    where.set_defaults(run=do_where)

    large = commands.add_parser("large", help="replies of 1 and 16 MiB")
    large.add_argument("--peers", type=names, default=["raw epoll", "tonic"], metavar="A,B,…")
    large.add_argument("--reps", type=at_least(1), default=3)
    large.add_argument("--secs", type=at_least(1), default=4)
    large.set_defaults(run=do_large)

    table = commands.add_parser("table", help="Markdown tables out of the lines of run and large")
    table.add_argument("files", nargs="+", metavar="FILE")
    table.set_defaults(run=do_table)

    peers = commands.add_parser("peers", help="the names of the peers")
    peers.set_defaults(run=do_peers)
    return top


def loads_and_payloads(command, payloads):
    command.add_argument("--loads", type=names, default=LOADS, metavar="CxD,…")
    command.add_argument("--payloads", type=numbers, default=payloads, metavar="BYTES,…")


def one_load(command):
    command.add_argument("peer", metavar="PEER")
    command.add_argument("load", nargs="?", default="64x16", metavar="CxD")
    command.add_argument("payload", nargs="?", type=int, default=128, metavar="BYTES")


def names(text):
    return text.split(",")


def numbers(text):
    return [int(word) for word in text.split(",")]


def at_least(least):
    def number(text):
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"at least {least}")
        return int(text)

    return number


# Each command imports what it needs, so that `--help` and `table` run without any peer.
def do_run(options):
    from runs import run

    run(options.peers, options.loads, options.payloads, options.reps, options.secs)


def do_pairs(options):
    from pairs import pairs

    o = options
    pairs(o.a, o.b, o.loads, o.payloads, o.pairs, o.secs, o.json)


def do_counts(options):
    from counts import counts

    counts(options.peer, options.load, options.payload, options.secs)


def do_where(options):
    from where import where

    where(options.peer, options.load, options.payload)


def do_large(options):
    from runs import large

    large(options.peers, options.reps, options.secs)


def do_table(options):
    from runs import table

    table(options.files)


def do_peers(_):
    from servers import PEERS

    print("\n".join(PEERS))


def prefer():
    """A scheduling group of its own with more weight (root only): a compile beside costs less."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -12)
        if os.getpgid(0) != os.getpid():
            os.setsid()
        with open("/proc/self/autogroup", "w") as file:
            file.write("-12")
    except OSError:
        pass  # without the right or the kernel option: measured all the same, with more noise


if __name__ == "__main__":
    main()
