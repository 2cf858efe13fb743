//! Whom the lab measures: `kettle serve` with its echo service, or a server of one's own.

use super::command_process::CommandProcess;
use super::replay::Replay;
use super::server_process::ServerProcess;
use super::traffic::Load;
use crate::affinity::Cores;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::load::{Call, CallFailure, Script};
use crate::server_counts::ServerCounts;
use bytes::Bytes;
use kettle::{Channel, LocalLoop, Model};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long the first call to a server of one's own may take, and connecting for it.
const FIRST_CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Whom the lab measures.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The echo service.
    Echo {
        /// Bytes of each payload, there and back.
        payload: usize,
        /// What its connections are.
        transport: Transport,
    },
    /// Another server.
    Own(OwnServer),
    /// Either of them, asked what was recorded.
    Replay(Arc<Replay>),
}

/// What is called.
#[derive(Clone, Debug)]
pub enum Calls {
    /// The same again and again.
    Same(Call),
    /// One after the other.
    Script(Arc<Script>),
}

/// What connections are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP on loopback.
    Tcp,
    /// Unix-domain sockets.
    Unix,
}

/// A server that the lab knows nothing of but how to start and how to call it.
#[derive(Clone, Debug)]
pub struct OwnServer {
    /// How it is started.
    pub program: OwnProgram,
    /// The path of a unary method.
    pub path: Arc<str>,
    /// The request, encoded.
    pub message: Bytes,
}

/// A program that serves.
#[derive(Clone, Debug)]
pub struct OwnProgram {
    /// One program with its arguments, as a shell reads it.
    pub command: String,
    /// How long it may take until it listens.
    pub start_timeout: Duration,
}

/// A server process of the lab. Dropping it ends the process.
pub trait LabServer: fmt::Debug {
    /// Where it can be reached.
    fn url(&self) -> &str;

    /// The process.
    fn id(&self) -> u32;

    /// What it counted so far; `None` of a server that does not tell.
    fn counts(&mut self) -> Result<Option<ServerCounts>, Failure>;

    /// The end of what it printed, for the end of an error text; empty where the user sees it anyway.
    fn last_words(&self) -> String {
        String::new()
    }
}

impl Subject {
    /// Starts a server on this model and waits until it listens. It runs on its core, and the calling
    /// thread goes on to the load generator's.
    pub fn start(
        &self,
        model: Model,
        cores: Option<Cores>,
        interrupt: &Interrupt,
    ) -> Result<Box<dyn LabServer>, Failure> {
        Ok(match self.program() {
            None => Box::new(ServerProcess::start(model, self.transport(), cores)?),
            Some(program) => Box::new(CommandProcess::start(program, model, cores, interrupt)?),
        })
    }

    /// What is called under a load.
    pub fn calls(&self, load: &Load) -> Calls {
        match self {
            Subject::Echo { payload, .. } => Calls::Same(load.echo(*payload)),
            Subject::Own(own) => Calls::Same(Call::new(Arc::clone(&own.path), own.message.clone())),
            Subject::Replay(replay) => Calls::Script(Arc::clone(&replay.script)),
        }
    }

    fn transport(&self) -> Transport {
        match self {
            Subject::Echo { transport, .. } => *transport,
            Subject::Own(_) | Subject::Replay(_) => Transport::Tcp,
        }
    }

    /// The server of one's own, if it is one.
    pub fn program(&self) -> Option<&OwnProgram> {
        match self {
            Subject::Echo { .. } => None,
            Subject::Own(own) => Some(&own.program),
            Subject::Replay(replay) => replay.program.as_ref(),
        }
    }

    /// The recording, if one is replayed.
    pub fn replay(&self) -> Option<&Replay> {
        match self {
            Subject::Replay(replay) => Some(replay),
            Subject::Echo { .. } | Subject::Own(_) => None,
        }
    }

    /// Tries out a server of one's own: what is wrong with the command or the call is wrong on every
    /// model, and better told at once than in every row of every table.
    pub fn rehearse(
        &self,
        model: Model,
        cores: Option<Cores>,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        let Some(program) = self.program() else {
            return Ok(());
        };
        let server = self.start(model, cores, interrupt)?;
        let builder = Channel::builder(server.url())
            .connect_timeout(FIRST_CALL_TIMEOUT)
            .timeout(FIRST_CALL_TIMEOUT);
        let calls = self.calls(&Load::new(1, 1, 0));
        let path = calls.first_path();
        let mut local = LocalLoop::new(Model::Epoll)?;
        let channel = local.block_on(builder.connect())??;
        let outcome = local.block_on(async move { calls.make_first(&channel).await })?;
        outcome.map_err(|failure| {
            let command = &program.command;
            let (kind, text) = (failure.kind, failure.text);
            Failure::Text(format!(
                "the first call of {path} to `{command}`, on model {model}, failed: {kind}: {text}{}",
                server.last_words()
            ))
        })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "TCP on loopback",
            Transport::Unix => "Unix-domain sockets",
        })
    }
}

impl Calls {
    fn first_path(&self) -> Arc<str> {
        match self {
            Calls::Same(call) => call.path(),
            Calls::Script(script) => script.calls[0].call.path(),
        }
    }

    async fn make_first(&self, channel: &Channel) -> Result<(), CallFailure> {
        match self {
            Calls::Same(call) => call.make(channel).await,
            Calls::Script(script) => script.calls[0].call.try_out(channel).await,
        }
    }
}

/// For the heading of the results.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Echo { payload, transport } => {
                write!(f, "{payload} B payload over {transport}")
            }
            Subject::Replay(replay) => replay.fmt(f),
            Subject::Own(OwnServer {
                program: OwnProgram { command, .. },
                path,
                message,
            }) => {
                let method = path.trim_start_matches('/');
                write!(f, "{method} with {} B to `{command}`", message.len())
            }
        }
    }
}
