//! Socket addresses in user memory.

use fs::socket::SocketAddr;
use fs::{Errno, Result};

use crate::usermem;

/// The size of `struct sockaddr_storage`.
const MAX_LEN: usize = 128;

/// Reads an address of `len` bytes.
///
/// # Errors
/// `EINVAL` for a length that cannot be; `EFAULT`.
pub fn read(addr: u64, len: i32) -> Result<SocketAddr> {
    let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    if len > MAX_LEN {
        return Err(Errno::EINVAL);
    }
    let mut bytes = [0; MAX_LEN];
    usermem::read_bytes(addr, &mut bytes[..len])?;
    Ok(SocketAddr::new(&bytes[..len]))
}

/// Writes an address to a buffer whose length is at `len_at`, cut off where it does not fit, and its whole length there.
///
/// # Errors
/// `EINVAL` for a negative length; `EFAULT`.
pub fn write(addr: u64, len_at: u64, value: &SocketAddr) -> Result<()> {
    let room = usermem::read::<i32>(len_at)?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let bytes = value.as_bytes();
    usermem::write_bytes(addr, &bytes[..bytes.len().min(room)])?;
    usermem::write(len_at, &(bytes.len() as i32))
}
