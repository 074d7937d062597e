//! Options that every family has: `SOL_SOCKET` of `socket(7)`.

use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

use super::{Caller, Socket, cmsg::SOL_SOCKET};
use crate::cred::Cap;
use crate::{Errno, Result};

/// Option names.
#[allow(missing_docs, reason = "the names are those of socket(7)")]
pub mod so {
    pub const DEBUG: i32 = 1;
    pub const REUSEADDR: i32 = 2;
    pub const TYPE: i32 = 3;
    pub const ERROR: i32 = 4;
    pub const DONTROUTE: i32 = 5;
    pub const BROADCAST: i32 = 6;
    pub const SNDBUF: i32 = 7;
    pub const RCVBUF: i32 = 8;
    pub const KEEPALIVE: i32 = 9;
    pub const OOBINLINE: i32 = 10;
    pub const PRIORITY: i32 = 12;
    pub const LINGER: i32 = 13;
    pub const REUSEPORT: i32 = 15;
    pub const PASSCRED: i32 = 16;
    pub const PEERCRED: i32 = 17;
    pub const RCVLOWAT: i32 = 18;
    pub const SNDLOWAT: i32 = 19;
    pub const RCVTIMEO: i32 = 20;
    pub const SNDTIMEO: i32 = 21;
    pub const TIMESTAMP: i32 = 29;
    pub const ACCEPTCONN: i32 = 30;
    pub const PEERSEC: i32 = 31;
    pub const SNDBUFFORCE: i32 = 32;
    pub const RCVBUFFORCE: i32 = 33;
    pub const MARK: i32 = 36;
    pub const PROTOCOL: i32 = 38;
    pub const DOMAIN: i32 = 39;
    pub const PEEK_OFF: i32 = 42;
    pub const PEERGROUPS: i32 = 59;
}

/// `net.core.wmem_default` and `rmem_default`.
pub const DEFAULT_BUFFER: u32 = 212_992;
/// `net.core.wmem_max` and `rmem_max`.
const MAX_BUFFER: u32 = 212_992;
/// The least that `SO_SNDBUF` leaves.
const MIN_SEND: u32 = 4608;
/// The least that `SO_RCVBUF` leaves.
const MIN_RECEIVE: u32 = 2304;
/// A timeout that never ends.
const NEVER: u64 = u64::MAX;

/// Options that are only remembered, a bit of `switches` each.
const SWITCHES: [i32; 9] = [
    so::DEBUG,
    so::REUSEADDR,
    so::DONTROUTE,
    so::BROADCAST,
    so::KEEPALIVE,
    so::OOBINLINE,
    so::REUSEPORT,
    so::PASSCRED,
    so::TIMESTAMP,
];

/// The options of a socket.
#[derive(Debug)]
pub struct SocketOptions {
    switches: AtomicU32,
    send_buffer: AtomicU32,
    receive_buffer: AtomicU32,
    priority: AtomicI32,
    mark: AtomicU32,
    receive_low: AtomicI32,
    /// Nanoseconds; [`NEVER`] by default.
    receive_timeout: AtomicU64,
    send_timeout: AtomicU64,
    /// `struct linger`: on or off, and seconds.
    linger: AtomicU64,
    /// The pending error, zero for none.
    error: AtomicI32,
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions {
            switches: AtomicU32::new(0),
            send_buffer: AtomicU32::new(DEFAULT_BUFFER),
            receive_buffer: AtomicU32::new(DEFAULT_BUFFER),
            priority: AtomicI32::new(0),
            mark: AtomicU32::new(0),
            receive_low: AtomicI32::new(1),
            receive_timeout: AtomicU64::new(NEVER),
            send_timeout: AtomicU64::new(NEVER),
            linger: AtomicU64::new(0),
            error: AtomicI32::new(0),
        }
    }
}

fn int(value: &[u8]) -> Result<i32> {
    match value {
        [a, b, c, d, ..] => Ok(i32::from_ne_bytes([*a, *b, *c, *d])),
        _ => Err(Errno::EINVAL),
    }
}

fn pair(value: &[u8]) -> Option<(i64, i64)> {
    let (a, b) = value.get(..16)?.split_at(8);
    Some((
        i64::from_ne_bytes(a.try_into().ok()?),
        i64::from_ne_bytes(b.try_into().ok()?),
    ))
}

fn switch_bit(name: i32) -> Option<u32> {
    let at = SWITCHES.iter().position(|&s| s == name)?;
    Some(1 << at)
}

/// Copies as much of `value` as fits and returns how much that was.
pub fn put_value(out: &mut [u8], value: &[u8]) -> usize {
    let len = value.len().min(out.len());
    out[..len].copy_from_slice(&value[..len]);
    len
}

/// Decodes the `struct timeval` of a timeout option to nanoseconds.
fn timeout(value: &[u8]) -> Result<u64> {
    let (sec, usec) = pair(value).ok_or(Errno::EINVAL)?;
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::EDOM);
    }
    if sec < 0 {
        return Ok(0);
    }
    if sec == 0 && usec == 0 {
        return Ok(NEVER);
    }
    let ns = (sec as u64).saturating_mul(1_000_000_000);
    Ok(ns.saturating_add(usec as u64 * 1000))
}

/// Encodes a timeout as `struct timeval`.
fn timeval(ns: u64) -> [u8; 16] {
    let (sec, usec) = match ns {
        NEVER => (0, 0),
        ns => (ns / 1_000_000_000, ns % 1_000_000_000 / 1000),
    };
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&sec.to_ne_bytes());
    bytes[8..].copy_from_slice(&usec.to_ne_bytes());
    bytes
}

impl SocketOptions {
    /// Tells whether received messages carry their sender's credentials.
    #[inline]
    pub fn pass_cred(&self) -> bool {
        self.switches.load(Ordering::Relaxed) & (1 << 7) != 0
    }

    /// Takes over the switch for credentials, as an accepted socket does from its listener.
    pub(crate) fn inherit(&self, from: &SocketOptions) {
        self.switches
            .store(from.switches.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Returns the size of the send buffer.
    #[inline]
    pub fn send_buffer(&self) -> usize {
        self.send_buffer.load(Ordering::Relaxed) as usize
    }

    /// Returns how long a receive waits, in nanoseconds; `None` for ever.
    pub fn receive_timeout(&self) -> Option<u64> {
        Some(self.receive_timeout.load(Ordering::Relaxed)).filter(|&ns| ns != NEVER)
    }

    /// Returns how long a send waits, in nanoseconds; `None` for ever.
    pub fn send_timeout(&self) -> Option<u64> {
        Some(self.send_timeout.load(Ordering::Relaxed)).filter(|&ns| ns != NEVER)
    }

    /// Notes an error for the next call on the socket.
    pub fn set_error(&self, error: Errno) {
        self.error.store(error.raw(), Ordering::Relaxed);
    }

    /// Takes the pending error.
    #[inline]
    pub fn take_error(&self) -> Result<()> {
        if self.error.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        match Errno::from_raw(self.error.swap(0, Ordering::Relaxed)) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Tells whether an error is pending.
    #[inline]
    pub fn has_error(&self) -> bool {
        self.error.load(Ordering::Relaxed) != 0
    }

    fn set(&self, who: Caller<'_>, name: i32, value: &[u8]) -> Result<()> {
        if let Some(bit) = switch_bit(name) {
            if int(value)? != 0 {
                self.switches.fetch_or(bit, Ordering::Relaxed);
            } else {
                self.switches.fetch_and(!bit, Ordering::Relaxed);
            }
            return Ok(());
        }
        let doubled = |limit: u32, least: u32| -> Result<u32> {
            // Linux doubles what is asked for, to leave room for its bookkeeping, and reports it so.
            let asked = int(value)? as u32;
            Ok((asked.min(limit)).saturating_mul(2).max(least))
        };
        let forced = || {
            if who.cred.capable(Cap::NetAdmin) {
                Ok(i32::MAX as u32 / 2)
            } else {
                Err(Errno::EPERM)
            }
        };
        match name {
            so::SNDBUF => self
                .send_buffer
                .store(doubled(MAX_BUFFER, MIN_SEND)?, Ordering::Relaxed),
            so::SNDBUFFORCE => self
                .send_buffer
                .store(doubled(forced()?, MIN_SEND)?, Ordering::Relaxed),
            so::RCVBUF => self
                .receive_buffer
                .store(doubled(MAX_BUFFER, MIN_RECEIVE)?, Ordering::Relaxed),
            so::RCVBUFFORCE => self
                .receive_buffer
                .store(doubled(forced()?, MIN_RECEIVE)?, Ordering::Relaxed),
            so::PRIORITY => {
                let priority = int(value)?;
                if !(0..=6).contains(&priority) && !who.cred.capable(Cap::NetAdmin) {
                    return Err(Errno::EPERM);
                }
                self.priority.store(priority, Ordering::Relaxed);
            }
            so::MARK => {
                if !who.cred.capable(Cap::NetAdmin) && !who.cred.capable(Cap::NetRaw) {
                    return Err(Errno::EPERM);
                }
                self.mark.store(int(value)? as u32, Ordering::Relaxed);
            }
            so::LINGER => {
                let bytes: [u8; 8] = value
                    .get(..8)
                    .and_then(|v| v.try_into().ok())
                    .ok_or(Errno::EINVAL)?;
                self.linger
                    .store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
            }
            so::RCVLOWAT => {
                let low = int(value)?;
                let low = if low < 0 { i32::MAX } else { low.max(1) };
                self.receive_low.store(low, Ordering::Relaxed);
            }
            so::RCVTIMEO => self
                .receive_timeout
                .store(timeout(value)?, Ordering::Relaxed),
            so::SNDTIMEO => self.send_timeout.store(timeout(value)?, Ordering::Relaxed),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn get(&self, name: i32, out: &mut [u8]) -> Result<usize> {
        if let Some(bit) = switch_bit(name) {
            let on = self.switches.load(Ordering::Relaxed) & bit != 0;
            return Ok(put_value(out, &i32::from(on).to_ne_bytes()));
        }
        let value = match name {
            so::SNDBUF => self.send_buffer.load(Ordering::Relaxed) as i32,
            so::RCVBUF => self.receive_buffer.load(Ordering::Relaxed) as i32,
            so::PRIORITY => self.priority.load(Ordering::Relaxed),
            so::MARK => self.mark.load(Ordering::Relaxed) as i32,
            so::RCVLOWAT => self.receive_low.load(Ordering::Relaxed),
            so::SNDLOWAT => 1,
            so::ERROR => match self.take_error() {
                Ok(()) => 0,
                Err(error) => error.raw(),
            },
            so::LINGER => {
                let linger = self.linger.load(Ordering::Relaxed);
                return Ok(put_value(out, &linger.to_ne_bytes()));
            }
            so::RCVTIMEO | so::SNDTIMEO => {
                let timeout = match name {
                    so::RCVTIMEO => &self.receive_timeout,
                    _ => &self.send_timeout,
                };
                return Ok(put_value(out, &timeval(timeout.load(Ordering::Relaxed))));
            }
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(put_value(out, &value.to_ne_bytes()))
    }
}

/// `setsockopt(2)`.
///
/// # Errors
/// `ENOPROTOOPT` for an option that does not exist or cannot be set; `EINVAL` for a value that is too short; `EDOM`, `EPERM`.
pub fn set(
    socket: &dyn Socket,
    who: Caller<'_>,
    level: i32,
    name: i32,
    value: &[u8],
) -> Result<()> {
    if level != SOL_SOCKET {
        return socket.set_option(who, level, name, value);
    }
    if name != so::LINGER && value.len() < 4 {
        return Err(Errno::EINVAL);
    }
    match socket.options().set(who, name, value) {
        Err(Errno::ENOPROTOOPT) => socket.set_option(who, level, name, value),
        result => result,
    }
}

/// `getsockopt(2)`: writes the value to `out`, cut off where it is too long, and returns its size.
///
/// # Errors
/// `ENOPROTOOPT`.
pub fn get(socket: &dyn Socket, level: i32, name: i32, out: &mut [u8]) -> Result<usize> {
    if level != SOL_SOCKET {
        return socket.get_option(level, name, out);
    }
    let value = match name {
        so::TYPE => socket.kind() as i32,
        so::DOMAIN => socket.domain().into(),
        so::PROTOCOL => socket.protocol() as i32,
        _ => {
            return match socket.options().get(name, out) {
                Err(Errno::ENOPROTOOPT) => socket.get_option(level, name, out),
                result => result,
            };
        }
    };
    Ok(put_value(out, &value.to_ne_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_convert_both_ways() {
        let encoded = timeval(2_500_000_000);
        assert_eq!(timeout(&encoded), Ok(2_500_000_000));
        assert_eq!(timeout(&timeval(NEVER)), Ok(NEVER));
        let mut bad = encoded;
        bad[8..].copy_from_slice(&1_000_000_i64.to_ne_bytes());
        assert_eq!(timeout(&bad), Err(Errno::EDOM));
        assert_eq!(timeout(&encoded[..15]), Err(Errno::EINVAL));
        assert_eq!(switch_bit(so::PASSCRED), Some(1 << 7));
    }
}
