//! Channels over streams of a tokio runtime.

use super::calling::{Connect, Task};
use super::desk::Desk;
use crate::backoff::Random;
use crate::error::Kind;
use crate::reactor::link::Link;
use crate::{Channel, ChannelBuilder, Error};
use std::future::Future;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;

impl ChannelBuilder {
    /// Makes a channel over one stream, in a task of this tokio runtime, and waits until the server has greeted. The
    /// builder's URL is the server's name in what errors say.
    ///
    /// When the stream has ended, calls end with UNAVAILABLE, or wait for nothing if they want to wait. The settings
    /// of addresses and sockets do not hold.
    ///
    /// # Errors
    /// As [`Channel::connect`], and [`Error::is_config`] as [`ChannelBuilder::connect_lazy_with`].
    pub async fn connect_over<S>(self, stream: S) -> Result<Channel, Error>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let mut only = Some(stream);
        let next = move || {
            let stream = only.take();
            let ended = || io::Error::other("the channel's only stream has ended");
            async move { stream.ok_or_else(ended) }
        };
        self.connect_with(next).await
    }

    /// Makes a channel over streams that `connect` makes, in a task of this tokio runtime, and waits until the server
    /// has greeted.
    ///
    /// `connect` is called for the first stream, and again when a call finds the last one gone, with the pauses of
    /// [`ChannelBuilder::reconnect_backoff`] after failures. Its future is polled in the channel's task, and dropped
    /// after [`ChannelBuilder::connect_timeout`]. What else a [`Channel`] promises holds too.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), kettle::Error> {
    /// let unix = || tokio::net::UnixStream::connect("/run/tea.sock");
    /// let channel = kettle::Channel::builder("kettle://tea:1").connect_with(unix).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`ChannelBuilder::connect_over`].
    pub async fn connect_with<S, F>(
        self,
        connect: impl FnMut() -> F + Send + 'static,
    ) -> Result<Channel, Error>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        let channel = self.connect_lazy_with(connect)?;
        channel.connected().await?;
        Ok(channel)
    }

    /// The same without connecting: that is done at the first call.
    ///
    /// # Errors
    /// [`Error::is_config`] when a setting is out of its range, with another model than `tokio` or several connections, and outside of a
    /// tokio runtime.
    pub fn connect_lazy_with<S, F>(
        self,
        mut connect: impl FnMut() -> F + Send + 'static,
    ) -> Result<Channel, Error>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
        F: Future<Output = io::Result<S>> + Send + 'static,
    {
        self.check_for_task()?;
        let runtime = Handle::try_current().map_err(|error| {
            let text = "a channel over a stream of tokio's needs its runtime";
            Error::new(Kind::Config, text).with_source(error)
        })?;
        let desk = Desk::new();
        let mailbox = Arc::clone(&desk.mailbox);
        let channel = self.channel(|| Ok(mailbox))?;
        let link = Link::new(channel.link());
        let random = link
            .config
            .seed
            .map_or_else(Random::from_system, Random::from_seed);
        let connect: Connect<S> = Box::new(move || Box::pin(connect()));
        runtime.spawn(Task::new(desk, link, connect, random));
        Ok(channel)
    }
}
