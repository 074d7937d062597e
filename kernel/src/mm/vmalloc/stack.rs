//! Kernel stacks with a guard page beneath them.

use super::{alloc, free};
use crate::mm::phys::PAGE_SIZE;
use crate::mm::sync::SpinLock;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes of a kernel stack.
pub const STACK_SIZE: usize = 32 << 10;
const KEEP: usize = 8;

/// Stacks that are mapped but not used, for the next who want one.
static SPARE: SpinLock<Spare> = SpinLock::new(Spare {
    bottoms: [0; KEEP],
    len: 0,
});

static STACKS: AtomicUsize = AtomicUsize::new(0);

/// How many stacks there are, spare ones included.
pub fn stacks() -> usize {
    STACKS.load(Relaxed)
}

struct Spare {
    bottoms: [usize; KEEP],
    len: usize,
}

/// A kernel stack. The page beneath it is never mapped.
#[derive(Debug)]
pub struct KernelStack {
    bottom: usize,
}

impl KernelStack {
    /// Makes a stack; `None` where memory is short.
    ///
    /// # Context
    /// Task. Takes the vmalloc lock.
    pub fn new() -> Option<KernelStack> {
        let spare = {
            let mut spare = SPARE.lock();
            spare.len.checked_sub(1).map(|len| {
                spare.len = len;
                spare.bottoms[len]
            })
        };
        let bottom = match spare {
            Some(bottom) => bottom,
            None => {
                let bottom = alloc(STACK_SIZE / PAGE_SIZE)?;
                STACKS.fetch_add(1, Relaxed);
                bottom.as_ptr() as usize
            }
        };
        Some(KernelStack { bottom })
    }

    /// Takes over a stack that was forgotten.
    ///
    /// # Safety
    /// `bottom` is that of a stack that was forgotten and that nothing stands on, and is used once.
    #[allow(unsafe_code, reason = "makes an owner of an address")]
    pub unsafe fn from_bottom(bottom: usize) -> KernelStack {
        KernelStack { bottom }
    }

    /// The lowest address of the stack.
    pub fn bottom(&self) -> usize {
        self.bottom
    }

    /// The address behind the stack's last byte, aligned to a page.
    pub fn top(&self) -> usize {
        self.bottom + STACK_SIZE
    }

    /// Whether an address lies in the guard page: an overflow.
    pub fn guards(&self, address: usize) -> bool {
        (self.bottom - PAGE_SIZE..self.bottom).contains(&address)
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        let mut spare = SPARE.lock();
        if spare.len < KEEP {
            let len = spare.len;
            spare.bottoms[len] = self.bottom;
            spare.len += 1;
            return;
        }
        drop(spare);
        STACKS.fetch_sub(1, Relaxed);
        if let Some(bottom) = NonNull::new(self.bottom as *mut u8) {
            free(bottom);
        }
    }
}
