//! How much there may be: `/proc/sys/fs/mqueue` and `RLIMIT_MSGQUEUE`.

use fs::{Cap, Errno, Result, Tunable};

use super::Attr;
use crate::process::Thread;
use crate::process::rlimit::Resource;
use crate::process::user::Charge;

/// Messages of a queue that is not told otherwise.
pub static MSG_DEFAULT: Tunable = Tunable::new(10, 1, HARD_MSG_MAX);
/// Most messages of a queue.
pub static MSG_MAX: Tunable = Tunable::new(10, 1, HARD_MSG_MAX);
/// Bytes of a message in a queue that is not told otherwise.
pub static MSGSIZE_DEFAULT: Tunable = Tunable::new(8192, 128, HARD_MSGSIZE_MAX);
/// Most bytes of a message.
pub static MSGSIZE_MAX: Tunable = Tunable::new(8192, 128, HARD_MSGSIZE_MAX);
/// Queues.
pub static QUEUES_MAX: Tunable = Tunable::new(256, 0, i32::MAX as i64);

/// Bounds for those who may pass the others (`CAP_SYS_RESOURCE`).
const HARD_MSG_MAX: i64 = 65536;
const HARD_MSGSIZE_MAX: i64 = 16 << 20;
/// Priorities are below.
pub const PRIORITIES: u32 = 32768;

/// Bytes that a message costs besides its own, and those of a priority, as Linux counts them.
const MESSAGE_COST: u64 = 48;
const PRIORITY_COST: u64 = 48;

/// What queues are like unless `mq_open` is told.
pub fn default() -> Attr {
    Attr {
        max: MSG_MAX.count().min(MSG_DEFAULT.count()),
        size: MSGSIZE_MAX.count().min(MSGSIZE_DEFAULT.count()),
    }
}

/// Checks what `mq_open` was told.
///
/// # Errors
/// `EINVAL`.
pub fn check(thread: &Thread, max: i64, size: i64) -> Result<Attr> {
    let (most, longest) = if thread.cred().capable(Cap::SysResource) {
        (HARD_MSG_MAX, HARD_MSGSIZE_MAX)
    } else {
        (MSG_MAX.get(), MSGSIZE_MAX.get())
    };
    if max <= 0 || size <= 0 || max > most || size > longest {
        return Err(Errno::EINVAL);
    }
    Ok(Attr {
        max: max as usize,
        size: size as usize,
    })
}

/// Has the user of `thread` pay for a queue.
///
/// # Errors
/// `EMFILE` beyond `RLIMIT_MSGQUEUE`.
pub fn charge(thread: &Thread, attr: Attr) -> Result<Charge> {
    let max = attr.max as u64;
    let priorities = max.min(u64::from(PRIORITIES));
    let bytes = max * (attr.size as u64 + MESSAGE_COST) + priorities * PRIORITY_COST;
    let user = thread.with_shared(|shared| shared.user.clone());
    let limit = thread.process().limit(Resource::MsgQueue);
    Charge::new(user, |user| &user.queue_bytes, bytes, limit).ok_or(Errno::EMFILE)
}
