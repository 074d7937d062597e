//! Which executor a CPU has.

use core::ptr;

use super::shared::{CpuShared, LevelKind};
use crate::{cpu, rcu};

/// The executors by CPU number.
#[cfg(not(loom))]
mod table {
    use core::sync::atomic::Ordering;

    use super::*;
    use crate::facade::AtomicPtr;

    /// By level and CPU.
    static CPUS: [[AtomicPtr<CpuShared>; cpu::MAX_CPUS]; 2] =
        [const { [const { AtomicPtr::new(ptr::null_mut()) }; cpu::MAX_CPUS] }; 2];

    impl CpuShared {
        /// Makes this the executor that [`CpuShared::of`] finds.
        pub(crate) fn publish(&'static self) {
            if let Some(slot) = CPUS[self.kind() as usize].get(self.cpu() as usize) {
                rcu::online(|| slot.store(ptr::from_ref(self).cast_mut(), Ordering::Release));
            }
        }

        /// Makes it one that nobody finds any more.
        pub(crate) fn retract(&'static self) {
            if let Some(slot) = CPUS[self.kind() as usize].get(self.cpu() as usize) {
                let me = ptr::from_ref(self).cast_mut();
                let retract = || {
                    // Unless another has taken its place, as tests do.
                    let _ = slot.compare_exchange(
                        me,
                        ptr::null_mut(),
                        Ordering::AcqRel,
                        Ordering::Relaxed,
                    );
                };
                rcu::offline(self, retract);
            }
        }

        /// Calls `f` with every CPU's executor of tasks.
        pub(crate) fn each(f: impl FnMut(&'static CpuShared)) {
            (0..cpu::MAX_CPUS as u32).filter_map(Self::of).for_each(f);
        }

        /// The executor of CPU `cpu`, if it has one.
        pub fn of(cpu: u32) -> Option<&'static CpuShared> {
            Self::of_level(LevelKind::Task, cpu)
        }

        /// The executor of a level of CPU `cpu`, if it has one.
        pub(crate) fn of_level(kind: LevelKind, cpu: u32) -> Option<&'static CpuShared> {
            let ptr = CPUS[kind as usize]
                .get(cpu as usize)?
                .load(Ordering::Acquire);
            // SAFETY: null, or stored by `publish` from a reference that lives for ever.
            unsafe { ptr.as_ref() }
        }
    }
}

/// As above, in the model, which begins anew each time.
#[cfg(loom)]
mod table {
    use super::*;

    loom::lazy_static! {
        static ref CPUS: std::sync::Mutex<alloc::vec::Vec<&'static CpuShared>> = Default::default();
    }

    impl CpuShared {
        pub(crate) fn publish(&'static self) {
            // The first of its thread, or that again once it was away.
            let first = cpu::shared().is_none_or(|shared| ptr::eq(shared, self));
            if first && self.kind() == LevelKind::Task {
                rcu::online(|| CPUS.lock().unwrap().push(self));
            }
        }

        pub(crate) fn retract(&'static self) {
            let gone = {
                let mut cpus = CPUS.lock().unwrap();
                let before = cpus.len();
                cpus.retain(|cpu| !ptr::eq(*cpu, self));
                cpus.len() < before
            };
            if gone && self.rcu_owes() {
                rcu::offline(self, || ());
            }
        }

        pub(crate) fn each(f: impl FnMut(&'static CpuShared)) {
            let cpus = CPUS.lock().unwrap().clone();
            cpus.into_iter().for_each(f);
        }

        /// The executor of CPU `cpu`, if it has one.
        pub fn of(cpu: u32) -> Option<&'static CpuShared> {
            let cpus = CPUS.lock().unwrap();
            cpus.iter().copied().find(|shared| shared.cpu() == cpu)
        }

        /// As [`CpuShared::of`]: the models have tasks only.
        pub(crate) fn of_level(kind: LevelKind, cpu: u32) -> Option<&'static CpuShared> {
            Self::of(cpu).filter(|shared| shared.kind() == kind)
        }
    }
}
