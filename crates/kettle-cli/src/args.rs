//! What the command line can ask for.
//!
//! `args/message.rs` holds what several commands take to describe messages, `args/files.rs` the commands for files.

mod files;
mod message;

pub use files::{GetArgs, LsArgs, PutArgs};
pub use message::{Data, Header, ProtoArgs};

use crate::duration;
use crate::echo::PAYLOAD_BYTES_MAX;
use crate::schema::Kind;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum, ValueHint};
use kettle::{FileStrategy, Model};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Most connections that one command opens; the process's limit on open files is usually lower.
pub const CONNECTIONS_MAX: u64 = 1_000_000;

/// Most calls in flight on one connection.
pub const IN_FLIGHT_MAX: u64 = 65_536;

/// RPC on Linux, with the network I/O model as a setting.
///
/// Calls services from the command line, hosts an echo service and the files of a directory on any of eight I/O
/// models, fetches and sends files, and compares the models on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "kettle",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
#[command(after_help = "\
Examples:
  kettle lab                                    compare all I/O models, in under two minutes
  kettle lab --server ./server --call greeter.v1.Greeter/SayHello -d '{\"name\":\"you\"}' \\
      --proto greeter.proto                     the same with a server of your own
  kettle serve --model epoll                    host the echo service on 127.0.0.1:50051
  kettle call kettle://127.0.0.1:50051 echo.v1.Echo/Unary -d '{\"payload\":\"aGVsbG8=\"}'
                                                call it from another terminal
  kettle bench kettle://127.0.0.1:50051 -c 64   load it
  kettle serve --files .                        host the files of this directory too
  kettle get kettle://127.0.0.1:50051/FILE      fetch one of them
  kettle models                                 what the I/O models are
  kettle completions bash                       completions for a shell")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands. What help says of them stands with their arguments: a comment here would replace it.
#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(ServeArgs),
    Call(CallArgs),
    Bench(BenchArgs),
    Get(GetArgs),
    Put(PutArgs),
    Ls(LsArgs),
    Lab(LabArgs),
    #[command(hide = true)]
    Hold(HoldArgs),
    Models(ModelsArgs),
    Completions(CompletionsArgs),
}

/// Host the echo service, and files, on an I/O model.
///
/// Hosts echo.v1.Echo, whose method Unary gives its payload back, or as many bytes as `want` says. The
/// first line on stdout tells the address. SIGINT and SIGTERM let open calls finish; a second one ends
/// them.
///
/// With --files also hosts kettle.file.v1.Files, with the files of a directory that no path leads out of:
/// see `kettle get`, `put` and `ls`. Whoever may connect may read all of them, and with --writable replace
/// them: there is no other permission.
///
/// Durations are numbers with s, ms or us behind them; without a unit they are seconds.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kettle serve
  kettle serve --listen 127.0.0.1:0 --model scan --scan-nap 50us
  kettle serve --listen 0.0.0.0:50051 --loops 4 -v
  kettle serve --files /srv/images --writable
  kettle serve --listen unix:///run/echo.sock --unix-mode 660
  kettle serve --record traffic.jsonl           for `kettle lab --replay traffic.jsonl`")]
pub struct ServeArgs {
    /// Where to listen: ADDRESS:PORT, port 0 takes a free one; or unix:///PATH for a Unix-domain socket.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:50051")]
    #[arg(env = "KETTLE_LISTEN", hide_env_values = true)]
    pub listen: String,
    /// The I/O model; `kettle models` lists them.
    #[arg(long, default_value_t, value_parser = model())]
    #[arg(env = "KETTLE_MODEL", hide_env_values = true)]
    pub model: Model,
    /// Host the files of this directory too.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub files: Option<PathBuf>,
    /// Let clients write files.
    #[arg(long, requires = "files")]
    pub writable: bool,
    /// Longest file that clients may write, in bytes [default: 64 GiB].
    #[arg(long, value_name = "BYTES", requires = "writable")]
    pub file_bytes_max: Option<u64>,
    /// How files get into a socket; a model that cannot do it copies them [default: splice].
    #[arg(long, value_name = "STRATEGY", value_parser = file_strategy())]
    #[arg(env = "KETTLE_FILE_STRATEGY", hide_env_values = true)]
    pub file_strategy: Option<FileStrategy>,
    /// Event loops, each on a thread of its own; blocking and threads take 1.
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(env = "KETTLE_LOOPS", hide_env_values = true)]
    pub loops: usize,
    /// scan: how long to sleep after a pass that found nothing; without it never.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub scan_nap: Option<Duration>,
    /// threads: connections, each with a thread, at once [default: 4096].
    #[arg(long, value_name = "N")]
    pub threads_max: Option<usize>,
    /// Connections at once; more are refused [default: 100000].
    #[arg(long, value_name = "N")]
    pub connections_max: Option<u64>,
    /// Let each loop listen for itself (SO_REUSEPORT) instead of one that hands connections on.
    #[arg(long)]
    pub reuse_port: bool,
    /// unix: the mode of the socket's file, in octal; who may write it may connect [default: by the umask].
    #[arg(long, value_name = "MODE", value_parser = file_mode)]
    pub unix_mode: Option<u32>,
    /// How long calls may go on after SIGINT or SIGTERM [default: 30s].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub stop_grace: Option<Duration>,
    /// Record every call into this new file: its method, sizes, times and connection. `kettle lab --replay` makes the
    /// same traffic again.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub record: Option<PathBuf>,
    /// Record what clients send, too: for `kettle lab --replay` with a server of one's own.
    #[arg(long, requires = "record")]
    pub record_payloads: bool,
    /// Bytes of the file; when it is full recording stops, and the server goes on [default: 64 MiB].
    #[arg(long, value_name = "BYTES", requires = "record")]
    pub record_bytes_max: Option<u64>,
    /// Log to stderr: -v what happens, -vv details, -vvv everything. RUST_LOG goes before it.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// For the lab: print counts as a line of JSON for each line on stdin, and stop at its end.
    #[arg(long, hide = true)]
    pub stats: bool,
}

/// Make one call, with JSON for messages.
///
/// Messages are written as protobuf's JSON: `bytes` fields are base64, 64-bit integers may stand in
/// quotes. The reply is printed as one line.
///
/// Streams: where a call takes several messages their JSON stands one behind the other, by custom a line
/// each; each is sent as soon as it is complete, and the end of the input ends the client's part of the
/// call. Every reply is printed as it comes. So with `-d -` a method that streams both ways is a
/// conversation. A reader of stdout that is slow slows the server's stream down.
///
/// Ctrl-C cancels the call, a second one does not wait for anything. When nobody reads stdout any more
/// the call is cancelled, and the exit code is 0.
///
/// Durations are numbers with s, ms or us behind them; without a unit they are seconds.
///
/// Exit codes: 0 the status is OK; 1 the call could not be made (URL, .proto files, JSON); 2 wrong
/// arguments; 130 interrupted; else 64 + the status code: 66 UNKNOWN, 67 INVALID_ARGUMENT, 68 DEADLINE_EXCEEDED,
/// 69 NOT_FOUND, 71 PERMISSION_DENIED, 72 RESOURCE_EXHAUSTED, 76 UNIMPLEMENTED, 77 INTERNAL,
/// 78 UNAVAILABLE (also when the server cannot be reached), 80 UNAUTHENTICATED.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kettle call kettle://127.0.0.1:50051 echo.v1.Echo/Unary -d '{\"payload\":\"aGVsbG8=\"}'
  kettle call kettle://127.0.0.1:50051 greeter.v1.Greeter/SayHello --proto greeter.proto -d @you.json
  echo '{\"want\":3}' | kettle call kettle://127.0.0.1:50051 echo.v1.Echo/Unary -d - -v
  kettle call kettle://127.0.0.1:50051 echo.v1.Echo/Unary --deadline 50ms -H 'x-trace: 7'
  kettle call kettle://127.0.0.1:50051 echo.v1.Echo/ServerStream -d '{\"payload\":\"aGk=\",\"want\":3}'
  kettle call kettle://127.0.0.1:50051 echo.v1.Echo/Bidi -d -
  kettle call unix:///run/echo.sock echo.v1.Echo/Unary -d '{\"want\":3}'")]
pub struct CallArgs {
    /// The server, as kettle://HOST:PORT or unix:///PATH.
    #[arg(value_hint = ValueHint::Url)]
    pub url: String,
    /// What to call; without /METHOD the methods of the service are listed.
    #[arg(value_name = "SERVICE/METHOD")]
    pub method: String,
    /// The request, or the stream of them: JSON, @FILE, or - for stdin [default: {}].
    #[arg(short, long, value_name = "JSON|@FILE|-")]
    pub data: Option<Data>,
    #[command(flatten)]
    pub protos: ProtoArgs,
    /// Metadata; may be given several times. Values of names that end in -bin are base64.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<Header>,
    /// How long the call may take, with connecting; without it for ever, after at most 10 s of
    /// connecting.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_positive)]
    pub deadline: Option<Duration>,
    /// Tell on stderr how long it took, and all metadata.
    #[arg(short, long)]
    pub verbose: bool,
}

/// Load an echo service and tell calls or messages per second and latencies.
///
/// A closed loop: each connection has a fixed number of calls in flight, and makes the next when one is
/// answered. With --rate an open loop: calls are made on a fixed schedule, and latency counts from the
/// scheduled moment, so that a server that stalls cannot slow its own measurement down.
///
/// Streams (--method) are kept busy for the whole load, and figures are per message. bidi has a fixed
/// number of messages in flight on each stream; a message is counted when its reply has come, and latency
/// is this round trip. client-stream and server-stream go one way, as fast as the other side takes them,
/// and have no latencies.
///
/// When the server runs on this machine, on a loopback address or a Unix-domain socket, and /proc lets us see it, its CPU time per
/// call or message and its memory per connection are told too; and so is how busy the load generator was: near a full core it is what
/// limits the rate, not the server.
///
/// All connections live on one thread. Connections that are not served within --connect-timeout are
/// counted as unserved, and the load goes to the others. Failed calls are counted from the first call
/// to the last, warm-up included; all other figures leave the warm-up out. Calls that are in flight at
/// the end have 5 s to be answered.
///
/// With --files a file is read instead, by one connection, as often as it takes: figures are bytes per second,
/// and what sending them costs the server.
///
/// Durations are numbers with s, ms or us behind them; without a unit they are seconds.
///
/// Exit codes: 0 fine; 1 a call failed, or no connection was served; 2 wrong arguments; 130 interrupted
/// (what was measured is printed).
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kettle bench kettle://127.0.0.1:50051
  kettle bench kettle://127.0.0.1:50051 --connections 64 --in-flight 16 --duration 5
  kettle bench unix:///run/echo.sock --connections 64
  kettle bench kettle://127.0.0.1:50051 --rate 20000 --connections 8 --json
  kettle bench kettle://127.0.0.1:50051 --payload 0 --want 1048576
  kettle bench kettle://127.0.0.1:50051 --method bidi --in-flight 64
  kettle bench --files kettle://127.0.0.1:50051/images/disk.img --bytes 10000000000
  kettle bench kettle://127.0.0.1:50051 -c 100 --idle 18000 --local-address 127.0.0.2,127.0.0.3
  kettle bench kettle://127.0.0.1:50051 --method server-stream --payload 65536 --streams 4")]
pub struct BenchArgs {
    /// The server, as kettle://HOST:PORT or unix:///PATH; with --files the path of a file behind it.
    pub url: String,
    /// Read a file of `kettle serve --files`, on one connection.
    #[arg(long, conflicts_with_all = ["connections", "idle", "local_address", "method", "streams"])]
    #[arg(conflicts_with_all = ["in_flight", "payload", "want", "rate", "slow", "blocking", "duration"])]
    pub files: bool,
    /// files: how many bytes are read after the warm-up [default: the file once].
    #[arg(long, value_name = "N", requires = "files", value_parser = clap::value_parser!(u64).range(1..))]
    pub bytes: Option<u64>,
    /// files: bytes of each message at most, 4096 to 3145728 [default: 1044480].
    #[arg(long, value_name = "N", requires = "files", value_parser = clap::value_parser!(u32).range(4096..=3145728))]
    pub chunk: Option<u32>,
    /// Connections.
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = count(1, CONNECTIONS_MAX))]
    pub connections: usize,
    /// Further connections that make no calls.
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = count(0, CONNECTIONS_MAX))]
    pub idle: usize,
    /// Addresses of this machine that connections come from in turns, separated by commas: each has ports
    /// for some thousands [default: the kernel chooses].
    #[arg(long, value_name = "IP,…", value_delimiter = ',')]
    pub local_address: Vec<IpAddr>,
    /// What is called: calls of Unary, or streams.
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Kind::Unary)]
    pub method: Kind,
    /// Streams on each connection; not with unary [default: 1].
    #[arg(long, value_name = "N", value_parser = count(1, IN_FLIGHT_MAX))]
    pub streams: Option<usize>,
    /// unary: calls in flight on each connection; bidi: messages in flight on each stream [default: 1].
    #[arg(short, long, value_name = "N", value_parser = count(1, IN_FLIGHT_MAX))]
    pub in_flight: Option<usize>,
    /// Bytes of each message's payload.
    #[arg(short, long, value_name = "BYTES", default_value_t = 128)]
    #[arg(value_parser = count(0, PAYLOAD_BYTES_MAX as u64))]
    pub payload: usize,
    /// unary and bidi: bytes of each reply's payload; 0: as many as the request's.
    #[arg(short, long, value_name = "BYTES", default_value_t = 0)]
    #[arg(value_parser = count(0, PAYLOAD_BYTES_MAX as u64))]
    pub want: usize,
    /// unary: open loop, with so many calls per second over all connections.
    #[arg(short, long, value_name = "CALLS", conflicts_with = "in_flight", value_parser = rate)]
    pub rate: Option<f64>,
    /// unary: so many calls of a hundred are slow, 0 to 99; latencies are of the others, and those of the slow
    /// ones stand apart.
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with = "rate")]
    pub slow: Option<f64>,
    /// How long the server waits with its reply to a slow call.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5ms",
        requires = "slow"
    )]
    #[arg(value_parser = duration::parse_positive)]
    pub slow_wait: Duration,
    /// Call with a blocking client, on this thread: one connection, one unary call at a time.
    #[arg(long, conflicts_with_all = ["connections", "idle", "local_address", "method", "streams"])]
    #[arg(conflicts_with_all = ["in_flight", "rate", "slow"])]
    pub blocking: bool,
    /// Open loop: calls that may wait for their answers; what is due beyond that is not sent, and
    /// counted.
    #[arg(long, value_name = "N", default_value_t = 10_000, requires = "rate")]
    #[arg(value_parser = count(1, 1_000_000))]
    pub outstanding_max: usize,
    /// How long the load runs before it is measured.
    #[arg(long, value_name = "DURATION", default_value = "0.5", value_parser = duration::parse)]
    pub warmup: Duration,
    /// How long it is measured.
    #[arg(short, long, value_name = "DURATION", default_value = "3")]
    #[arg(value_parser = duration::parse_positive)]
    pub duration: Duration,
    /// How long a connection may wait to be served.
    #[arg(long, value_name = "DURATION", default_value = "2")]
    #[arg(value_parser = duration::parse_positive)]
    pub connect_timeout: Duration,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

impl BenchArgs {
    /// All connections.
    pub fn total(&self) -> usize {
        self.connections + self.idle
    }

    /// What an argument has to say that belongs to another method.
    pub fn misplaced(&self) -> Option<String> {
        let (unary, bidi) = (self.method == Kind::Unary, self.method == Kind::Bidi);
        let misplaced = if !unary && self.rate.is_some() {
            "--rate is for --method unary"
        } else if !unary && self.slow.is_some() {
            "--slow is for --method unary"
        } else if unary && self.streams.is_some() {
            "--streams is for methods that stream: see --method"
        } else if !unary && !bidi && self.in_flight.is_some() {
            "--in-flight is for --method unary and bidi: the other side decides how much is in flight"
        } else if !unary && !bidi && 0 < self.want {
            "--want is for --method unary and bidi"
        } else {
            return None;
        };
        Some(misplaced.to_owned())
    }
}

/// Compare the I/O models on this machine under real RPC traffic.
///
/// Hosts the echo service on each model as a process of its own, on loopback, and loads the models in
/// turns, round after round, from this process. With two cores or more the server has one and the load
/// generator another. Prints a table for each load, with the median of the rounds, and what follows
/// from it.
///
/// The loads: 1 connection with 1 call in flight; 64 with 1; 64 with 16; 64 with 1 beside 1,000 idle
/// connections. --connections, --in-flight and --idle make one load of one's own instead. `blocking`
/// serves one connection at a time, so it is also measured with one. Connections that one server process
/// cannot hold, for its limit on open files or more than 20,000, are shared by several (64 at most); what
/// they cost is added up.
///
/// With --server a server of one's own is measured in the same way, with one unary call made again and
/// again. How many system calls it makes is not known, because only `kettle serve` counts them. It is
/// ended with SIGTERM, and 2 s later with SIGKILL.
///
/// Durations are numbers with s, ms or us behind them; without a unit they are seconds.
///
/// Exit codes: 0 fine; 1 a call failed, or a server did; 2 wrong arguments; 130 interrupted (what was
/// measured is printed).
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kettle lab
  kettle lab --models epoll,poll,select --connections 500 --in-flight 4
  kettle lab --idle 5000 --models poll,epoll --json results.json
  kettle lab --unix --connections 64
  kettle lab --payload 4096 --duration 2 --rounds 5
  kettle lab --server 'target/release/server --quiet' \\
      --call greeter.v1.Greeter/SayHello -d '{\"name\":\"you\"}' --proto greeter.proto
  kettle lab --replay traffic.jsonl --models poll,epoll,uring
  kettle lab --replay traffic.jsonl --server target/release/server")]
pub struct LabArgs {
    /// Connections that make calls; 1 when another part of the load is given.
    #[arg(short, long, value_name = "N", value_parser = count(1, CONNECTIONS_MAX))]
    pub connections: Option<usize>,
    /// Calls in flight on each connection; 1 when another part of the load is given.
    #[arg(short, long, value_name = "N", value_parser = count(1, IN_FLIGHT_MAX))]
    pub in_flight: Option<usize>,
    /// Connections that make none; 0 when another part of the load is given.
    #[arg(long, value_name = "N", value_parser = count(0, CONNECTIONS_MAX))]
    pub idle: Option<usize>,
    /// Bytes of each payload, there and back.
    #[arg(
        short,
        long,
        value_name = "BYTES",
        default_value_t = 128,
        conflicts_with = "server"
    )]
    #[arg(value_parser = count(0, PAYLOAD_BYTES_MAX as u64))]
    pub payload: usize,
    /// Measure this server instead of the echo service: a program with its arguments, as a shell reads
    /// them. It is started for each model, with KETTLE_MODEL, KETTLE_LOOPS and KETTLE_LISTEN set, which
    /// Server::builder().from_env() takes.
    #[arg(long, value_name = "CMD", requires = "calls", value_hint = ValueHint::CommandString)]
    pub server: Option<String>,
    /// The unary method of that server to call.
    #[arg(
        long,
        value_name = "SERVICE/METHOD",
        requires = "server",
        group = "calls"
    )]
    pub call: Option<String>,
    /// The request, encoded once and sent again and again: JSON, @FILE, or - for stdin [default: {}].
    #[arg(short, long, value_name = "JSON|@FILE|-", requires = "call")]
    pub data: Option<Data>,
    #[command(flatten)]
    pub protos: ProtoArgs,
    /// How long that server may take until it listens.
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "10",
        requires = "server"
    )]
    #[arg(value_parser = duration::parse_positive)]
    pub start_timeout: Duration,
    /// Make the calls of this recording, at the recorded moments, over as many connections as were busy at a time.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, group = "calls")]
    #[arg(conflicts_with_all = ["connections", "in_flight", "idle", "churn", "full", "payload", "call"])]
    pub replay: Option<PathBuf>,
    /// How many times as fast as recorded.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "replay", value_parser = speed)]
    pub speed: f64,
    /// The models, separated by commas [default: all].
    #[arg(short, long, value_name = "MODEL,…", value_delimiter = ',', value_parser = model())]
    pub models: Vec<Model>,
    /// How long each model is measured in each round [default: 0.6; with --replay as long as the recording, 0.6 to
    /// 3].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_positive)]
    pub duration: Option<Duration>,
    /// How long the load runs before it is measured.
    #[arg(long, value_name = "DURATION", default_value = "0.15", value_parser = duration::parse)]
    pub warmup: Duration,
    /// How often each model has its turn.
    #[arg(short, long, value_name = "N", default_value_t = 3, value_parser = count(1, 1000))]
    pub rounds: usize,
    /// Make a connection for each call, and close it; --connections says how many at a time.
    #[arg(long, conflicts_with_all = ["in_flight", "idle"])]
    pub churn: bool,
    /// Over Unix-domain sockets in the temporary folder, in place of TCP on loopback.
    #[arg(long, conflicts_with_all = ["server", "replay"])]
    pub unix: bool,
    /// Measure every load that the lab knows, in about a quarter of an hour: from 1 to 1,000 busy connections, up to
    /// 40,000 idle ones, payloads up to 1 MiB, handlers that compute or wait, some slow calls, and
    /// connections that come and go.
    #[arg(long, conflicts_with_all = ["connections", "in_flight", "idle", "churn", "server"])]
    pub full: bool,
    /// Also write all rounds, the machine and the settings to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Also write a page with charts into this folder (index.html), all rounds beside it (results.json), and
    /// tables in Markdown (tables.md).
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub report: Option<PathBuf>,
}

/// For the lab: open connections, print how many were served as a line of JSON, and hold them until stdin
/// ends.
#[derive(Debug, ClapArgs)]
pub struct HoldArgs {
    /// The server.
    pub url: String,
    /// Connections.
    #[arg(long, value_name = "N", value_parser = count(0, CONNECTIONS_MAX))]
    pub connections: usize,
    /// How long each may wait to be served.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse_positive)]
    pub connect_timeout: Duration,
}

/// List the I/O models and whether this machine runs them.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kettle models
  kettle models -v")]
pub struct ModelsArgs {
    /// Tell more of each.
    #[arg(short, long)]
    pub verbose: bool,
    /// Print a JSON array instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Print completions for a shell.
#[derive(Debug, ClapArgs)]
#[command(after_help = "\
Examples:
  kettle completions bash > ~/.local/share/bash-completion/completions/kettle
  kettle completions zsh > \"${fpath[1]}/_kettle\"
  kettle completions fish > ~/.config/fish/completions/kettle.fish")]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}

/// A shell that completions are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The name of an I/O model.
fn model() -> impl TypedValueParser<Value = Model> {
    let names = PossibleValuesParser::new(Model::ALL.map(Model::name));
    names.try_map(|name| name.parse())
}

/// The name of a way to send files.
fn file_strategy() -> impl TypedValueParser<Value = FileStrategy> {
    let names = PossibleValuesParser::new(FileStrategy::ALL.map(FileStrategy::name));
    names.try_map(|name| name.parse())
}

/// A number of things between two bounds.
fn count(least: u64, most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=most)
}

/// The permissions of a file, in octal.
fn file_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok();
    mode.filter(|&mode| mode <= 0o777)
        .ok_or_else(|| "it is not an octal number up to 777".to_owned())
}

/// A share of all calls.
fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    match (0.0..=99.0).contains(&percent) {
        true => Ok(percent),
        false => Err("it is not between 0 and 99".to_owned()),
    }
}

/// How many times as fast.
fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    match (0.001..=1000.0).contains(&speed) {
        true => Ok(speed),
        false => Err("it is not between 0.001 and 1000".to_owned()),
    }
}

/// Calls per second.
fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    match (0.001..=10e6).contains(&rate) {
        true => Ok(rate),
        false => Err("it is not between 0.001 and 10,000,000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Args::try_parse_from(line.split(' ')).map(|args| args.command)
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_bench_has_defaults() {
        let Ok(Command::Bench(bench)) = parse("kettle bench kettle://h:1") else {
            panic!()
        };
        assert_eq!(
            (
                bench.connections,
                bench.in_flight,
                bench.payload,
                bench.want
            ),
            (1, None, 128, 0)
        );
        assert_eq!(bench.warmup, Duration::from_millis(500));
        assert_eq!(bench.rate, None);
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for line in [
            "kettle",
            "kettle bench",
            "kettle bench u --connections 0",
            "kettle bench u --duration 0",
            "kettle bench u --rate 0",
            "kettle bench u --rate 5 --in-flight 2",
            "kettle bench u --payload 4194304",
            "kettle bench u --outstanding-max 5",
            "kettle lab --models epoll,urging",
            "kettle lab --rounds 0",
            "kettle lab --server x",
            "kettle lab --speed 2",
            "kettle lab --replay f --speed 0",
            "kettle lab --replay f --connections 3",
            "kettle lab --replay f --payload 3",
            "kettle lab --replay f --server x --call y",
            "kettle serve --record-payloads",
            "kettle serve --model nio",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_belongs_to_another_method_is_found() {
        for (line, misplaced) in [
            ("kettle bench u --in-flight 2 --want 5", None),
            ("kettle bench u --rate 5", None),
            (
                "kettle bench u --method bidi --in-flight 2 --streams 3 --want 5",
                None,
            ),
            ("kettle bench u --method server-stream --streams 3", None),
            ("kettle bench u --streams 3", Some("--streams")),
            ("kettle bench u --method bidi --rate 5", Some("--rate")),
            (
                "kettle bench u --method client-stream --in-flight 2",
                Some("--in-flight"),
            ),
            (
                "kettle bench u --method server-stream --want 2",
                Some("--want"),
            ),
        ] {
            let Ok(Command::Bench(bench)) = parse(line) else {
                panic!("{line}")
            };
            let found = bench.misplaced();
            let option = found.as_deref().and_then(|text| text.split(' ').next());
            assert_eq!(option, misplaced, "{line}");
        }
    }

    #[test]
    fn models_are_separated_by_commas() {
        let Ok(Command::Lab(lab)) = parse("kettle lab --models blocking,epoll-edge") else {
            panic!()
        };
        assert_eq!(lab.models, [Model::Blocking, Model::EpollEdge]);
    }
}
