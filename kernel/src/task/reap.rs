//! Address spaces whose last user was a CPU that still had them loaded.
//!
//! A CPU finds that out as it turns to another task, with preemption off and perhaps with interrupts masked: no place to
//! take a large address space apart. So a task does it.

use alloc::sync::Arc;

use executor::irq::IrqEvent;
use executor::sync::SpinLockIrq;

use crate::mm::AddressSpace;

/// Room for spaces that wait for their end.
const CAPACITY: usize = 32;

/// Those that wait, the first `len` of them. Lock: leaf.
struct Dead {
    spaces: [Option<Arc<AddressSpace>>; CAPACITY],
    len: usize,
}

static DEAD: SpinLockIrq<Dead> = SpinLockIrq::new(Dead {
    spaces: [const { None }; CAPACITY],
    len: 0,
});
static FOUND: IrqEvent = IrqEvent::new();

/// Spawns the task.
///
/// # Context
/// Boot, in a task, once.
pub(super) fn init() {
    executor::spawn("mm_reaper", async {
        loop {
            FOUND.wait().await;
            while let Some(space) = DEAD.with(pop) {
                drop(space);
            }
        }
    })
    .detach();
}

fn pop(dead: &mut Dead) -> Option<Arc<AddressSpace>> {
    dead.len = dead.len.checked_sub(1)?;
    dead.spaces[dead.len].take()
}

/// Gives up a reference to `space`, and leaves the rest to the task if it is the last.
///
/// # Context
/// Task or the executor's loop; interrupts may be masked.
#[inline]
pub(super) fn release(space: Arc<AddressSpace>) {
    if Arc::strong_count(&space) == 1 {
        reap(space);
    }
    // Where another reference goes at this very moment, ours may be the last all the same: slower, and not wrong.
}

#[cold]
fn reap(space: Arc<AddressSpace>) {
    let mut space = Some(space);
    DEAD.with(|dead| {
        if dead.len < CAPACITY {
            dead.spaces[dead.len] = space.take();
            dead.len += 1;
        }
    });
    // Where there was no room, it ends here and now.
    drop(space);
    FOUND.raise();
}
