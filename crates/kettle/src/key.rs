//! How a loop names its connections.

/// A connection of a loop: a place in its table, and a number that tells its users apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeerKey {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl PeerKey {
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(crate) fn from_u64(key: u64) -> Self {
        Self {
            slot: key as u32,
            generation: (key >> 32) as u32,
        }
    }
}
