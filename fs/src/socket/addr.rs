//! Socket addresses as bytes.

/// The size of `struct sockaddr_storage`, the longest address there is.
pub const MAX_LEN: usize = 128;

/// An address of any family, as user space sees it.
#[derive(Clone, Copy)]
pub struct SocketAddr {
    bytes: [u8; MAX_LEN],
    len: u8,
}

impl SocketAddr {
    /// Makes an address of `bytes`, of which those past 128 are dropped.
    pub fn new(bytes: &[u8]) -> SocketAddr {
        let len = bytes.len().min(MAX_LEN);
        let mut addr = SocketAddr {
            bytes: [0; MAX_LEN],
            len: len as u8,
        };
        addr.bytes[..len].copy_from_slice(&bytes[..len]);
        addr
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }
}

impl core::fmt::Debug for SocketAddr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SocketAddr({})", self.as_bytes().escape_ascii())
    }
}

impl PartialEq for SocketAddr {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for SocketAddr {}
