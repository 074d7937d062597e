//! Sockets of the machine itself: pairs, streams, datagrams, passed descriptors.

mod control;
mod names;
mod streams;

use crate::cases::parts;
use crate::sys::*;

parts![streams, names, control];

/// Sends without a signal where nobody reads any more.
fn send(fd: i32, data: &[u8], flags: i32) -> Result<usize> {
    crate::sys::send(fd, data, flags | libc::MSG_NOSIGNAL)
}

fn recv(fd: i32, len: usize, flags: i32) -> Result<Vec<u8>> {
    let mut data = vec![0; len];
    let got = crate::sys::recv(fd, &mut data, flags)?;
    data.truncate(got);
    Ok(data)
}
