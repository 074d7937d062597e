//! The pool of stacks on which loops go on whose polls were suspended.
//!
//! Contexts: stacks are taken and given where polls are suspended, with interrupts masked; a task makes new ones and frees
//! what is too much. Lock: [`POOL`], interrupts masked, leaf.
//!
//! Limits: the task keeps [`target`] stacks ready, so what is taken comes back soon; there are [`limit`] in all at most. Of
//! those that are ready, fair tasks are preempted with the upper half only: the lower is for real-time tasks. Where there
//! is none the poll runs on: less prompt, never wrong (rule 12).
//!
//! The task is a real-time one itself. As a fair one it could not run where it is needed most: with the upper half gone it
//! might preempt nothing, so polls that compute would hold off the stacks that others need to preempt them. It is woken
//! while a quarter of the target is still above that half, and preempts with what is in the lower one if it has to.

use core::sync::atomic::{AtomicUsize, Ordering};

use executor::irq::IrqEvent;
use executor::sync::SpinLockIrq;
use executor::{Spawner, Urgency};

use crate::arch::smp;
use crate::mm::vmalloc::KernelStack;

/// Room of the pool, and so the most stacks that there can be.
const CAPACITY: usize = 512;

struct Pool {
    ready: [Option<KernelStack>; CAPACITY],
    len: usize,
}

static POOL: SpinLockIrq<Pool> = SpinLockIrq::new(Pool {
    ready: [const { None }; CAPACITY],
    len: 0,
});

/// Stacks that were made and not freed, in the pool or in use.
static MADE: AtomicUsize = AtomicUsize::new(0);
/// How many are to be ready; zero until [`init`].
static TARGET: AtomicUsize = AtomicUsize::new(0);
/// Raised when there are too few stacks ready, or too many.
static UNBALANCED: IrqEvent = IrqEvent::new();

/// How many stacks are kept ready.
pub fn target() -> usize {
    TARGET.load(Ordering::Relaxed)
}

/// How many stacks there are at most, ready or in use.
pub fn limit() -> usize {
    (target() * 8).min(CAPACITY)
}

/// Stacks that are ready, and that there are.
pub fn counts() -> (usize, usize) {
    (POOL.lock().len, MADE.load(Ordering::Relaxed))
}

/// Fills the pool, and spawns the task that keeps it filled.
///
/// # Context
/// Boot, in a task, once.
pub fn init() {
    TARGET.store(4 + 2 * smp::cpu_count() as usize, Ordering::Relaxed);
    balance();
    let task = async {
        loop {
            UNBALANCED.wait().await;
            balance();
        }
    };
    let spawner = Spawner::new("stacks").urgency(Urgency::Interrupt);
    let spawned = spawner.try_spawn(task);
    spawned.expect("there is memory at boot").detach();
}

/// Takes a stack, unless what is left is kept for those that are `urgent`.
///
/// # Context
/// Any but hard interrupts.
pub fn take(urgent: bool) -> Option<KernelStack> {
    let target = target();
    let mut pool = POOL.lock();
    let keep = if urgent { 0 } else { target / 2 };
    let taken = if pool.len > keep {
        pool.len -= 1;
        let len = pool.len;
        pool.ready[len].take()
    } else {
        None
    };
    let short = pool.len <= target / 2 + target / 4;
    drop(pool);
    if short && MADE.load(Ordering::Relaxed) < limit() {
        UNBALANCED.raise();
    }
    taken
}

/// Gives a stack that nothing stands on.
///
/// # Context
/// Any but hard interrupts.
pub fn give(stack: KernelStack) {
    let mut pool = POOL.lock();
    let len = pool.len;
    // There is room: no more were made.
    pool.ready[len] = Some(stack);
    pool.len += 1;
    let much = pool.len > 2 * target();
    drop(pool);
    if much {
        UNBALANCED.raise();
    }
}

/// Makes a stack that will be given here.
pub(super) fn make() -> Option<KernelStack> {
    let stack = KernelStack::new()?;
    #[cfg(debug_assertions)]
    paint::paint(&stack);
    MADE.fetch_add(1, Ordering::Relaxed);
    Some(stack)
}

/// Counts a stack as gone that is left for ever with what stands on it; false takes that back.
pub(super) fn lose(lost: bool) {
    match lost {
        true => MADE.fetch_sub(1, Ordering::Relaxed),
        false => MADE.fetch_add(1, Ordering::Relaxed),
    };
}

/// The most bytes that were ever used of one of the stacks that are ready.
///
/// # Context
/// Task; interrupts are masked for as long as it takes to look at all of them. Checked builds only.
#[cfg(debug_assertions)]
pub fn deepest_use() -> usize {
    let pool = POOL.lock();
    let ready = pool.ready[..pool.len].iter().flatten();
    ready.map(paint::used).max().unwrap_or(0)
}

/// How deep stacks are used: what was never written shows the paint.
#[cfg(debug_assertions)]
#[allow(unsafe_code, reason = "looks at stacks")]
mod paint {
    use crate::mm::vmalloc::{KernelStack, STACK_SIZE};

    const PAINT: u64 = 0x5a5a_5a5a_5a5a_5a5a;
    const WORDS: usize = STACK_SIZE / size_of::<u64>();

    fn words(stack: &KernelStack) -> *mut [u64; WORDS] {
        stack.bottom() as *mut [u64; WORDS]
    }

    /// Covers a new stack.
    pub(super) fn paint(stack: &KernelStack) {
        // SAFETY: the stack is mapped, of this size, and its owner's alone, who lends it.
        unsafe { (*words(stack)).fill(PAINT) };
    }

    /// How many bytes at the top have lost their paint. Nothing stands on the stack.
    pub(super) fn used(stack: &KernelStack) -> usize {
        // SAFETY: as in `paint`.
        let words = unsafe { &*words(stack) };
        let untouched = words.iter().take_while(|word| **word == PAINT).count();
        (WORDS - untouched) * size_of::<u64>()
    }
}

/// Makes stacks until enough are ready, or frees what is more than one and a half times as many: well below where
/// [`give`] asks for it, or the stack that the task itself preempts with would, on its return, have it run again.
fn balance() {
    loop {
        let (ready, made) = counts();
        if ready < target() && made < limit() {
            let Some(stack) = make() else {
                return;
            };
            give(stack);
        } else if ready > target() + target() / 2 {
            let excess = {
                let mut pool = POOL.lock();
                pool.len -= 1;
                let len = pool.len;
                pool.ready[len].take()
            };
            MADE.fetch_sub(1, Ordering::Relaxed);
            drop(excess);
        } else {
            return;
        }
    }
}
