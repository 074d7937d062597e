//! rseq(2).

use fs::Errno;

use super::{Call, Plain, SysResult};
use crate::process::rseq;

/// The calls of this file.
pub const CALLS: &[(u16, Plain)] = &[(334, rseq_call)];

const UNREGISTER: i32 = 1;

fn rseq_call(call: &mut Call<'_>) -> SysResult {
    let (addr, len) = (call.arg(0), u64::from(call.arg(1) as u32));
    let signature = call.arg(3) as u32;
    match call.int(2) {
        0 => rseq::register(call.thread, addr, len, signature)?,
        UNREGISTER => rseq::unregister(call.thread, addr, len, signature)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
