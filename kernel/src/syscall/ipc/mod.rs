//! System V IPC: semaphores, message queues, shared memory.

mod msg;
mod sem;
mod shm;

use fs::{Errno, Result};

use super::{Call, Plain};

pub use msg::{receive as msg_receive_wait, send as msg_send_wait};
pub use sem::wait as sem_wait;

/// The calls of this area.
pub const CALLS: &[(u16, Plain)] = &[
    (29, shm::shmget),
    (30, shm::shmat),
    (31, shm::shmctl),
    (64, sem::semget),
    (65, sem::semop),
    (66, sem::semctl),
    (67, shm::shmdt),
    (68, msg::msgget),
    (69, msg::msgsnd),
    (70, msg::msgrcv),
    (71, msg::msgctl),
    (220, sem::semtimedop),
];

/// The number of an object, as the `ctl` calls check it.
fn id(call: &Call<'_>) -> Result<i32> {
    let id = call.int(0);
    if id < 0 { Err(Errno::EINVAL) } else { Ok(id) }
}
