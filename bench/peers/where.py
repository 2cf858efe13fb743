"""Where a server's time goes: a sampling profile grouped by layer.

Sampled by cpu-clock, as a virtual machine without performance counters has nothing better.
Needs perf and c++filt (Debian: linux-perf, binutils).
"""

import os
import re
import subprocess
import time
from collections import Counter

from load import WARMUP_SECS, Load, finish, measure, start
from servers import Server

DATA = "/dev/shm/kettle-peer.perf"
SAMPLES_PER_SEC = "1999"
SECS = 4
TOP = 12

# First match wins; the symbol is demangled, kernel symbols begin with K.
LAYERS = [
    ("kernel: copy", r"^K .*(copy_user|copy_from|copy_to|rep_movs|_copy_|copyin|copyout|clear_page|skb_copy)"),
    ("kernel: tcp/ip + skb", r"^K .*(tcp|inet|sock|skb|ip_|__ip|net_|netif|dev_|loopback|process_backlog|napi|qdisc|nf_|fib|rt_|dst_|sk_|__sk|eth_|kmem_cache|kmalloc|kfree|slab|page_frag|softirq|release_sock|lock_sock|sendto|recvfrom|sendmsg|recvmsg|ipv4|checksum|csum)"),
    ("kernel: epoll", r"^K .*(ep_|epoll|eventpoll)"),
    ("kernel: io_uring", r"^K .*(io_|uring)"),
    ("kernel: futex/sched/wake", r"^K .*(futex|sched|wake|ttwu|try_to|pick_|enqueue|dequeue|switch|ipi|reschedule|smp_|apic|hypercall|pvm|idle|hrtimer|timer|update_|place_|select_task|context|poll_schedule|clock|finish_task)"),
    ("kernel: syscall entry/exit", r"^K .*(entry|syscall|do_syscall|sysret|exit_to|fdget|fget|fput|fpregs)"),
    ("kernel: other", r"^K "),
    ("malloc/free", r"malloc|_int_free|cfree|calloc|realloc|free_|unlink_chunk|operator new|operator delete|tcmalloc|mi_"),
    ("memcpy/memset", r"memcpy|memmove|memset|__mem"),
    ("hpack/headers", r"hpack|HeaderMap|header::|http::|hpack|huffman|metadata|Hpack|grpc_metadata|Metadata"),
    ("h2", r"\bh2::"),
    ("hyper", r"hyper"),
    ("tracing", r"tracing"),
    ("tonic/tower/connectrpc", r"tonic|tower|connectrpc|axum"),
    ("kettle", r"\bkettle"),
    ("tokio", r"tokio|mio::|futures_util::stream::stream::forward"),
    ("prost/buffa/protobuf", r"prost|buffa|protobuf|EchoRe"),
    ("bytes", r"bytes::"),
    ("tarpc/volo/capnp/serde", r"tarpc|volo|pilota|motore|capnp|serde|bincode|linkedbytes|futures"),
    ("grpc-core", r"grpc|chttp2|absl"),
    ("java (JIT and VM)", r"libjvm|perf-|Interpreter|^\[unknown\]"),
    ("std/libc", r"std::|core::|alloc::|libc|pthread|clock_gettime|vdso"),
]


def where(name, load, payload):
    load = Load.parse(load, payload)
    with Server(name) as server:
        if name == "netty":  # let the JIT compile first
            measure(server, Load(64, 16, 128), 4)
        lines = profile(server, load)
    layers, symbols = Counter(), Counter()
    for line in lines:
        found = re.match(r"\s*[0-9a-f]+ (.*) \((.*)\)\s*$", line)
        if found:
            symbol, module = found.groups()
            layers[layer(module, symbol)] += 1
            symbols[("K " if "kernel" in module else "") + symbol[:90]] += 1
    total = sum(layers.values())
    print(f"{name} {load} {payload} B ({total} samples)")
    for key, number in layers.most_common():
        print(f"  {number / total:6.1%}  {key}")
    print(f"  the {TOP} hottest functions:")
    for key, number in symbols.most_common(TOP):
        print(f"  {number / total:6.1%}  {key}")


def profile(server, load):
    """Lines of `address symbol (module)`, demangled."""
    client = start(server, load, WARMUP_SECS, SECS)
    try:
        time.sleep(WARMUP_SECS)
        record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", SAMPLES_PER_SEC]
        record += ["-p", str(server.pid), "-o", DATA, "--", "sleep", str(SECS - 1)]
        subprocess.run(record, stderr=subprocess.DEVNULL, check=True)
        finish(server, client, SECS)
        script = ["perf", "script", "-i", DATA, "-F", "ip,sym,dso"]
        text = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    finally:
        client.kill()
        if os.path.exists(DATA):
            os.unlink(DATA)
    demangled = subprocess.run(["c++filt"], input=text, capture_output=True, text=True, check=True)
    return demangled.stdout.splitlines()


def layer(module, symbol):
    library = os.path.basename(module) + " " if ".so" in module or "perf-" in module else ""
    text = ("K " if "kernel" in module else library) + symbol
    return next((name for name, pattern in LAYERS if re.search(pattern, text)), "own code/other")
