//! A service that behaves as it is told: what the call suite calls.

use kettle::{Channel, Code, Request, Response, Status, Streaming};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

mod streams;

#[allow(missing_docs)] // generated
mod generated {
    kettle::include_proto!("kettle.trial.v1");
}

pub use generated::*;
use trial_server::Trial;

/// The service. Cloning it shares the counters.
#[derive(Clone, Debug, Default)]
pub struct TrialService {
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    /// Messages that streams of replies have made, and that were taken from streams of requests.
    made: AtomicU64,
    taken: AtomicU64,
    started: AtomicU64,
    waiting: AtomicU64,
    dropped: AtomicU64,
    gate: Gate,
}

/// What [`Behaviour::Block`] blocks at.
#[derive(Debug, Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    /// Of [`Behaviour::Gate`].
    waiting: Mutex<Vec<Waker>>,
}

/// A task of this behaviour, with nothing else set.
pub fn task(behaviour: Behaviour) -> Task {
    Task {
        behaviour: behaviour.into(),
        ..Task::default()
    }
}

impl TrialService {
    /// Messages that streams of replies have made.
    pub fn made(&self) -> u64 {
        self.counters.made.load(Ordering::SeqCst)
    }

    /// Messages that were taken from streams of requests.
    pub fn taken(&self) -> u64 {
        self.counters.taken.load(Ordering::SeqCst)
    }

    /// Lets the handlers go on that wait for the gate, now and later.
    pub fn open_gate(&self) {
        let gate = &self.counters.gate;
        *lock(&gate.is_open) = true;
        gate.opened.notify_all();
        let waiting = std::mem::take(&mut *lock(&gate.waiting));
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Handlers that were started.
    pub fn started(&self) -> u64 {
        self.counters.started.load(Ordering::SeqCst)
    }

    /// Handlers that wait now.
    pub fn waiting(&self) -> u64 {
        self.counters.waiting.load(Ordering::SeqCst)
    }

    /// Handlers that were dropped before their end.
    pub fn dropped(&self) -> u64 {
        self.counters.dropped.load(Ordering::SeqCst)
    }
}

impl Trial for TrialService {
    async fn run(&self, request: Request<Task>) -> Result<Response<Outcome>, Status> {
        let started = Started::new(&self.counters);
        let result = behave(request, Arc::clone(&self.counters)).await;
        started.done();
        result
    }

    async fn count(&self, _: Request<Task>) -> Result<Response<Counts>, Status> {
        Ok(Response::new(Counts {
            waiting: self.waiting(),
            dropped: self.dropped(),
            started: self.started(),
        }))
    }

    async fn collect(
        &self,
        request: Request<Streaming<Task>>,
    ) -> Result<Response<Outcome>, Status> {
        let started = Started::new(&self.counters);
        let result = streams::collect(request, &self.counters).await;
        started.done();
        result
    }

    type PushStream = streams::Push;

    async fn push(&self, request: Request<Task>) -> Result<Response<streams::Push>, Status> {
        streams::Push::begin(request, Started::new(&self.counters)).await
    }

    type ChatStream = streams::Chat;

    async fn chat(
        &self,
        request: Request<Streaming<Task>>,
    ) -> Result<Response<streams::Chat>, Status> {
        let started = Started::new(&self.counters);
        Ok(request_echo(request, |tasks| {
            streams::Chat::new(tasks, started)
        }))
    }
}

/// A response with the metadata of the request as headers and trailers.
fn request_echo<T, U>(request: Request<T>, reply: impl FnOnce(T) -> U) -> Response<U> {
    let metadata = request.metadata().clone();
    let mut response = Response::new(reply(request.into_inner()));
    *response.metadata_mut() = metadata.clone();
    *response.trailers_mut() = metadata;
    response
}

async fn behave(
    request: Request<Task>,
    counters: Arc<Counters>,
) -> Result<Response<Outcome>, Status> {
    let number = request.get_ref().number;
    let reply = |payload: bytes::Bytes| Ok(Response::new(Outcome { payload, number }));
    match request.get_ref().behaviour() {
        Behaviour::Echo => reply(request.into_inner().payload),
        Behaviour::Large => reply(vec![b'x'; number as usize].into()),
        Behaviour::Fail => Err(failure(&request)),
        Behaviour::Thread => {
            let later = Later::after(Duration::from_millis(number));
            later.await;
            reply(request.into_inner().payload)
        }
        Behaviour::Sleep => {
            kettle::sleep(Duration::from_micros(number)).await;
            reply(request.into_inner().payload)
        }
        Behaviour::SelfWake => {
            wake_self(number).await;
            reply(request.into_inner().payload)
        }
        Behaviour::Panic => panic!("told to panic at once"),
        Behaviour::PanicLater => {
            Later::after(Duration::from_millis(number)).await;
            panic!("told to panic later")
        }
        Behaviour::Never => std::future::pending().await,
        Behaviour::Restless => restless().await,
        Behaviour::Metadata => Ok(request_echo(request, |_| Outcome::default())),
        Behaviour::Deadline => {
            let left = request.deadline().map(|deadline| deadline - Instant::now());
            let number = left.map_or(u64::MAX, |left| left.as_millis() as u64);
            Ok(Response::new(Outcome {
                number,
                ..Outcome::default()
            }))
        }
        Behaviour::CallBack => call_back(&request).await,
        Behaviour::Forward => forward(&request).await,
        Behaviour::Block => {
            counters.gate.pass();
            reply(request.into_inner().payload)
        }
        Behaviour::Gate => {
            poll_fn(|cx| counters.gate.poll(cx)).await;
            reply(request.into_inner().payload)
        }
        Behaviour::ThreadNames => {
            let before = thread_name();
            Later::after(Duration::ZERO).await;
            reply(format!("{before} {}", thread_name()).into())
        }
        Behaviour::CallBackBlocking => {
            let url = String::from_utf8_lossy(&request.get_ref().payload).into_owned();
            let client = trial_client::blocking::TrialClient::connect(url)?;
            let echo = Task {
                payload: "from inside".into(),
                ..task(Behaviour::Echo)
            };
            client.run(echo)
        }
    }
}

/// What [`Behaviour::CallBack`] does.
async fn call_back(request: &Request<Task>) -> Result<Response<Outcome>, Status> {
    let url = String::from_utf8_lossy(&request.get_ref().payload).into_owned();
    let channel = Channel::builder(url).connect_lazy()?;
    let echo = Task {
        payload: "from inside".into(),
        ..task(Behaviour::Echo)
    };
    trial_client::TrialClient::new(channel).run(echo).await
}

/// What [`Behaviour::Forward`] does.
async fn forward(request: &Request<Task>) -> Result<Response<Outcome>, Status> {
    let url = String::from_utf8_lossy(&request.get_ref().payload).into_owned();
    let metadata = request.metadata();
    if metadata.get("later").is_some() {
        Later::after(Duration::ZERO).await;
    }
    let inner = Task {
        behaviour: request.get_ref().number as i32,
        ..Task::default()
    };
    let mut inner = Request::new(inner);
    let timeout = metadata.get("timeout").and_then(|text| text.parse().ok());
    if let Some(millis) = timeout {
        inner.set_timeout(Duration::from_millis(millis));
    }
    inner.set_inherits_deadline(metadata.get("detached").is_none());
    let channel = Channel::builder(url).connect_lazy()?;
    trial_client::TrialClient::new(channel).run(inner).await
}

impl Gate {
    /// Blocks until the gate is open.
    fn pass(&self) {
        let passed = self
            .opened
            .wait_while(lock(&self.is_open), |is_open| !*is_open);
        drop(passed.unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until the gate is open.
    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        lock(&self.waiting).push(cx.waker().clone());
        if *lock(&self.is_open) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn thread_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// The status that [`Behaviour::Fail`] asks for.
fn failure(request: &Request<Task>) -> Status {
    let task = request.get_ref();
    let mut status = Status::new(
        Code::from_u32(task.number as u32),
        "told to fail, ünd so it does",
    )
    .with_details(kettle_buf::Segment::from(task.payload.clone()));
    let trailer = status.metadata_mut().append("trailing", "metadata");
    trailer.expect("the key is valid");
    status
}

/// Counts a handler as waiting until it is done or dropped.
#[derive(Debug)]
struct Started {
    counters: Arc<Counters>,
    done: bool,
}

impl Started {
    fn new(counters: &Arc<Counters>) -> Self {
        counters.started.fetch_add(1, Ordering::SeqCst);
        counters.waiting.fetch_add(1, Ordering::SeqCst);
        Self {
            counters: Arc::clone(counters),
            done: false,
        }
    }

    fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.counters.waiting.fetch_sub(1, Ordering::SeqCst);
        if !self.done {
            self.counters.dropped.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Done when another thread has slept.
#[derive(Debug)]
struct Later {
    shared: Arc<Mutex<(bool, Option<Waker>)>>,
}

impl Later {
    fn after(duration: Duration) -> Self {
        let shared = Arc::new(Mutex::new((false, None::<Waker>)));
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            thread::sleep(duration);
            let waker = {
                let mut shared = theirs.lock().unwrap_or_else(PoisonError::into_inner);
                shared.0 = true;
                shared.1.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        });
        Self { shared }
    }
}

impl Future for Later {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.0 {
            return Poll::Ready(());
        }
        shared.1 = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Wakes itself as often as told, from inside its poll.
async fn wake_self(mut times: u64) {
    poll_fn(move |cx| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Never done, and woken by another thread all the time until it is dropped.
async fn restless() -> ! {
    struct Quiet(Arc<AtomicBool>);
    impl Drop for Quiet {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let quiet = Quiet(Arc::default());
    let mut begun = false;
    poll_fn(|cx| {
        if !std::mem::replace(&mut begun, true) {
            let (waker, quiet) = (cx.waker().clone(), Arc::clone(&quiet.0));
            thread::spawn(move || {
                while !quiet.load(Ordering::SeqCst) {
                    waker.wake_by_ref();
                    thread::yield_now();
                }
                // Late wakes, after the handler has gone, do nothing.
                for _ in 0..100 {
                    waker.wake_by_ref();
                }
            });
        }
        Poll::Pending
    })
    .await
}
