//! The hello: what each side says first.

use super::sections::{Reader, Stop};
use crate::ProtocolError;
use crate::limits::Limits;
use alloc::sync::Arc;
use kettle_buf::Payload;

/// First bytes of every connection; the first is neither ASCII nor the start of a TLS record.
pub const MAGIC: [u8; 4] = *b"\xCEKTL";

/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;

/// The lowest version that this crate speaks.
pub const VERSION_MIN: u8 = 1;

/// Length of a hello without its settings, in bytes.
pub(super) const HELLO_BYTES_MIN: usize = 8;

/// Longest settings of a hello in bytes: 170 settings, of which seven exist.
pub(super) const SETTINGS_BYTES_MAX: u16 = 1020;

/// Length of one setting in bytes: u16 id, u32 value.
const SETTING_BYTES: u16 = 6;

/// What one side allows the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub message_bytes_max: u32,
    pub frame_bytes_max: u32,
    pub metadata_bytes_max: u32,
    pub calls_max: u32,
    pub methods_max: u32,
    pub call_credit_bytes: u32,
    pub connection_credit_bytes: u32,
}

/// A setting's id is its place here, from 1 on.
const NAMES: [&str; 7] = [
    "message_bytes_max",
    "frame_bytes_max",
    "metadata_bytes_max",
    "call_credit_bytes",
    "connection_credit_bytes",
    "calls_max",
    "methods_max",
];

/// A client's hello has the first five; it is never called, so calls and methods say nothing.
const CLIENT_SETTINGS: usize = 5;

impl Settings {
    /// In force until the peer's hello is read, and for every setting that it leaves out.
    ///
    /// The length of messages is left to the receiver's judgement; the others are what every
    /// receiver grants, so that a client may send right behind its hello.
    pub const INITIAL: Self = Self {
        message_bytes_max: u32::MAX,
        frame_bytes_max: 64 * 1024,
        metadata_bytes_max: 16 * 1024,
        calls_max: 64,
        methods_max: 0,
        call_credit_bytes: 64 * 1024,
        connection_credit_bytes: 64 * 1024,
    };

    /// What is announced of limits.
    pub fn of(limits: &Limits) -> Self {
        Self {
            message_bytes_max: limits.message_bytes_max,
            frame_bytes_max: limits.frame_bytes_max,
            metadata_bytes_max: limits.metadata_bytes_max,
            calls_max: limits.calls_max,
            methods_max: limits.methods_max.into(),
            call_credit_bytes: limits.call_credit_bytes,
            connection_credit_bytes: limits.connection_credit_bytes,
        }
    }

    /// Longest metadata, and longest status, that may be sent to a peer with these settings: a
    /// quarter of a frame each, so that the head of a frame always fits.
    pub fn sendable_metadata_bytes(&self) -> u32 {
        self.metadata_bytes_max.min(self.frame_bytes_max / 4)
    }

    fn value(&mut self, place: usize) -> &mut u32 {
        match place {
            0 => &mut self.message_bytes_max,
            1 => &mut self.frame_bytes_max,
            2 => &mut self.metadata_bytes_max,
            3 => &mut self.call_credit_bytes,
            4 => &mut self.connection_credit_bytes,
            5 => &mut self.calls_max,
            _ => &mut self.methods_max,
        }
    }
}

/// Limits, each brought into the range of its setting. Most are already, and stay shared.
pub(super) fn announceable(limits: Arc<Limits>) -> Arc<Limits> {
    let (given, mut settings) = (Settings::of(&limits), Settings::of(&limits));
    for place in 0..NAMES.len() {
        let value = settings.value(place);
        *value = least(place).max(*value).min(most(place));
    }
    if settings == given {
        return limits;
    }
    Arc::new(Limits {
        message_bytes_max: settings.message_bytes_max,
        frame_bytes_max: settings.frame_bytes_max,
        call_credit_bytes: settings.call_credit_bytes,
        connection_credit_bytes: settings.connection_credit_bytes,
        ..Limits::clone(&limits)
    })
}

/// The least value that a setting may be announced with: what a client may have used by then and
/// that cannot be refused call by call.
fn least(place: usize) -> u32 {
    match place {
        1 => Settings::INITIAL.frame_bytes_max,
        3 => Settings::INITIAL.call_credit_bytes,
        4 => Settings::INITIAL.connection_credit_bytes,
        _ => 0,
    }
}

/// The most that is announced: credit and one message more must not exceed a CREDIT's 32 bits.
fn most(place: usize) -> u32 {
    match place {
        0 | 3 | 4 => i32::MAX as u32,
        _ => u32::MAX,
    }
}

/// A hello, decoded.
///
/// ```text
///   0               4       5       6               8
///   +---------------+-------+-------+---------------+------------------------+
///   | CE 4B 54 4C   |version|lowest | length        | id u16, value u32 ...  |
///   +---------------+-------+-------+---------------+------------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    /// Version of the frames that follow.
    pub version: u8,
    pub version_min: u8,
    pub settings: Settings,
}

impl Hello {
    /// Decodes the hello at the start of `bytes`, and gives its length in bytes. Settings of another
    /// version than [`VERSION`] are not read.
    pub fn decode(bytes: &[u8]) -> Result<(Hello, usize), Stop> {
        let known = bytes.len().min(MAGIC.len());
        if bytes[..known] != MAGIC[..known] {
            return Err(Stop::violation(
                "a hello that does not start with CE 4B 54 4C",
            ));
        }
        if known < MAGIC.len() {
            return Err(Stop::Need(known + 1)); // a wrong byte is told when it comes
        }
        let Some(fixed) = bytes.first_chunk::<HELLO_BYTES_MIN>() else {
            return Err(Stop::Need(HELLO_BYTES_MIN));
        };
        let (version, version_min) = (fixed[4], fixed[5]);
        let length = u16::from_be_bytes([fixed[6], fixed[7]]);
        if version_min == 0 || version < version_min {
            return Err(Stop::violation(
                "a hello with an impossible range of versions",
            ));
        }
        if SETTINGS_BYTES_MAX < length {
            let (got, max) = (length.into(), SETTINGS_BYTES_MAX.into());
            return Err(ProtocolError::Limit {
                name: "SETTINGS_BYTES_MAX",
                got,
                max,
            }
            .into());
        }
        let end = HELLO_BYTES_MIN + usize::from(length);
        let payload = bytes.get(HELLO_BYTES_MIN..end).ok_or(Stop::Need(end))?;
        let mut hello = Hello {
            version,
            version_min,
            settings: Settings::INITIAL,
        };
        if version == VERSION {
            hello.settings = decode_settings(payload)?;
        }
        Ok((hello, end))
    }

    /// Adds the hello of this side.
    pub fn put(out: &mut Payload, client: bool, settings: &Settings) {
        let count = if client { CLIENT_SETTINGS } else { NAMES.len() };
        let [l0, l1] = (count as u16 * SETTING_BYTES).to_be_bytes();
        out.put_slice(&MAGIC);
        out.put_slice(&[VERSION, VERSION_MIN, l0, l1]);
        let mut settings = *settings;
        for place in 0..count {
            out.put_slice(&(place as u16 + 1).to_be_bytes());
            out.put_slice(&settings.value(place).to_be_bytes());
        }
    }
}

fn decode_settings(payload: &[u8]) -> Result<Settings, Stop> {
    if !payload.len().is_multiple_of(SETTING_BYTES.into()) {
        return Err(Stop::violation("settings that are not whole"));
    }
    let mut reader = Reader::new(payload, 0, payload.len());
    let (mut settings, mut seen) = (Settings::INITIAL, [false; NAMES.len()]);
    while reader.left() != 0 {
        let (id, value) = (reader.u16()?, reader.u32()?);
        let Some(place) = usize::from(id)
            .checked_sub(1)
            .filter(|place| *place < NAMES.len())
        else {
            continue; // an id of a later version
        };
        if core::mem::replace(&mut seen[place], true) {
            return Err(Stop::violation("a setting that occurs twice"));
        }
        if value < least(place) {
            let text = alloc::format!("{} of {value}, under {}", NAMES[place], least(place));
            return Err(Stop::violation(text));
        }
        *settings.value(place) = value;
    }
    Ok(settings)
}
