//! Control groups, version 2: a tree of groups of processes, with the `cpu` controller.
//!
//! A thread is in one group, that of its parent at first. Where a group's parent hands the controller on
//! (`cgroup.subtree_control`), the group competes on the CPUs as one task would ([`cpu`]); else its threads count in the next group
//! above that does. Source: cgroups(7), Linux's `cgroup-v2.rst`.
//!
//! What there is not: domains of threads (`cgroup.type` is `domain` throughout), and giving a subtree to an ordinary user.
//!
//! Lock order: [`CHANGE`], then a group's own state, then a thread's membership.

mod cpu;
mod dir;
mod files;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use conquer_once::spin::OnceCell;
use executor::sync::{SpinLock, SpinLockIrq, WaitQueue};
use fs::{Errno, Result};

use crate::process::cputime::CpuTime;
use crate::process::{Process, Thread, autogroup, table};
use cpu::Cpu;

pub use cpu::Cpu as Scheduled;
pub use dir::init;

/// Held while the tree changes, and while threads change groups.
static CHANGE: SpinLock<()> = SpinLock::new(());
static ROOT: OnceCell<Arc<Cgroup>> = OnceCell::uninit();
static NEXT_ID: AtomicU64 = AtomicU64::new(1);
/// Groups that there are, the root among them.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Groups below groups: as deep as this and no deeper, since a tree is walked down on one stack. Linux has no such bound of
/// its own, but gives the same error where `cgroup.max.depth` sets one.
const DEEPEST: u32 = 64;

/// A control group.
pub struct Cgroup {
    /// Unique; its directory's inode number is made of it.
    id: u64,
    name: Box<[u8]>,
    parent: Option<Arc<Cgroup>>,
    /// Groups above it.
    depth: u32,
    state: SpinLock<State>,
    /// Its part in the scheduler, while its parent hands the controller on. Looked at by the loops of the CPUs.
    cpu: SpinLockIrq<Option<Arc<Cpu>>>,
    /// Threads in it and below.
    threads: AtomicUsize,
    /// Woken when `threads` becomes zero, or is so no more; and how often that was.
    events: Arc<WaitQueue>,
    changes: AtomicU64,
}

#[derive(Default)]
struct State {
    children: BTreeMap<Box<[u8]>, Arc<Cgroup>>,
    /// Its children have the controller.
    hands_on: bool,
    removed: bool,
    /// Time of threads that have left, here and in groups below that are gone.
    departed: CpuTime,
}

impl State {
    fn threads_below(&self) -> usize {
        let children = self.children.values();
        children
            .map(|child| child.threads.load(Ordering::Acquire))
            .sum()
    }
}

/// A thread's place in the tree.
pub struct Membership {
    cgroup: Arc<Cgroup>,
    /// What the thread had used when it came.
    before: CpuTime,
}

/// The place of a thread; `None` before it is entered, and once it has left.
pub type Place = SpinLockIrq<Option<Membership>>;

fn group_of(thread: &Thread) -> Option<Arc<Cgroup>> {
    let place = thread.membership.lock();
    place.as_ref().map(|place| place.cgroup.clone())
}

/// The group of all threads that were put into no other.
pub fn root() -> &'static Arc<Cgroup> {
    // Fails only if it is there.
    let _ = ROOT.try_init_once(|| Cgroup::new(Box::default(), None));
    ROOT.try_get().expect("made above")
}

impl Cgroup {
    fn new(name: Box<[u8]>, parent: Option<Arc<Cgroup>>) -> Arc<Self> {
        COUNT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name,
            depth: parent.as_ref().map_or(0, |parent| parent.depth + 1),
            parent,
            state: SpinLock::new(State::default()),
            cpu: SpinLockIrq::new(None),
            threads: AtomicUsize::new(0),
            events: Arc::default(),
            changes: AtomicU64::new(0),
        })
    }

    /// This group and those above it.
    fn upward(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Cgroup>> {
        core::iter::successors(Some(self), |group| group.parent.as_ref())
    }

    fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    fn is_populated(&self) -> bool {
        self.threads.load(Ordering::Acquire) > 0
    }

    /// Its path from the root.
    pub fn path(self: &Arc<Self>) -> Vec<u8> {
        let mut names: Vec<_> = self.upward().filter(|g| !g.is_root()).collect();
        names.reverse();
        let mut path = Vec::new();
        for group in &names {
            path.push(b'/');
            path.extend_from_slice(&group.name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        if self.state.lock().removed {
            path.extend_from_slice(b" (deleted)");
        }
        path
    }

    /// Makes a group in it.
    ///
    /// # Errors
    /// `EEXIST`; `ENOENT` if it is removed itself; `EINVAL` for a name with a line's end; `EAGAIN` if there are too many, or
    /// it is [`DEEPEST`] itself.
    fn make_child(self: &Arc<Self>, name: &[u8]) -> Result<Arc<Cgroup>> {
        if name.contains(&b'\n') {
            return Err(Errno::EINVAL);
        }
        if self.depth == DEEPEST {
            return Err(Errno::EAGAIN);
        }
        crate::mm::admit()?;
        let child = Self::new(name.into(), Some(self.clone()));
        let _change = CHANGE.lock();
        let mut state = self.state.lock();
        let refused = if state.removed {
            Some(Errno::ENOENT)
        } else if state.children.contains_key(name) {
            Some(Errno::EEXIST)
        } else if state.hands_on {
            child.enable_cpu().err()
        } else {
            None
        };
        if let Some(error) = refused {
            COUNT.fetch_sub(1, Ordering::Relaxed);
            return Err(error);
        }
        state.children.insert(name.into(), child.clone());
        Ok(child)
    }

    /// Takes a group out of it.
    ///
    /// # Errors
    /// `ENOENT`; `EBUSY` while there are threads in it, or groups.
    fn remove_child(&self, name: &[u8]) -> Result<()> {
        let _change = CHANGE.lock();
        let mut state = self.state.lock();
        let child = state.children.get(name).ok_or(Errno::ENOENT)?.clone();
        {
            let mut inner = child.state.lock();
            if child.is_populated() || !inner.children.is_empty() {
                return Err(Errno::EBUSY);
            }
            inner.removed = true;
            state.departed = state.departed.plus(inner.departed);
        }
        child.disable_cpu();
        state.children.remove(name);
        COUNT.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    /// Hands the `cpu` controller on to its children, or takes it back.
    ///
    /// # Errors
    /// `ENOENT` if it does not have it itself; `EBUSY` if children use it further down, or if its own processes would compete
    /// with populated groups.
    fn hand_on(self: &Arc<Self>, on: bool) -> Result<()> {
        let _change = CHANGE.lock();
        let mut state = self.state.lock();
        if state.hands_on == on {
            return Ok(());
        }
        if on && !self.is_root() && self.cpu.lock().is_none() {
            return Err(Errno::ENOENT);
        }
        if !on && state.children.values().any(|c| c.state.lock().hands_on) {
            return Err(Errno::EBUSY);
        }
        if on && !self.may_mix(&state) {
            return Err(Errno::EBUSY);
        }
        for child in state.children.values() {
            if on {
                if let Err(error) = child.enable_cpu() {
                    // All or none.
                    state.children.values().for_each(|c| c.disable_cpu());
                    return Err(error);
                }
            } else {
                child.disable_cpu();
            }
        }
        state.hands_on = on;
        drop(state);
        // Threads that were placed by the group above are placed anew.
        self.for_each_thread(|thread| thread.look_again());
        Ok(())
    }

    /// Whether threads of its own compete with its groups, so that no process may come to one of those.
    fn mixes(&self) -> bool {
        let state = self.state.lock();
        let own = || self.threads.load(Ordering::Acquire) > state.threads_below();
        !self.is_root() && state.hands_on && own()
    }

    /// Whether threads of its own do not compete with those of groups below.
    fn may_mix(&self, state: &State) -> bool {
        let below = state.threads_below();
        self.is_root() || below == 0 || self.threads.load(Ordering::Acquire) == below
    }

    /// Calls `f` for each thread in the group and below.
    fn for_each_thread(self: &Arc<Self>, mut f: impl FnMut(&Arc<Thread>)) {
        for process in table::each_process() {
            for thread in process.threads() {
                let within = |cgroup: Arc<Cgroup>| cgroup.upward().any(|g| Arc::ptr_eq(g, self));
                if group_of(&thread).is_some_and(within) {
                    f(&thread);
                }
            }
        }
    }

    /// Time used in the group and below so far, ended threads and removed groups included.
    fn used(self: &Arc<Self>) -> CpuTime {
        let mut sum = self.departed();
        self.for_each_thread(|thread| {
            let before = thread.membership.lock().as_ref().map(|p| p.before);
            if let Some(before) = before {
                sum = sum.plus(thread.cpu_time().minus(before));
            }
        });
        sum
    }

    fn departed(&self) -> CpuTime {
        let state = self.state.lock();
        let children = state.children.values();
        children.fold(state.departed, |sum, child| sum.plus(child.departed()))
    }

    fn count(self: &Arc<Self>, come: bool) {
        for group in self.upward() {
            let changes = if come {
                group.threads.fetch_add(1, Ordering::AcqRel) == 0
            } else {
                group.threads.fetch_sub(1, Ordering::AcqRel) == 1
            };
            if changes {
                group.changes.fetch_add(1, Ordering::Release);
                group.events.wake_all();
            }
        }
    }

    /// Takes `threads` in, all or none.
    ///
    /// # Errors
    /// `ENODEV` if it is removed; `EBUSY` if they would compete with groups below it, `EOPNOTSUPP` with threads of a group above.
    fn take_in(self: &Arc<Self>, process: &Arc<Process>, only: Option<&Arc<Thread>>) -> Result<()> {
        let _change = CHANGE.lock();
        {
            let state = self.state.lock();
            if state.removed {
                return Err(Errno::ENODEV);
            }
            let populated = |c: &Arc<Cgroup>| c.is_populated();
            if !self.is_root() && state.hands_on && state.children.values().any(populated) {
                return Err(Errno::EBUSY);
            }
        }
        if self.upward().skip(1).any(|above| above.mixes()) {
            return Err(Errno::EOPNOTSUPP);
        }
        for thread in process.threads() {
            if only.is_some_and(|only| !Arc::ptr_eq(only, &thread)) {
                continue;
            }
            let used = thread.cpu_time();
            let left = {
                let mut place = thread.membership.lock();
                // One that is not entered yet follows its parent.
                let Some(place) = place.as_mut() else {
                    continue;
                };
                if Arc::ptr_eq(&place.cgroup, self) {
                    continue;
                }
                let next = Membership {
                    cgroup: self.clone(),
                    before: used,
                };
                core::mem::replace(place, next)
            };
            self.count(true);
            left.settle(used);
            thread.look_again();
        }
        Ok(())
    }
}

impl Membership {
    /// The thread that was here, and has used `used` by now, is gone.
    fn settle(self, used: CpuTime) {
        {
            let mut state = self.cgroup.state.lock();
            state.departed = state.departed.plus(used.minus(self.before));
        }
        self.cgroup.count(false);
    }
}

/// Enters a new thread in the group of its parent.
///
/// # Context
/// Task: the parent, with `child` in its process's list of threads; it does not run yet.
pub fn inherit(child: &Thread, parent: &Thread) {
    let _change = CHANGE.lock();
    let cgroup = group_of(parent).unwrap_or_else(|| root().clone());
    enter(child, cgroup);
}

fn enter(thread: &Thread, cgroup: Arc<Cgroup>) {
    cgroup.count(true);
    *thread.membership.lock() = Some(Membership {
        cgroup,
        before: CpuTime::default(),
    });
}

/// Enters the first thread.
///
/// # Context
/// Boot.
pub fn enter_root(thread: &Thread) {
    enter(thread, root().clone());
}

/// Takes a thread out that ends: it runs on in the root.
///
/// # Context
/// Task, the thread's own, or before it ever ran; once.
pub fn leave(thread: &Thread) {
    let _change = CHANGE.lock();
    let Some(left) = thread.membership.lock().take() else {
        return;
    };
    let used = thread.cpu_time();
    let moved = !left.cgroup.is_root();
    left.settle(used);
    if moved {
        thread.look_again();
    }
}

/// The group that `thread` counts in on the CPUs, which for one that no control group counts is that of its session; `None`
/// for the root.
///
/// # Context
/// Any.
pub fn scheduled_in(thread: &Thread) -> Option<Arc<Scheduled>> {
    let by_hand = {
        let place = thread.membership.lock();
        let mut groups = place.as_ref()?.cgroup.upward();
        groups.find_map(|group| group.cpu.lock().clone())
    };
    by_hand.or_else(|| autogroup::scheduled_in(thread.process()))
}

/// The path of a thread's group, for `/proc/PID/cgroup`.
pub fn path_of(thread: &Thread) -> Vec<u8> {
    group_of(thread).unwrap_or_else(|| root().clone()).path()
}

/// Groups that there are, the root among them.
pub fn count() -> usize {
    let _ = root();
    COUNT.load(Ordering::Relaxed)
}
