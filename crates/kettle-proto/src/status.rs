//! How a call ended: gRPC's status codes, a message, details, and trailing metadata.

use crate::Metadata;
use alloc::borrow::Cow;
use alloc::boxed::Box;
use core::fmt;
use kettle_buf::Segment;

/// A status code; the numbers and meanings are gRPC's.
///
/// A newtype and not an enum: a code that this version does not know survives being passed on.
///
/// # Source
/// gRPC "Status codes and their use in gRPC".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(u32);

macro_rules! codes {
    ($($number:literal $name:ident $text:literal $shorthand:ident $doc:literal;)*) => {
        #[allow(non_upper_case_globals)] // named like tonic's enum variants, so that services move over
        impl Code {
            $(#[doc = $doc] pub const $name: Code = Code($number);)*

            /// The code's name as gRPC writes it, or `CODE` for an unknown one.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($number => $text,)*
                    _ => "CODE",
                }
            }

            /// The code with this name as gRPC writes it, such as `NOT_FOUND`.
            pub fn from_name(name: &str) -> Option<Code> {
                match name {
                    $($text => Some(Code($number)),)*
                    _ => None,
                }
            }
        }

        impl Status {
            $(
                #[doc = concat!("A status with code ", $text, " and this message.")]
                pub fn $shorthand(message: impl Into<Cow<'static, str>>) -> Status {
                    Status::new(Code::$name, message)
                }
            )*
        }
    };
}

codes! {
    0 Ok "OK" ok "The call succeeded.";
    1 Cancelled "CANCELLED" cancelled "The caller gave the call up.";
    2 Unknown "UNKNOWN" unknown "An error without a better code.";
    3 InvalidArgument "INVALID_ARGUMENT" invalid_argument "The request is wrong whatever the state of the system.";
    4 DeadlineExceeded "DEADLINE_EXCEEDED" deadline_exceeded "The deadline passed before the call ended.";
    5 NotFound "NOT_FOUND" not_found "Something that the request names does not exist.";
    6 AlreadyExists "ALREADY_EXISTS" already_exists "Something that the request would create exists.";
    7 PermissionDenied "PERMISSION_DENIED" permission_denied "The caller is known and may not do this.";
    8 ResourceExhausted "RESOURCE_EXHAUSTED" resource_exhausted "A limit or quota was reached; the message names it.";
    9 FailedPrecondition "FAILED_PRECONDITION" failed_precondition "The system is not in the state that the call needs.";
    10 Aborted "ABORTED" aborted "The call lost against a concurrent one.";
    11 OutOfRange "OUT_OF_RANGE" out_of_range "The request goes past the valid range.";
    12 Unimplemented "UNIMPLEMENTED" unimplemented "The server has no such method.";
    13 Internal "INTERNAL" internal "An invariant of the server or of the protocol is broken.";
    14 Unavailable "UNAVAILABLE" unavailable "The service cannot be reached now; trying again may help.";
    15 DataLoss "DATA_LOSS" data_loss "Data is lost or damaged for good.";
    16 Unauthenticated "UNAUTHENTICATED" unauthenticated "The caller did not say credibly who it is.";
}

impl Code {
    /// The code with this number, known or not.
    pub const fn from_u32(code: u32) -> Self {
        Self(code)
    }

    /// The number on the wire.
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "CODE" => write!(f, "CODE {}", self.0),
            name => f.write_str(name),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a call ended. Does not allocate when the message is a literal and nothing else is set.
#[derive(Clone, Debug)]
pub struct Status {
    code: Code,
    message: Cow<'static, str>,
    /// Boxed, because a status is moved with every call and seldom has more than a code.
    extra: Option<Box<Extra>>,
}

/// What few statuses have.
#[derive(Clone, Debug, Default)]
struct Extra {
    details: Segment,
    metadata: Metadata,
}

static NO_METADATA: Metadata = Metadata::new();

impl Status {
    /// A status with this code and message.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            extra: None,
        }
    }

    /// Adds binary details, by custom an encoded `google.rpc.Status`.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<Segment>) -> Self {
        let details = details.into();
        if self.extra.is_some() || !details.is_empty() {
            self.extra.get_or_insert_default().details = details;
        }
        self
    }

    /// Adds trailing metadata.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        if self.extra.is_some() || !metadata.is_empty() {
            self.extra.get_or_insert_default().metadata = metadata;
        }
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The message for a person; empty when there is none.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Binary details; empty when there are none.
    pub fn details(&self) -> &[u8] {
        self.extra.as_ref().map_or(&[], |extra| &extra.details)
    }

    /// Trailing metadata.
    pub fn metadata(&self) -> &Metadata {
        let extra = self.extra.as_ref();
        extra.map_or(&NO_METADATA, |extra| &extra.metadata)
    }

    /// Trailing metadata, to change it.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.extra.get_or_insert_default().metadata
    }

    /// Whether the code is OK.
    #[inline]
    pub fn is_ok(&self) -> bool {
        self.code == Code::Ok
    }

    /// Whether this is OK with no message, details or metadata, which costs no byte on the wire.
    #[inline]
    pub fn is_plain_ok(&self) -> bool {
        let no_extra = self.extra.is_none();
        self.is_ok()
            && self.message.is_empty()
            && (no_extra || self.details().is_empty() && self.metadata().is_empty())
    }
}

impl PartialEq for Status {
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code
            && self.message == other.message
            && self.details() == other.details()
            && self.metadata() == other.metadata()
    }
}

impl Eq for Status {}

/// OK, with nothing else.
impl Default for Status {
    #[inline]
    fn default() -> Self {
        Status::ok("")
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.is_empty() {
            true => self.code.fmt(f),
            false => write!(f, "{}: {}", self.code, self.message),
        }
    }
}

impl core::error::Error for Status {}
