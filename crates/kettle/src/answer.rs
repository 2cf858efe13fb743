//! A call that runs on a server, and where its reply goes.

use crate::outgoing::{Outgoing, Sink};
use crate::{BoxFuture, Inbound, Incoming, Metadata, Outbound, Request, Response, Status};
use kettle_buf::{Encode, Payload};
use pin_project_lite::pin_project;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A call that runs on a server: a future that gives its reply to whoever polls it, so that the
/// message is encoded where it is sent from.
///
/// Generated code makes them; [`answer`] makes one of a future.
pub trait Answer: Send {
    /// Goes on until the call has to wait, or until its reply was given: then this is ready, and is
    /// not polled again.
    fn poll_answer(self: Pin<&mut Self>, cx: &mut Context<'_>, reply: &mut dyn Reply) -> Poll<()>;

    /// Whether this may be used for the next call of the same method once its reply was given, which
    /// saves an allocation. Default: no.
    fn is_reusable(&self) -> bool {
        false
    }

    /// Begins anew with the request of the next call of the same method, which it takes out, and goes on
    /// as [`Answer::poll_answer`]. Comes only after a reply, and when [`Answer::is_reusable`].
    fn begin(
        self: Pin<&mut Self>,
        request: &mut Option<Request<Inbound>>,
        cx: &mut Context<'_>,
        reply: &mut dyn Reply,
    ) -> Poll<()> {
        drop(request.take());
        self.poll_answer(cx, reply)
    }
}

/// A call on the heap that may move between threads.
pub type BoxAnswer = Pin<Box<dyn Answer>>;

/// Where the reply of a call goes.
pub trait Reply {
    /// Ends the call with a message that is encoded now.
    fn reply(&mut self, response: Response<&dyn Encode>);

    /// Ends the call with a message that is encoded already, or with a status. A stream of messages is
    /// sent from here on, and its end ends the call.
    fn finish(&mut self, outcome: Result<Response<Outbound>, Status>);
}

/// The answer that a future gives: for services that are not generated.
pub fn answer(
    future: impl Future<Output = Result<Response<Outbound>, Status>> + Send + 'static,
) -> BoxAnswer {
    Box::pin(Encoded { future })
}

/// The answer of a unary method: decodes the request and runs the handler, which lends the service
/// for as long as it runs.
pub(crate) fn answer_unary<T, Req, Res, Fut>(
    service: &Arc<T>,
    request: Request<Inbound>,
    handler: impl Fn(Arc<T>, Request<Req>) -> Fut + Send + 'static,
) -> BoxAnswer
where
    T: Send + Sync + 'static,
    Req: Incoming + 'static,
    Res: Outgoing,
    Fut: Future<Output = (Arc<T>, Result<Response<Res>, Status>)> + Send + 'static,
{
    let mut answer = Box::pin(Unary {
        service: Some(Arc::clone(service)),
        handler,
        running: None,
        refusal: None,
        request: PhantomData,
    });
    let refusal = answer.as_mut().run(request).err();
    *answer.as_mut().project().refusal = refusal;
    answer
}

/// The future of an answer: what interceptors see.
pub(crate) fn collect(
    mut answer: BoxAnswer,
) -> BoxFuture<'static, Result<Response<Outbound>, Status>> {
    let mut collected = Collected(None);
    Box::pin(std::future::poll_fn(move |cx| {
        ready!(answer.as_mut().poll_answer(cx, &mut collected));
        let text = "the handler ended without a reply";
        let outcome = collected.0.take();
        Poll::Ready(outcome.unwrap_or_else(|| Err(Status::internal(text))))
    }))
}

pin_project! {
    struct Encoded<F> {
        #[pin]
        future: F,
    }
}

impl<F> Answer for Encoded<F>
where
    F: Future<Output = Result<Response<Outbound>, Status>> + Send,
{
    fn poll_answer(self: Pin<&mut Self>, cx: &mut Context<'_>, reply: &mut dyn Reply) -> Poll<()> {
        reply.finish(ready!(self.project().future.poll(cx)));
        Poll::Ready(())
    }
}

pin_project! {
    struct Unary<T, Req, H, Fut> {
        // Here between the calls; while one runs, with its handler. So no reference is counted.
        service: Option<Arc<T>>,
        handler: H,
        #[pin]
        running: Option<Fut>,
        // Why the first request could not be given to the handler.
        refusal: Option<Status>,
        request: PhantomData<fn(Req)>,
    }
}

impl<T, Req, Res, H, Fut> Answer for Unary<T, Req, H, Fut>
where
    T: Send + Sync,
    Req: Incoming,
    Res: Outgoing,
    H: Fn(Arc<T>, Request<Req>) -> Fut + Send,
    Fut: Future<Output = (Arc<T>, Result<Response<Res>, Status>)> + Send,
{
    fn poll_answer(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        reply: &mut dyn Reply,
    ) -> Poll<()> {
        match self.as_mut().project().refusal.take() {
            None => self.poll_running(cx, reply),
            Some(status) => {
                reply.finish(Err(status));
                Poll::Ready(())
            }
        }
    }

    fn is_reusable(&self) -> bool {
        self.service.is_some()
    }

    fn begin(
        mut self: Pin<&mut Self>,
        request: &mut Option<Request<Inbound>>,
        cx: &mut Context<'_>,
        reply: &mut dyn Reply,
    ) -> Poll<()> {
        let Some(request) = request.take() else {
            return Poll::Ready(());
        };
        match self.as_mut().run(request) {
            Ok(()) => self.poll_running(cx, reply),
            Err(status) => {
                reply.finish(Err(status));
                Poll::Ready(())
            }
        }
    }
}

impl<T, Req, Res, H, Fut> Unary<T, Req, H, Fut>
where
    Req: Incoming,
    Res: Outgoing,
    H: Fn(Arc<T>, Request<Req>) -> Fut,
    Fut: Future<Output = (Arc<T>, Result<Response<Res>, Status>)>,
{
    /// Gives the request to the handler. An error: it cannot be decoded.
    #[inline(always)]
    fn run(self: Pin<&mut Self>, request: Request<Inbound>) -> Result<(), Status> {
        let mut this = self.project();
        request.decode_for(|request| {
            if let Some(service) = this.service.take() {
                this.running.set(Some((this.handler)(service, request)));
            }
        })
    }

    #[inline]
    fn poll_running(self: Pin<&mut Self>, cx: &mut Context<'_>, reply: &mut dyn Reply) -> Poll<()> {
        let mut this = self.project();
        let Some(running) = this.running.as_mut().as_pin_mut() else {
            return Poll::Ready(());
        };
        let (service, outcome) = ready!(running.poll(cx));
        *this.service = Some(service);
        this.running.set(None);
        match outcome {
            Ok(response) => {
                let (message, headers, trailers) = response.into_parts();
                let mut single = Single {
                    reply,
                    headers,
                    trailers,
                };
                if let Err(status) = message.give(&mut single) {
                    single.reply.finish(Err(status));
                }
            }
            Err(status) => reply.finish(Err(status)),
        }
        Poll::Ready(())
    }
}

/// Where the one message of a reply goes, with the metadata around it.
struct Single<'a> {
    reply: &'a mut dyn Reply,
    headers: Metadata,
    trailers: Metadata,
}

impl Single<'_> {
    fn response<T>(&mut self, message: T) -> Response<T> {
        let (headers, trailers) = (&mut self.headers, &mut self.trailers);
        Response::from_parts(message, std::mem::take(headers), std::mem::take(trailers))
    }
}

impl Sink for Single<'_> {
    #[inline]
    fn encode(&mut self, message: &dyn Encode) {
        let response = self.response(message);
        self.reply.reply(response);
    }

    fn send(&mut self, message: Payload) {
        let response = self.response(Outbound::from_payload(message));
        self.reply.finish(Ok(response));
    }
}

/// What an answer said.
struct Collected(Option<Result<Response<Outbound>, Status>>);

impl Reply for Collected {
    fn reply(&mut self, response: Response<&dyn Encode>) {
        self.0 = Some(Ok(response.map(Outbound::of)));
    }

    fn finish(&mut self, outcome: Result<Response<Outbound>, Status>) {
        self.0 = Some(outcome);
    }
}
