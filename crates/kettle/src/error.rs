//! The error of setting something up: a server, a channel. Calls end with a [`Status`] instead.

use crate::{Code, Status};
use std::error::Error as StdError;
use std::fmt;

/// Why a server or a channel could not be set up or go on.
///
/// `Display` prints this level only; [`StdError::source`] leads to the causes. Use the predicates to
/// tell errors apart, not the text.
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: Kind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Config,
    Connect,
    Refused,
    Listen,
    Io,
    Timeout,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                message: message.into(),
                source: None,
            }),
        }
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// A setting is wrong; the text says which and what would be right.
    pub fn is_config(&self) -> bool {
        self.inner.kind == Kind::Config
    }

    /// No connection could be made, for whatever reason.
    pub fn is_connect(&self) -> bool {
        matches!(
            self.inner.kind,
            Kind::Connect | Kind::Refused | Kind::Timeout
        )
    }

    /// The server was reached, and said that it takes no more connections (RESOURCE_EXHAUSTED).
    pub fn is_refused(&self) -> bool {
        self.inner.kind == Kind::Refused
    }

    /// The address could not be listened on.
    pub fn is_listen(&self) -> bool {
        self.inner.kind == Kind::Listen
    }

    /// A time-out passed.
    pub fn is_timeout(&self) -> bool {
        self.inner.kind == Kind::Timeout
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

/// The text with those of all its causes, as `main` shows an error that it returns.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner
            .source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static))
    }
}

/// A connection that cannot be made ends a call with UNAVAILABLE, a wrong setting with INVALID_ARGUMENT.
impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let code = match error.inner.kind {
            Kind::Config => Code::InvalidArgument,
            _ => Code::Unavailable,
        };
        let text = match &error.inner.source {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Status::new(code, text)
    }
}
