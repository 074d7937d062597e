//! A validator of spinning locks, for debug builds: Linux's lockdep.
//!
//! Locks that are made at the same place of the source are one *class*. The validator notes which classes are taken while which
//! others are held, and in which context; so it finds what may deadlock when it could happen, not when it does:
//!
//! - a lock taken while one of its class is held ([`Report::Recursion`]);
//! - two classes taken in either order, directly or by way of others ([`Report::Order`]);
//! - under a class that hard interrupts take, one that is taken elsewhere with interrupts let in: its holder there can be
//!   interrupted by who then waits for the first, which we hold while we wait for the second ([`Report::Interrupt`]);
//! - a lock that is still held when a poll ends ([`Report::HeldAtPollEnd`]).
//!
//! Contexts: any. It takes no lock and allocates nothing: classes and orders are in tables of fixed size, and what does not fit
//! is not looked at. It is off until [`enable`], and not there at all in builds without debug assertions.
//!
//! Limits: each order is reported once. Locks of one class that are taken in a fixed order of their own, parent before child,
//! are reported as recursion: make them at different places.

use core::{
    cell::UnsafeCell,
    fmt,
    panic::Location,
    ptr,
    sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering},
};

use crate::cpu;

/// A place of the source where locks are made.
pub type Site = &'static Location<'static>;

/// What may go wrong with a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// A lock is taken while one of its class is held on the same CPU.
    Recursion(Site),
    /// The second is taken while the first is held, and elsewhere it is the other way round.
    Order(Site, Site),
    /// Hard interrupts take the first, under which the second is taken, which is taken elsewhere with interrupts let in.
    Interrupt(Site, Site),
    /// The lock is held at the end of a poll.
    HeldAtPollEnd(Site),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recursion(site) => {
                write!(
                    f,
                    "the lock of {site} is taken while one of its class is held"
                )
            }
            Self::Order(held, wanted) => write!(
                f,
                "the lock of {wanted} is taken under that of {held}, and elsewhere that one under it"
            ),
            Self::Interrupt(held, wanted) => write!(
                f,
                "the lock of {wanted}, taken elsewhere with interrupts on, is taken under that of {held}, which interrupts take"
            ),
            Self::HeldAtPollEnd(site) => {
                write!(f, "the lock of {site} is held at the end of a poll")
            }
        }
    }
}

/// Classes that there is room for.
const CLASSES: usize = 512;
/// Locks that a CPU holds at a time, interrupts included, that there is room for.
const HELD: usize = 24;

const IN_HARDIRQ: u8 = 1;
const IRQS_ON: u8 = 1 << 1;
const REPORTED: u8 = 1 << 2;

static SITES: [AtomicPtr<Location<'static>>; CLASSES] =
    [const { AtomicPtr::new(ptr::null_mut()) }; CLASSES];
static USES: [AtomicU8; CLASSES] = [const { AtomicU8::new(0) }; CLASSES];
/// Bit `b` of row `a`: `b` was taken while `a` was held.
static ORDERS: [[AtomicU64; CLASSES / 64]; CLASSES] =
    [const { [const { AtomicU64::new(0) }; CLASSES / 64] }; CLASSES];
/// Who is told; null while the validator is off.
static REPORTER: AtomicPtr<fn(&Report)> = AtomicPtr::new(ptr::null_mut());

/// Switches the validator on, on all CPUs: `reporter` is told what it finds, by the code that is about to take the lock.
///
/// # Context
/// Any. Locks that are held already are not known.
pub fn enable(reporter: &'static fn(&Report)) {
    REPORTER.store(ptr::from_ref(reporter).cast_mut(), Ordering::Release);
}

fn reporter() -> Option<&'static fn(&Report)> {
    // SAFETY: null, or stored by `enable` from a reference that lives for ever.
    unsafe { REPORTER.load(Ordering::Acquire).as_ref() }
}

/// The class's place in the tables. `None` when they are full.
fn class_of(site: Site) -> Option<u16> {
    let first = ptr::from_ref(site).addr() / align_of::<Location<'_>>();
    let wanted = ptr::from_ref(site).cast_mut();
    for i in (0..CLASSES).map(|i| (first + i) % CLASSES) {
        let found =
            SITES[i].compare_exchange(ptr::null_mut(), wanted, Ordering::AcqRel, Ordering::Acquire);
        match found {
            Ok(_) => return Some(i as u16),
            // The same place may have several addresses.
            Err(there) if there == wanted || site_at(i) == Some(site) => return Some(i as u16),
            Err(_) => {}
        }
    }
    None
}

fn site_at(class: usize) -> Option<Site> {
    // SAFETY: null, or stored by `class_of` from a reference that lives for ever.
    unsafe { SITES[class].load(Ordering::Acquire).as_ref() }
}

fn row(class: u16) -> &'static [AtomicU64; CLASSES / 64] {
    &ORDERS[usize::from(class)]
}

/// Notes that `then` is taken while `held` is. True if that is new.
fn note_order(held: u16, then: u16) -> bool {
    let (word, mask) = (&row(held)[usize::from(then) / 64], 1 << (then % 64));
    word.load(Ordering::Relaxed) & mask == 0 && word.fetch_or(mask, Ordering::Relaxed) & mask == 0
}

/// Whether `to` has been taken while `from` was held, or while one was that was taken under it, and so on.
fn leads_to(from: u16, to: u16) -> bool {
    let mut seen = [0_u64; CLASSES / 64];
    let mut open = [0_u64; CLASSES / 64];
    open[usize::from(from) / 64] |= 1 << (from % 64);
    while let Some(word) = open.iter().position(|word| *word != 0) {
        let class = (word * 64) as u16 + open[word].trailing_zeros() as u16;
        open[word] &= open[word] - 1;
        seen[word] |= 1 << (class % 64);
        if class == to {
            return true;
        }
        for (i, next) in row(class).iter().enumerate() {
            open[i] |= next.load(Ordering::Relaxed) & !seen[i];
        }
    }
    false
}

/// A lock that is held.
#[derive(Clone, Copy)]
struct Holding {
    class: u16,
    /// Which contexts it was taken in: locks of an interrupt are not taken under those of what it interrupted.
    context: u32,
}

/// What a CPU holds, the last taken last.
struct Held {
    locks: [Holding; HELD],
    len: usize,
}

struct PerCpuHeld(UnsafeCell<Held>);

// SAFETY: each is used by its own CPU, with interrupts masked.
unsafe impl Sync for PerCpuHeld {}

impl PerCpuHeld {
    const fn new() -> Self {
        Self(UnsafeCell::new(Held {
            locks: [Holding {
                class: 0,
                context: 0,
            }; HELD],
            len: 0,
        }))
    }
}

#[cfg(target_os = "none")]
static CPUS: [PerCpuHeld; cpu::MAX_CPUS] = [const { PerCpuHeld::new() }; cpu::MAX_CPUS];
#[cfg(not(target_os = "none"))]
std::thread_local! {
    static CPU: PerCpuHeld = const { PerCpuHeld::new() };
}

/// Calls `f` with what this CPU holds, interrupts masked.
fn with_held<R>(f: impl FnOnce(&mut Held) -> R) -> R {
    let _irq = cpu::irq_save();
    #[cfg(target_os = "none")]
    {
        // SAFETY: this CPU's own, and nothing comes between; `f` takes no lock.
        f(unsafe { &mut *CPUS[cpu::id() as usize].0.get() })
    }
    #[cfg(not(target_os = "none"))]
    // SAFETY: this thread's own; `f` takes no lock.
    CPU.with(|held| f(unsafe { &mut *held.0.get() }))
}

/// The contexts counted in the word: soft and hard interrupts.
fn context() -> u32 {
    cpu::preempt_word() & 0x001f_0100
}

/// What may be wrong with taking a lock of `class` here.
fn check(class: u16, site: Site, irqs_were_on: bool) -> Option<Report> {
    let here = context();
    let uses = note_use(class, irqs_were_on);
    with_held(|held| {
        let mut found = None;
        for lock in held.locks[..held.len].iter().filter(|l| l.context == here) {
            if lock.class == class {
                return Some(Report::Recursion(site));
            }
            let Some(outer) = site_at(lock.class.into()) else {
                continue;
            };
            if note_order(lock.class, class) && leads_to(class, lock.class) {
                found = Some(Report::Order(outer, site));
            }
            let wanted_by_interrupts =
                USES[usize::from(lock.class)].load(Ordering::Relaxed) & IN_HARDIRQ != 0;
            if wanted_by_interrupts
                && uses & IRQS_ON != 0
                && USES[usize::from(class)].fetch_or(REPORTED, Ordering::Relaxed) & REPORTED == 0
            {
                found = Some(Report::Interrupt(outer, site));
            }
        }
        found
    })
}

/// Notes in which context a lock of `class` is taken, and gives all it has been taken in.
fn note_use(class: u16, irqs_on: bool) -> u8 {
    let here = match cpu::in_hardirq() {
        true => IN_HARDIRQ,
        false if irqs_on => IRQS_ON,
        false => 0,
    };
    let uses = &USES[usize::from(class)];
    let before = uses.load(Ordering::Relaxed);
    if before & here != here {
        uses.fetch_or(here, Ordering::Relaxed);
    }
    before | here
}

/// A lock's class: where it was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Class(Site);

impl Class {
    #[track_caller]
    pub(super) const fn here() -> Self {
        Self(Location::caller())
    }

    /// Looks whether the lock may be taken. Called with the lock's context entered and the lock not yet taken; `irqs_on` says
    /// whether its holder can be interrupted.
    #[inline]
    pub(super) fn look(self) {
        if let Some(tell) = reporter() {
            let report =
                class_of(self.0).and_then(|class| check(class, self.0, cpu::irqs_enabled()));
            if let Some(report) = report {
                tell(&report);
            }
        }
    }

    /// Notes that the lock is held.
    #[inline]
    pub(super) fn taken(self) {
        if reporter().is_some()
            && let Some(class) = class_of(self.0)
        {
            let context = context();
            with_held(|held| {
                if held.len < HELD {
                    held.locks[held.len] = Holding { class, context };
                    held.len += 1;
                }
            });
        }
    }

    /// Notes that the lock is held no more.
    #[inline]
    pub(super) fn given_back(self) {
        if reporter().is_some()
            && let Some(class) = class_of(self.0)
        {
            with_held(|held| {
                let last = held.locks[..held.len]
                    .iter()
                    .rposition(|l| l.class == class);
                if let Some(at) = last {
                    held.locks.copy_within(at + 1..held.len, at);
                    held.len -= 1;
                }
            });
        }
    }
}

/// Tells of a lock that this CPU holds though its poll has ended.
pub(crate) fn poll_ended() {
    let Some(tell) = reporter() else { return };
    let here = context();
    let last = with_held(|held| {
        let mut locks = held.locks[..held.len].iter();
        locks.rfind(|l| l.context == here).map(|l| l.class)
    });
    if let Some(site) = last.and_then(|class| site_at(class.into())) {
        tell(&Report::HeldAtPollEnd(site));
    }
}
