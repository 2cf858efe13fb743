//! The loop: completions to connections, wakes to handlers, time to timers, sends to the driver.
//!
//! One turn: wait for the driver; give each connection what happened to it; run due timers; pump the
//! connections that have something to say; read notes and poll what was woken; pump again. So all
//! that happens to a connection in a turn leaves in one send.

mod acceptor;
mod clients;
mod connecting;
mod connection;
mod driven;
mod home;
pub(crate) mod link;
mod sleepers;
mod tasks;

#[cfg(feature = "tokio-host")]
pub(crate) use acceptor::{ACCEPT_PAUSE, goodbye, too_many};
pub(crate) use acceptor::{OwnThread, Placement, Seat};
#[cfg(feature = "tokio-host")]
pub(crate) use home::Home;
pub(crate) use home::{be_home, home};

use crate::clock::Clock;
use crate::command::{Command, Unfinished};
use crate::context::Context;
use crate::key::PeerKey;
use crate::mailbox::{Alarm, Mailbox, Note, Target};
use crate::peer::{Hosted, Spare, Turn};
use crate::pool::Pool;
use crate::stats::{LoopStats, Stats};
use crate::stopping::{Due, Stop};
use crate::timers::Timers;
use acceptor::Acceptor;
use clients::Clients;
use connecting::Connecting;
use connection::Connection;
use kettle_buf::copied_bytes;
use kettle_io::{Completion, Driver, OpKind, Patience, Token};
use kettle_proto::{Instant, Status};
use slab::Slab;
use sleepers::Sleepers;
use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tasks::Tasks;

/// How the server that a loop belongs to treats connections.
#[derive(Debug)]
pub(crate) struct Serves {
    pub(crate) hosted: Arc<Hosted>,
    pub(crate) nodelay: bool,
    /// For the handlers that run elsewhere.
    pub(crate) pool: Arc<Pool>,
    /// For all threads.
    pub(crate) context: Context,
}

impl Serves {
    /// Adds what is counted once for all of a server's loops, threads and tasks.
    pub(crate) fn add_to(&self, total: &mut Stats) {
        self.pool.add_to(total);
        total.held_bytes = self.hosted.holdings.bytes();
        total.long_holds = self.hosted.long_holds();
    }
}

/// One event loop.
pub(crate) struct Reactor {
    driver: Box<dyn Driver>,
    clock: Clock,
    now: Instant,
    mailbox: Arc<Mailbox>,
    spare: Spare,
    stats: Arc<LoopStats>,
    slots: Slab<Slot>,
    generation: u32,
    /// Connections to be pumped in this turn, or the next when it is waiting.
    ready: Vec<u32>,
    /// The last turn did not look at the sockets.
    skipped: bool,
    timers: Timers,
    sleepers: Sleepers,
    completions: Vec<Completion>,
    notes: Vec<Note>,
    woken: Vec<Arc<Alarm>>,
    /// Handlers and tasks that wait for a wake.
    pending: u32,
    serves: Option<Arc<Serves>>,
    acceptor: Option<Acceptor>,
    clients: Clients,
    tasks: Tasks,
    /// Names that are being looked up on other threads.
    lookups: usize,
    /// Whoever drives this loop waits for other threads too.
    wakeable: bool,
    stop: Stop,
    /// What this thread had copied when the turn began.
    copied: u64,
}

/// A socket of the loop.
enum Slot {
    Listener,
    Connection(Box<Connection>),
    Connecting(Box<Connecting>),
}

thread_local! {
    /// The mailbox of the loop that runs on this thread, when that loop can hold client connections.
    static CURRENT: RefCell<Option<Arc<Mailbox>>> = const { RefCell::new(None) };
}

/// Whether this thread runs a loop of several connections, or a task beside others, which must not be made to wait.
pub(crate) fn is_current() -> bool {
    CURRENT.with_borrow(Option::is_some) || home::is_of_task()
}

/// The mailbox of the loop that runs on this thread, when that loop can hold client connections.
pub(crate) fn current() -> Option<Arc<Mailbox>> {
    CURRENT.with_borrow(Clone::clone)
}

impl Reactor {
    pub(crate) fn new(driver: Box<dyn Driver>) -> Self {
        let (clock, mailbox) = (Clock::new(), Arc::new(Mailbox::new(driver.waker())));
        Self {
            driver,
            clock,
            now: clock.now(),
            spare: Spare::new(&mailbox),
            mailbox,
            stats: Arc::new(LoopStats::default()),
            slots: Slab::new(),
            generation: 0,
            ready: Vec::new(),
            skipped: false,
            timers: Timers::default(),
            sleepers: Sleepers::default(),
            completions: Vec::new(),
            notes: Vec::new(),
            woken: Vec::new(),
            pending: 0,
            serves: None,
            acceptor: None,
            clients: Clients::default(),
            tasks: Tasks::default(),
            lookups: 0,
            wakeable: false,
            stop: Stop::Running,
            copied: 0,
        }
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    pub(crate) fn stats(&self) -> &Arc<LoopStats> {
        &self.stats
    }

    /// Makes this a server's loop.
    pub(crate) fn serve(&mut self, serves: Arc<Serves>) {
        self.serves = Some(serves);
    }

    /// Lets channels that are used on this loop's thread live on this loop.
    pub(crate) fn host_clients(&mut self) {
        let mailbox = Arc::clone(&self.mailbox);
        CURRENT.with_borrow_mut(|current| *current = Some(mailbox));
    }

    /// Runs until a [`Command::Stop`] was carried out.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let _home = be_home(&self.mailbox);
        while self.stop == Stop::Running || self.is_busy() {
            self.turn(None)?;
        }
        Ok(())
    }

    /// Runs while there are connections; for a thread that serves one.
    fn run_while_connected(&mut self) -> io::Result<()> {
        let _home = be_home(&self.mailbox);
        while self.is_busy() {
            self.turn(None)?;
        }
        Ok(())
    }

    /// Whether there is a socket, or a handler that runs on without one.
    fn is_busy(&mut self) -> bool {
        if self.slots.is_empty() && self.acceptor.is_none() {
            // The last connection may have left some behind.
            self.read_notes();
        }
        !self.slots.is_empty() || self.acceptor.is_some() || 0 < self.tasks.len()
    }

    /// One turn of a loop on the caller's thread, whose channels live on it meanwhile.
    pub(crate) fn local_turn(&mut self, until: Option<std::time::Instant>) -> io::Result<()> {
        let _home = be_home(&self.mailbox);
        let mailbox = Arc::clone(&self.mailbox);
        let outer = CURRENT.replace(Some(mailbox));
        let until = until.map(|until| self.clock.at(until));
        // The last turn may be long ago.
        self.now = self.clock.now();
        let turned = self.turn(until);
        CURRENT.set(outer);
        turned
    }

    /// One turn; sleeps at most until `until`.
    fn turn(&mut self, until: Option<Instant>) -> io::Result<()> {
        self.copied = copied_bytes();
        self.wait(until)?;
        self.work();
        Ok(())
    }

    /// What a turn does after its wait.
    fn work(&mut self) {
        // A stop comes before the end of stream that it causes on a blocking model.
        self.read_notes();
        self.complete_all();
        self.acceptor_turn();
        self.fire_timers();
        self.stop_turn();
        self.pump_ready();
        self.read_notes();
        self.poll_woken();
        // What was woken may have made calls on this loop; what it woke waits for the next turn.
        self.read_notes();
        self.pump_ready();
        // What the kernel took at once needs no turn of its own.
        self.driver.take_done(&mut self.completions);
        self.complete_all();
        self.publish();
    }

    /// Shows others what this loop has done and holds.
    fn publish(&mut self) {
        let pending = self.pending.into();
        self.stats.pending.store(pending, Ordering::Relaxed);
        let copied = copied_bytes();
        LoopStats::add(&self.stats.copied, copied - self.copied);
        self.copied = copied;
        self.stats.publish_driver(self.driver.stats());
    }

    fn wait(&mut self, until: Option<Instant>) -> io::Result<()> {
        // Whoever has more to say goes on without a look at the sockets, but not twice in a row.
        self.skipped = !self.ready.is_empty() && !self.skipped;
        if self.skipped {
            return Ok(());
        }
        let more = !self.ready.is_empty() || !self.woken.is_empty();
        let busy = more || self.acceptor_is_closing() || !self.mailbox.doze();
        let timeout = match busy {
            true => Some(Duration::ZERO),
            // Handlers and tasks that were polled since have brought the time up to date.
            false => Instant::earliest([until, self.next_time()]).map(|next| next - self.now),
        };
        let wakeable = 0 < self.pending || 0 < self.tasks.len() || self.is_awaited();
        let waited = self
            .driver
            .wait(Patience { timeout, wakeable }, &mut self.completions);
        self.mailbox.rise();
        self.now = self.clock.now();
        waited
    }

    /// When this loop has something to do of its own accord.
    fn next_time(&mut self) -> Option<Instant> {
        Instant::earliest([
            self.timers.next(),
            self.clients.timers.next(),
            self.sleepers.next(),
            self.stop.next(),
        ])
    }

    fn complete_all(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            self.complete(completion);
        }
        self.completions = completions;
    }

    /// Gives a completion to whom it concerns; late ones of closed sockets are dropped.
    fn complete(&mut self, completion: Completion) {
        let key = PeerKey::from_u64(completion.token.0);
        if let OpKind::Accept = completion.kind {
            return self.accepted(completion.outcome);
        }
        let pump = match self.slots.get_mut(key.slot as usize) {
            Some(Slot::Connection(connection)) if connection.key == key => {
                connection.complete(self.now, completion)
            }
            Some(Slot::Connecting(connecting)) if connecting.key == key => {
                self.connect_done(key.slot, completion.outcome);
                false
            }
            _ => false,
        };
        if pump {
            self.ready(key.slot);
        }
    }

    fn fire_timers(&mut self) {
        self.sleepers.wake(self.now);
        self.link_timeouts();
        while let Some((time, key)) = self.timers.pop(self.now) {
            let key = PeerKey::from_u64(key);
            match self.slots.get_mut(key.slot as usize) {
                Some(Slot::Connection(connection)) if connection.key == key => {
                    if connection.timeout(time, self.now) {
                        self.ready(key.slot);
                    } else if let Some(next) = connection.schedule() {
                        self.timers.set(next, key.to_u64());
                    }
                }
                Some(Slot::Connecting(connecting)) if connecting.key == key => {
                    self.connect_timeout(key.slot);
                }
                Some(Slot::Listener) => self.accept_again(),
                _ => {}
            }
        }
    }

    /// Pumps each connection that has something to say once.
    fn pump_ready(&mut self) {
        if self.ready.is_empty() {
            return;
        }
        let mut ready = std::mem::take(&mut self.ready);
        for slot in ready.drain(..) {
            self.pump(slot);
        }
        // Those that want another turn were added meanwhile, behind an empty list.
        std::mem::swap(&mut self.ready, &mut ready);
        self.ready.append(&mut ready);
    }

    /// Lets a connection say what it has to say, and does what it wants.
    fn pump(&mut self, slot: u32) {
        let Some(Slot::Connection(connection)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        connection.ready = false;
        let mut turn = Turn::new(
            connection.key,
            self.now,
            self.clock,
            &mut self.spare,
            &self.stats,
        );
        connection.peer.pump(&mut turn);
        self.now = turn.now;
        self.settle(slot);
    }

    /// Does what a connection wants after it was pumped.
    fn settle(&mut self, slot: u32) {
        let Some(Slot::Connection(connection)) = self.slots.get_mut(slot as usize) else {
            return;
        };
        let pending = connection.peer.pending();
        self.pending = self.pending + pending - std::mem::replace(&mut connection.pending, pending);
        let wants = connection.apply(&mut *self.driver);
        if let Some(next) = connection.schedule() {
            self.timers.set(next, connection.key.to_u64());
        }
        let link = connection.link;
        if let Some(link) = link {
            self.client_news(slot, link);
        }
        if wants.close {
            self.remove_connection(slot);
        } else if wants.again {
            self.ready(slot);
        }
    }

    /// Pumps a connection in this turn, or in the next when this one's are under way.
    fn ready(&mut self, slot: u32) {
        if let Some(Slot::Connection(connection)) = self.slots.get_mut(slot as usize)
            && !std::mem::replace(&mut connection.ready, true)
        {
            self.ready.push(slot);
        }
    }

    /// Carries out commands; keeps wakes for [`Reactor::poll_woken`].
    fn read_notes(&mut self) {
        if self.mailbox.is_empty() {
            return;
        }
        let mut notes = std::mem::take(&mut self.notes);
        self.mailbox.take(&mut notes);
        for note in notes.drain(..) {
            match note {
                Note::Wake(alarm) => self.woken.push(alarm),
                Note::Command(command) => self.command(command),
            }
        }
        self.notes = notes;
    }

    fn poll_woken(&mut self) {
        if self.woken.is_empty() {
            return;
        }
        LoopStats::add(&self.stats.wakes, self.woken.len() as u64);
        for alarm in std::mem::take(&mut self.woken) {
            match alarm.ring() {
                Target::Task(task) => self.poll_task(task),
                Target::Handler(key, call) => {
                    let Some(Slot::Connection(connection)) = self.slots.get_mut(key.slot as usize)
                    else {
                        continue;
                    };
                    if connection.key != key {
                        continue;
                    }
                    let mut turn =
                        Turn::new(key, self.now, self.clock, &mut self.spare, &self.stats);
                    connection.peer.wake(&mut turn, call);
                    self.now = turn.now;
                    self.ready(key.slot);
                }
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Adopt { stream, address } => self.adopt(stream, &address),
            Command::Stop { grace } => self.begin_stop(grace),
            Command::Connect { link, promise } => self.client_connect(link, promise),
            Command::Call { link, request } => self.client_call(link, request),
            Command::Cancel((key, call)) => self.abandoned(key, call),
            Command::Taken((key, call)) => self.taken(key, call),
            Command::Resolved { key, addresses } => {
                self.lookups -= 1;
                self.resolved(key, addresses);
            }
            Command::Sleep { until, promise } => self.sleepers.add(until, promise),
            Command::Finish(unfinished) => self.finish(unfinished),
            Command::Forget { link } => self.client_forget(link),
        }
    }

    /// Runs a handler on whose call is over. Not when the time for that is over too.
    fn finish(&mut self, Unfinished(handler): Unfinished) {
        match self.stop {
            Stop::Running | Stop::Draining(_) => self.spawn(handler),
            Stop::Leaving(_) => drop(handler),
        }
    }

    /// Takes no new connections and calls; each connection closes when its calls are over.
    fn begin_stop(&mut self, grace: Duration) {
        self.stop.begin(self.now, grace);
        self.close_acceptor();
        for slot in self.connections() {
            if let Some(Slot::Connection(connection)) = self.slots.get_mut(slot as usize) {
                connection.peer.drain(self.now);
                self.ready(slot);
            }
        }
    }

    /// The deadlines of a stop.
    fn stop_turn(&mut self) {
        match self.stop.due(self.now) {
            Due::Nothing => {}
            Due::Goodbye => {
                self.drop_tasks();
                let status = Status::unavailable("the server has stopped");
                for slot in self.connections() {
                    if let Some(Slot::Connection(connection)) = self.slots.get_mut(slot as usize) {
                        connection.peer.close(&status);
                        self.ready(slot);
                    }
                }
            }
            Due::End => {
                for slot in self.connections() {
                    self.remove_connection(slot);
                }
                self.abandon_connecting();
            }
        }
    }

    fn connections(&self) -> Vec<u32> {
        let connection = |slot: &Slot| matches!(slot, Slot::Connection(_));
        self.slots
            .iter()
            .filter(|(_, s)| connection(s))
            .map(|(slot, _)| slot as u32)
            .collect()
    }

    /// Reserves a place in the table, to be filled with what `make` gives.
    fn insert(&mut self, make: impl FnOnce(PeerKey) -> Slot) -> PeerKey {
        self.generation = self.generation.wrapping_add(1);
        let entry = self.slots.vacant_entry();
        let key = PeerKey {
            slot: entry.key() as u32,
            generation: self.generation,
        };
        entry.insert(make(key));
        key
    }

    fn remove_connection(&mut self, slot: u32) {
        let Some(Slot::Connection(connection)) = self.slots.try_remove(slot as usize) else {
            return;
        };
        self.pending -= connection.pending;
        self.driver.detach(connection.socket);
        if connection.link.is_none() {
            self.stats.connection_removed();
            self.acceptor_has_room();
        }
    }
}

/// Notes that come after the end are given back to whoever posts them; those that wait are dropped,
/// which answers calls with UNAVAILABLE.
impl Drop for Reactor {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| {
            current.take_if(|current| Arc::ptr_eq(current, &self.mailbox));
        });
        drop(self.mailbox.close());
        self.pending = 0;
        self.publish();
    }
}

/// A socket's token is the key of its place in the table.
fn token(key: PeerKey) -> Token {
    Token(key.to_u64())
}
