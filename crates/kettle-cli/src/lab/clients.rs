//! The connections of a turn: the busy ones in this process, the idle ones here or in processes beside it.

use super::holder_process::HolderProcess;
use super::plan::Row;
use super::servers::Servers;
use super::subject::Calls;
use super::traffic::Work;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::load::{Generator, Held, Observer, Record, Window};
use kettle::{Channel, Model};

/// Whoever makes connections and calls. Dropping it closes the connections.
#[derive(Debug)]
pub struct Clients {
    generator: Generator,
    busy: Vec<Channel>,
    idle: Vec<Channel>,
    holders: Vec<HolderProcess>,
    interrupt: Interrupt,
}

impl Clients {
    /// Without connections, on this I/O model.
    pub fn new(model: Model, interrupt: &Interrupt) -> Result<Self, Failure> {
        Ok(Self {
            generator: Generator::new(model, interrupt.clone())?,
            busy: Vec::new(),
            idle: Vec::new(),
            holders: Vec::new(),
            interrupt: interrupt.clone(),
        })
    }

    /// Opens the connections of a row, the idle ones first, until one is not served.
    pub fn connect(&mut self, servers: &Servers, row: &Row) -> Result<Held, Failure> {
        let mut held = match row.load.processes {
            1 => self.hold_here(servers.first_url(), row)?,
            _ => self.hold_beside(servers, row)?,
        };
        for (process, url) in servers.urls().enumerate() {
            if 0 < held.unserved.count {
                break;
            }
            let (busy, _) = row.load.share(process);
            let timeout = row.connect_timeout();
            let connected = self.generator.connect_while_served(url, busy, timeout)?;
            held.add(connected.held());
            self.busy.extend(connected.channels);
        }
        Ok(held)
    }

    fn hold_here(&mut self, url: &str, row: &Row) -> Result<Held, Failure> {
        let (idle, timeout) = (row.load.idle, row.connect_timeout());
        self.generator.use_addresses_for(url, row.load.total());
        let connected = self.generator.connect_while_served(url, idle, timeout)?;
        let held = connected.held();
        self.idle = connected.channels;
        Ok(held)
    }

    /// A holder for each server, all at the same time.
    fn hold_beside(&mut self, servers: &Servers, row: &Row) -> Result<Held, Failure> {
        for (process, url) in servers.urls().enumerate() {
            let (_, idle) = row.load.share(process);
            let holder = HolderProcess::start(url, idle, row.connect_timeout())?;
            self.holders.push(holder);
        }
        let mut held = Held::default();
        for holder in &mut self.holders {
            held.add(holder.held(&self.interrupt)?);
        }
        Ok(held)
    }

    /// Makes calls on the busy connections for the time of the window, or on one of its own for each call.
    pub fn run(
        &mut self,
        row: &Row,
        url: &str,
        calls: &Calls,
        window: Window,
        observer: &mut dyn Observer,
    ) -> Result<Record, Failure> {
        let Row { load, .. } = row;
        let (generator, busy) = (&mut self.generator, &self.busy);
        match (calls, load.work) {
            (Calls::Same(call), Work::Churn) => {
                generator.churn(url, load.connections, call, window, observer)
            }
            (Calls::Same(call), _) => {
                generator.run(busy, call.clone(), load.pace(), window, observer)
            }
            (Calls::Script(script), _) => generator.replay(busy, script, window, observer),
        }
    }
}
