//! Calls that cannot start yet: for want of a connection, or of a place on it.

use crate::Status;
use crate::call::CallRequest;
use kettle_proto::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// Calls that may wait in one queue; beyond it calls fail with RESOURCE_EXHAUSTED.
const WAITING_MAX: usize = 65_536;

/// Calls whose callers have gone are taken out after so many more have come. A look at a queue that is
/// full costs about 1 µs for each of these.
const CALLS_PER_SWEEP: usize = 1024;

/// Calls whose deadlines differ are looked at together, so that a look at all costs less than 5 % of
/// the time between two: this is 20 times what one call takes.
const EXPIRE_PAUSE_PER_CALL: Duration = Duration::from_micros(1);

/// Calls in the order in which they came; those whose deadline passes are ended.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    queue: VecDeque<Box<CallRequest>>,
    /// Not later than the earliest deadline in the queue, but for the pause.
    deadline: Option<Instant>,
    /// When deadlines may be looked at again.
    pause: Instant,
    /// Calls that were added since those whose callers have gone were taken out.
    added: usize,
}

impl Waiting {
    /// Adds a call at the end; answers it when too many wait.
    pub(crate) fn push(&mut self, request: Box<CallRequest>) {
        self.added += 1;
        if CALLS_PER_SWEEP <= self.added {
            self.added = 0;
            self.queue.retain(|request| !request.caller.is_abandoned());
        }
        if WAITING_MAX <= self.queue.len() {
            return refuse(request);
        }
        self.deadline = Instant::earliest([self.deadline, request.deadline]);
        self.queue.push_back(request);
    }

    /// Adds all calls of `other` at the end, at the cost of the shorter of the two.
    pub(crate) fn append(&mut self, mut other: Waiting) {
        if self.queue.len() < other.queue.len() {
            while let Some(request) = self.queue.pop_back() {
                other.queue.push_front(request);
            }
            std::mem::swap(&mut self.queue, &mut other.queue);
        } else {
            self.queue.append(&mut other.queue);
        }
        self.deadline = Instant::earliest([self.deadline, other.deadline]);
        self.added += other.added;
        while WAITING_MAX < self.queue.len() {
            self.queue.pop_back().into_iter().for_each(refuse);
        }
    }

    /// Takes the call that has waited longest.
    pub(crate) fn pop(&mut self) -> Option<Box<CallRequest>> {
        self.queue.pop_front()
    }

    /// Takes all calls that do not wait for as long as it takes.
    pub(crate) fn take_hasty(&mut self) -> Waiting {
        let (patient, hasty): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|request| request.wait_for_ready);
        self.queue = patient;
        Waiting {
            queue: hasty,
            ..Waiting::default()
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Ends calls whose deadline has passed, and forgets those whose caller has gone.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.next_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let late = |request: &CallRequest| request.deadline.is_some_and(|at| at <= now);
        self.end(late, || {
            Status::deadline_exceeded("the deadline passed while the call waited for a connection")
        });
        let deadlines = self.queue.iter().filter_map(|request| request.deadline);
        self.deadline = deadlines.min();
        self.pause = now + EXPIRE_PAUSE_PER_CALL * self.queue.len() as u32;
    }

    /// When [`Waiting::expire`] wants to be called next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadline.map(|deadline| deadline.max(self.pause))
    }

    /// Answers with this status all calls that do not wait for as long as it takes.
    pub(crate) fn fail(&mut self, status: &Status) {
        self.end(|request| !request.wait_for_ready, || status.clone());
    }

    /// Answers some calls, and forgets those whose caller has gone.
    fn end(&mut self, ends: impl Fn(&CallRequest) -> bool, status: impl Fn() -> Status) {
        for request in std::mem::take(&mut self.queue) {
            if ends(&request) {
                request.fail(status());
            } else if !request.caller.is_abandoned() {
                self.queue.push_back(request);
            }
        }
    }
}

fn refuse(request: Box<CallRequest>) {
    let text = format!("{WAITING_MAX} calls wait for this connection already");
    let status = Status::resource_exhausted(text);
    request.fail(status);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metadata;
    use crate::call::{self, Content, Place, Reply};
    use crate::pending::{self, Pending};
    use kettle_buf::Chain;
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    type Caller = Pending<Reply, Place, fn(Place)>;

    const NOW: Instant = Instant::from_nanos(1_000_000_000);

    fn call(deadline: Option<Instant>, wait_for_ready: bool) -> (Box<CallRequest>, Caller) {
        let (promise, caller) = pending::pair((|_| ()) as fn(Place));
        let request = CallRequest {
            path: "/a/b".into(),
            metadata: Metadata::new(),
            deadline,
            wait_for_ready,
            content: Content::Message(Chain::new()),
            caller: call::Caller::One(promise),
            tries: 0,
        };
        (Box::new(request), caller)
    }

    fn answer(caller: &mut Caller) -> Option<crate::Code> {
        match Pin::new(caller).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer.unwrap_err().code()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn callers_that_went_away_leave_room() {
        let mut waiting = Waiting::default();
        for _ in 0..3 * WAITING_MAX {
            let (request, caller) = call(None, true);
            waiting.push(request);
            drop(caller);
            assert!(waiting.queue.len() <= CALLS_PER_SWEEP);
        }
        let (request, mut caller) = call(None, true);
        waiting.push(request);
        assert_eq!(answer(&mut caller), None);
    }

    #[test]
    fn a_full_queue_refuses() {
        let mut waiting = Waiting::default();
        let mut callers = Vec::new();
        for _ in 0..WAITING_MAX + 10 {
            let (request, caller) = call(None, true);
            waiting.push(request);
            callers.push(caller);
        }
        let refused: Vec<_> = callers.iter_mut().filter_map(answer).collect();
        assert_eq!(refused, [crate::Code::ResourceExhausted; 10]);
        let mut more = Waiting::default();
        let (request, mut caller) = call(None, true);
        more.push(request);
        waiting.append(more);
        assert_eq!(answer(&mut caller), Some(crate::Code::ResourceExhausted));
        assert_eq!(waiting.queue.len(), WAITING_MAX);
    }

    #[test]
    fn deadlines_end_calls_in_time_and_not_early() {
        let (mut waiting, mut callers) = (Waiting::default(), Vec::new());
        for millis in [30, 10, 20] {
            let (request, caller) = call(Some(NOW + Duration::from_millis(millis)), true);
            waiting.push(request);
            callers.push(caller);
        }
        let mut ended = |waiting: &mut Waiting, now| {
            waiting.expire(now);
            callers.iter_mut().filter_map(answer).count()
        };
        assert_eq!(ended(&mut waiting, NOW + Duration::from_millis(9)), 0);
        let next = waiting.next_deadline().unwrap();
        assert_eq!(next, NOW + Duration::from_millis(10));
        assert_eq!(ended(&mut waiting, next), 1);
        let next = waiting.next_deadline().unwrap();
        assert_eq!(next, NOW + Duration::from_millis(20));
        assert_eq!(ended(&mut waiting, NOW + Duration::from_millis(40)), 2);
        assert_eq!(waiting.next_deadline(), None);
    }

    /// Each of many deadlines for itself would cost a look at all calls.
    #[test]
    fn many_deadlines_are_looked_at_together() {
        let (calls, mut looks) = (10_000, 0);
        let mut waiting = Waiting::default();
        let mut callers = Vec::new();
        for nanos in 0..calls {
            let (request, caller) = call(Some(NOW + Duration::from_nanos(100 * nanos)), true);
            waiting.push(request);
            callers.push(caller);
        }
        let mut now = NOW;
        while let Some(next) = waiting.next_deadline() {
            now = now.max(next);
            waiting.expire(now);
            looks += 1;
        }
        assert!(looks < 10, "{looks} looks at the queue");
        assert!(now - NOW < Duration::from_millis(11), "{:?}", now - NOW);
        assert_eq!(callers.iter_mut().filter_map(answer).count(), 10_000);
    }

    #[test]
    fn a_failure_ends_calls_that_do_not_wait_and_keeps_the_order_of_others() {
        let (mut waiting, mut others) = (Waiting::default(), Waiting::default());
        let mut callers = Vec::new();
        for (n, wait) in [true, false, true, true].into_iter().enumerate() {
            let (mut request, caller) = call(None, wait);
            request.tries = n as u8;
            let queue = if n == 0 { &mut waiting } else { &mut others };
            queue.push(request);
            callers.push(caller);
        }
        waiting.append(others);
        waiting.fail(&Status::unavailable("nobody there"));
        let answers: Vec<_> = callers.iter_mut().map(answer).collect();
        let unavailable = Some(crate::Code::Unavailable);
        assert_eq!(answers, [None, unavailable, None, None]);
        let order: Vec<_> = std::iter::from_fn(|| waiting.pop()).collect();
        let order: Vec<_> = order.iter().map(|request| request.tries).collect();
        assert_eq!(order, [0, 2, 3]);
    }
}
