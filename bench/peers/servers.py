"""The peers by name, and their server processes."""

import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("PEERS_TARGET", Path.home() / ".cache/kettle-peers"))
RELEASE = TARGET / "release"
KETTLE = os.environ.get("KETTLE", str(HERE.parent.parent / "target/release/kettle"))
PORT = int(os.environ.get("PORT", "9170"))
SERVER_CORE, CLIENT_CORE = "0", "1"
START_SECS, STOP_SECS = 10, 5

NETTY_MODULES = "buffer codec common handler resolver transport transport-native-epoll transport-native-unix-common"
NETTY_JARS = ":".join(f"/usr/share/java/netty-{module}.jar" for module in NETTY_MODULES.split())
MODELS = "blocking threads scan select poll epoll epoll-edge signal uring tokio".split()


@dataclass
class Peer:
    """`command` starts the server; `client` names what loads it; `extra` is for both."""

    command: list
    client: str
    extra: list = field(default_factory=list)


def peer(program, client, *server, extra=()):
    command = [str(program), *server, "--port", "{port}", "--threads", "1", *extra]
    return Peer(command, client, list(extra))


def kettle(model, client):
    options = ["--listen", "127.0.0.1:{port}", "--loops", "1", "--model", model]
    return Peer([KETTLE, "serve", *options], client)


def all_peers():
    java = ["-Xmx1g", "-XX:+UseSerialGC", "-cp", f"{TARGET}/netty:{NETTY_JARS}", "EchoServer"]
    grpc_cpp = TARGET / "cpp/grpc_cpp_server"
    peers = {
        "raw epoll": peer(RELEASE / "raw_epoll", "loadgen"),
        "raw blocking": peer(RELEASE / "raw_blocking", "blocking_client"),
        "raw io_uring": peer(RELEASE / "raw_uring", "loadgen"),
        "raw tokio": peer(RELEASE / "raw_tokio", "loadgen", "--mode", "1"),
        "tokio codec": peer(RELEASE / "raw_tokio", "loadgen", "--mode", "0"),
        "netty": peer("java", "loadgen", *java),
        "tarpc": peer(RELEASE / "tarpc_server", "tarpc_client"),
        "volo-thrift": peer(RELEASE / "volo_server", "volo_client"),
        "volo-thrift/mux": peer(RELEASE / "volo_server", "volo_client", extra=["--multiplex", "1"]),
        "tonic": peer(RELEASE / "tonic_server", "h2load"),
        "tonic+own client": peer(RELEASE / "tonic_server", "tonic_client"),
        "connectrpc": peer(RELEASE / "grpc-connect", "h2load"),
        "grpc-c++": peer(grpc_cpp, "h2load"),
        "grpc-c++/callback": peer(grpc_cpp, "h2load", "--mode", "callback"),
        "kettle native": kettle("epoll", "kettle"),
        "kettle blocking client": kettle("blocking", "kettle --blocking"),
        "kettle grpc": kettle("epoll", "h2load"),
    }
    for model in MODELS:
        peers[f"kettle native {model}"] = kettle(model, "kettle")
        peers[f"kettle grpc {model}"] = kettle(model, "h2load")
    return peers


PEERS = all_peers()


def find(name):
    if name not in PEERS:
        sys.exit(f"no peer is called {name!r}; the names are: {', '.join(PEERS)}")
    return PEERS[name]


class Server:
    """A server process of a peer, pinned to the server's core; `with` stops it."""

    def __init__(self, name, port=PORT, extra=()):
        peer = find(name)
        self.name, self.port, self.client, self.extra = name, port, peer.client, peer.extra
        command = [word.format(port=port) for word in peer.command] + list(extra)
        if "/" in command[0] and not os.access(command[0], os.X_OK):
            sys.exit(f"{name}: {command[0]} is not built")
        if is_open(port):
            sys.exit(f"{name}: port {port} is taken; set PORT")
        self.process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, *command], stdout=subprocess.DEVNULL
        )
        self.pid = self.process.pid
        self.wait_until_open()

    def wait_until_open(self):
        end = time.monotonic() + START_SECS
        while not is_open(self.port):
            if self.process.poll() is not None:
                sys.exit(f"{self.name}: the server ended with code {self.process.returncode}")
            if time.monotonic() > end:
                self.stop()
                sys.exit(f"{self.name}: not listening after {START_SECS} s")
            time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(STOP_SECS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def is_open(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    except OSError:
        return False
