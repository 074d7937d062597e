//! Control messages: what goes along with data, as `struct cmsghdr` lays it out.

use alloc::vec::Vec;

use super::Ucred;
use crate::{Errno, Result};

/// The level of socket options and of the messages here.
pub const SOL_SOCKET: i32 = 1;
/// Open files.
pub const SCM_RIGHTS: i32 = 1;
/// The sender's identity.
pub const SCM_CREDENTIALS: i32 = 2;
/// The most files that go along with one message.
pub const SCM_MAX_FD: usize = 253;
/// The size of the header: length, level, type.
const HEADER: usize = 16;

/// What a program sends along.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Descriptors to send (`SCM_RIGHTS`).
    pub fds: Vec<i32>,
    /// The identity to send (`SCM_CREDENTIALS`).
    pub creds: Option<Ucred>,
}

fn word(bytes: &[u8]) -> i32 {
    i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Rounds up to the alignment of a header.
const fn align(len: usize) -> usize {
    (len + 7) & !7
}

impl Control {
    /// Decodes the control buffer of a `sendmsg`. Messages of other levels are passed over.
    ///
    /// # Errors
    /// `EINVAL` for a length that does not fit, a type that is not known, or more than [`SCM_MAX_FD`] files; `ENOMEM`.
    pub fn parse(mut buf: &[u8]) -> Result<Control> {
        let mut control = Control::default();
        while buf.len() >= HEADER {
            let len = [0, 1, 2, 3, 4, 5, 6, 7].map(|i| buf[i]);
            let len = usize::try_from(u64::from_ne_bytes(len)).map_err(|_| Errno::EINVAL)?;
            if len < HEADER || len > buf.len() {
                return Err(Errno::EINVAL);
            }
            let (level, kind) = (word(&buf[8..]), word(&buf[12..]));
            let data = &buf[HEADER..len];
            match (level, kind) {
                (SOL_SOCKET, SCM_RIGHTS) => {
                    let count = data.len() / 4;
                    if control.fds.len() + count > SCM_MAX_FD {
                        return Err(Errno::EINVAL);
                    }
                    control.fds.try_reserve(count).map_err(|_| Errno::ENOMEM)?;
                    control.fds.extend(data.chunks_exact(4).map(word));
                }
                (SOL_SOCKET, SCM_CREDENTIALS) => {
                    let bytes = data.try_into().map_err(|_| Errno::EINVAL)?;
                    control.creds = Some(Ucred::from_bytes(bytes));
                }
                (SOL_SOCKET, _) => return Err(Errno::EINVAL),
                _ => {}
            }
            buf = buf.get(align(len)..).unwrap_or(&[]);
        }
        Ok(control)
    }
}

/// Writes control messages to a program's buffer.
#[derive(Debug)]
pub struct ControlWriter<'a> {
    buf: &'a mut [u8],
    used: usize,
    /// Something did not fit (`MSG_CTRUNC`).
    pub truncated: bool,
}

impl<'a> ControlWriter<'a> {
    /// Starts with an empty `buf`.
    pub fn new(buf: &'a mut [u8]) -> Self {
        ControlWriter {
            buf,
            used: 0,
            truncated: false,
        }
    }

    /// Returns how many bytes are used, which becomes `msg_controllen`.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Adds a message; what does not fit of it is cut off.
    pub fn put(&mut self, level: i32, kind: i32, data: &[u8]) {
        let left = self.buf.len() - self.used;
        if left < HEADER {
            self.truncated = true;
            return;
        }
        let len = (HEADER + data.len()).min(left);
        self.truncated |= len < HEADER + data.len();
        let to = &mut self.buf[self.used..];
        to[..8].copy_from_slice(&(len as u64).to_ne_bytes());
        to[8..12].copy_from_slice(&level.to_ne_bytes());
        to[12..16].copy_from_slice(&kind.to_ne_bytes());
        to[HEADER..len].copy_from_slice(&data[..len - HEADER]);
        self.used += align(len).min(left);
    }

    /// Returns how many descriptors an `SCM_RIGHTS` message has room for.
    pub fn room_for_fds(&self) -> usize {
        let left = self.buf.len() - self.used;
        left.saturating_sub(HEADER) / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(messages: &[(i32, i32, Vec<u8>)]) -> Vec<u8> {
        let mut buf = alloc::vec![0; 4096];
        let mut writer = ControlWriter::new(&mut buf);
        for (level, kind, data) in messages {
            writer.put(*level, *kind, data);
        }
        let used = writer.used();
        buf.truncate(used);
        buf
    }

    #[test]
    fn rights_and_credentials_come_back() {
        let creds = Ucred {
            pid: 7,
            uid: 8,
            gid: 9,
        };
        let fds = [3_i32, 5].map(i32::to_ne_bytes).concat();
        let buf = encode(&[
            (SOL_SOCKET, SCM_RIGHTS, fds),
            (99, 1, alloc::vec![1, 2, 3]),
            (SOL_SOCKET, SCM_CREDENTIALS, creds.to_bytes().to_vec()),
        ]);
        let control = Control::parse(&buf).unwrap();
        assert_eq!(control.fds, [3, 5]);
        assert_eq!(control.creds, Some(creds));
    }

    #[test]
    fn bad_lengths_and_types_are_refused() {
        let mut buf = encode(&[(SOL_SOCKET, SCM_RIGHTS, alloc::vec![0; 4])]);
        buf[0] = 15;
        assert_eq!(Control::parse(&buf), Err(Errno::EINVAL));
        buf[..8].copy_from_slice(&u64::MAX.to_ne_bytes());
        assert_eq!(Control::parse(&buf), Err(Errno::EINVAL));
        let many = encode(&[(SOL_SOCKET, SCM_RIGHTS, alloc::vec![0; 4 * 254])]);
        assert_eq!(Control::parse(&many), Err(Errno::EINVAL));
        let short = encode(&[(SOL_SOCKET, SCM_CREDENTIALS, alloc::vec![0; 8])]);
        assert_eq!(Control::parse(&short), Err(Errno::EINVAL));
        let unknown = encode(&[(SOL_SOCKET, 77, alloc::vec![])]);
        assert_eq!(Control::parse(&unknown), Err(Errno::EINVAL));
        assert_eq!(Control::parse(&[0; 15]), Ok(Control::default()));
    }

    #[test]
    fn what_does_not_fit_is_cut_off() {
        let mut buf = [0; 20];
        let mut writer = ControlWriter::new(&mut buf);
        assert_eq!(writer.room_for_fds(), 1);
        writer.put(SOL_SOCKET, SCM_CREDENTIALS, &[1; 12]);
        assert!(writer.truncated);
        assert_eq!(writer.used(), 20);
        writer.put(SOL_SOCKET, SCM_RIGHTS, &[0; 4]);
        assert_eq!(writer.used(), 20);
        assert_eq!(buf[0], 20);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Control::parse(&bytes);
        }
    }
}
