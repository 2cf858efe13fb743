#!/usr/bin/env python3
"""Tests of what the measuring script computes; they load no peer."""

import os
import subprocess
import sys
import time
import unittest

import counts
import load
import pairs
import sample

SPIN_SHORT_THREADS = """
import threading, time
def spin(secs):
    end = time.monotonic() + secs
    while time.monotonic() < end: pass
for _ in range(5):
    thread = threading.Thread(target=spin, args=(0.05,)); thread.start(); thread.join()
print("spun", flush=True)
input()
"""


class CpuClock(unittest.TestCase):
    def test_counts_threads_that_have_ended(self):
        words = [sys.executable, "-c", SPIN_SHORT_THREADS]
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
            process.stdout.readline()
            by_clock = sample.cpu_secs(process.pid)
            by_ticks = sum(sample.user_and_system_secs(process.pid))
            process.communicate("\n")
        self.assertGreater(by_clock, 0.1)
        self.assertAlmostEqual(by_clock, by_ticks, delta=0.03)

    def test_falls_back_to_ticks(self):
        clock, time.clock_gettime = time.clock_gettime, self.refuse
        try:
            ticks = sum(sample.user_and_system_secs(os.getpid()))
            self.assertAlmostEqual(sample.cpu_secs(os.getpid()), ticks, delta=0.03)
        finally:
            time.clock_gettime = clock

    def refuse(self, _):
        raise OSError


class Window(unittest.TestCase):
    def test_is_the_difference_of_two_samples(self):
        before = sample.Sample(10.0, 1.0, 5.0, 0.5, 1.0, 100, 10, 7.0)
        after = sample.Sample(12.0, 2.0, 6.5, 1.25, 2.0, 300, 20, 8.2)
        figures = before.until(after, rps=1000)
        want = {
            "rps": 1000,
            "cpu_us": 500.0,
            "sys_share": 0.75,
            "util": 0.5,
            "client_util": 0.75,
            "client_us": 750.0,
            "noise": 0.1,
            "switches": 0.1,
            "forced": 0.005,
        }
        self.assertEqual(figures.keys(), want.keys())
        for key, value in want.items():
            self.assertAlmostEqual(figures[key], value, msg=key)


class Pairs(unittest.TestCase):
    def test_ratio_is_taken_pair_by_pair(self):
        zeros = dict.fromkeys(pairs.FIGURES, 0)
        runs = [
            [zeros | {"cpu_us": a, "client_us": 1}, zeros | {"cpu_us": b, "client_us": 2}]
            for a, b in [(2, 1), (30, 10), (4, 1), (50, 10), (6, 1)]
        ]
        got = pairs.summary(runs)
        self.assertEqual((got["q1"], got["ratio"], got["q3"]), (3, 4, 5))
        self.assertEqual(got["cpu_us"], [6, 1])
        self.assertEqual(got["both_ends"], [5 / 3, 7 / 3, 31 / 12])


class Reports(unittest.TestCase):
    H2LOAD = (
        "requests: 900 total, 910 started, 900 done, {} succeeded, {} failed, 0 errored, 0 timeout\n"
    )

    def test_h2load_is_read(self):
        got = load.h2load_report(self.H2LOAD.format(900, 0), 3)
        self.assertEqual(got, {"requests": 900, "rps": 300})

    def test_h2load_with_a_failed_call_is_refused(self):
        for out in [self.H2LOAD.format(899, 1), self.H2LOAD.format(899, 0), ""]:
            with self.assertRaises(RuntimeError):
                load.h2load_report(out, 3)

    def test_perf_is_read(self):
        self.assertEqual(counts.perf_count("4242,,raw_syscalls:sys_enter,99,100.00,,\n"), 4242)
        self.assertIsNone(counts.perf_count("<not counted>,,raw_syscalls:sys_enter,0,,,\n"))
        self.assertIsNone(counts.perf_count("No permission\n"))

    def test_strace_is_read(self):
        out = (
            "% time     seconds  usecs/call     calls    errors syscall\n"
            "------ ----------- ----------- --------- --------- ----------------\n"
            " 60.00    0.000600           1       500        12 recvfrom\n"
            " 40.00    0.000400           1       300           sendto\n"
            "------ ----------- ----------- --------- --------- ----------------\n"
            "100.00    0.001000           1       800        12 total\n"
        )
        self.assertEqual(counts.strace_calls(out), {"recvfrom": 500, "sendto": 300})

    def test_grpc_lengths(self):
        self.assertEqual(load.varint(300), b"\xac\x02")
        self.assertEqual(load.grpc_reply_len(128), 5 + 1 + 2 + 128)


if __name__ == "__main__":
    unittest.main()
