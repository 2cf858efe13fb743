use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::{Args, Report};

/// A closed loop: every connection keeps `depth` requests in flight for warm-up and window.
#[derive(Clone, Copy)]
pub struct Plan {
    pub conns: usize,
    pub depth: usize,
    /// Bytes of a request's payload.
    pub payload: usize,
    /// Bytes of a reply's payload.
    pub reply: usize,
    pub warmup: Duration,
    pub window: Duration,
}

impl Plan {
    pub fn from_args(args: &Args) -> Self {
        let payload = args.num("payload", 128);
        Plan {
            conns: args.num("conns", 1),
            depth: args.num("depth", 1),
            payload,
            reply: args.num("resp", payload),
            warmup: Duration::from_millis(args.num("warmup-ms", 1000) as u64),
            window: Duration::from_millis(args.num("secs-ms", 5000) as u64),
        }
    }
}

#[derive(Default)]
struct State {
    report: RefCell<Option<Report>>,
    over: Cell<bool>,
}

/// Runs the plan of the arguments on one thread and prints the report.
/// `connect` opens a connection; `call` does one request and returns the length of the reply.
pub fn run_client<C, CF, F, Fut>(connect: impl Fn() -> CF, call: F)
where
    C: Clone + 'static,
    CF: Future<Output = C>,
    F: Fn(C) -> Fut + Clone + 'static,
    Fut: Future<Output = usize> + 'static,
{
    let plan = Plan::from_args(&Args::parse());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let state = Rc::new(State::default());
        let mut loops = Vec::new();
        for _ in 0..plan.conns {
            let conn = connect().await;
            for _ in 0..plan.depth {
                let one = requests(plan, conn.clone(), call.clone(), state.clone());
                loops.push(tokio::task::spawn_local(one));
            }
        }
        tokio::time::sleep(plan.warmup).await;
        state.report.replace(Some(Report::begin()));
        tokio::time::sleep(plan.window).await;
        state.over.set(true);
        let report = state.report.take().expect("the window has begun");
        report.print();
        join_all(loops).await;
    });
}

/// One request after the other until the window is over.
async fn requests<C, F, Fut>(plan: Plan, conn: C, call: F, state: Rc<State>)
where
    C: Clone,
    F: Fn(C) -> Fut,
    Fut: Future<Output = usize>,
{
    while !state.over.get() {
        let began = Instant::now();
        let len = call(conn.clone()).await;
        assert_eq!(len, plan.reply, "wrong length of a reply");
        if let Some(report) = state.report.borrow_mut().as_mut() {
            report.record(began.elapsed());
        }
    }
}
