//! The settings of `/proc/sys/vm` and `/proc/sys/kernel/randomize_va_space`.
//!
//! Source: Linux's Documentation/admin-guide/sysctl/vm.rst.

use fs::Tunable;

/// How promises of memory are kept: 0 refuses what could never be there, 1 refuses nothing, 2 never promises too much.
pub static OVERCOMMIT_MEMORY: Tunable = Tunable::new(0, 0, 2);
/// What part of all memory may be promised in mode 2, in percent.
pub static OVERCOMMIT_RATIO: Tunable = Tunable::new(50, 0, i32::MAX as i64);
/// The same in KiB; 0: the ratio counts.
pub static OVERCOMMIT_KBYTES: Tunable = Tunable::new(0, 0, i64::MAX >> 10);
/// What mode 2 keeps for the user's own recovery, in KiB.
pub static USER_RESERVE_KBYTES: Tunable = Tunable::new(128 << 10, 0, i64::MAX >> 10);
/// The most mappings of an address space.
pub static MAX_MAP_COUNT: Tunable = Tunable::new(65530, 0, i32::MAX as i64);
/// The lowest address that may be mapped.
pub static MMAP_MIN_ADDR: Tunable = Tunable::new(64 << 10, 0, i32::MAX as i64);
/// Whether who finds no memory ends itself, instead of the worst.
pub static OOM_KILL_ALLOCATING_TASK: Tunable = Tunable::new(0, i32::MIN as i64, i32::MAX as i64);
/// Whether the report of a lack of memory lists all processes.
pub static OOM_DUMP_TASKS: Tunable = Tunable::new(1, i32::MIN as i64, i32::MAX as i64);
/// What a new program finds at random places: 0 nothing, 1 stack, maps and libraries, 2 the heap as well.
pub static RANDOMIZE_VA_SPACE: Tunable = Tunable::new(2, 0, 2);

/// The modes of [`OVERCOMMIT_MEMORY`].
pub mod overcommit {
    /// Refuses what exceeds all memory.
    pub const GUESS: i64 = 0;
    /// Refuses nothing.
    pub const ALWAYS: i64 = 1;
    /// Keeps the sum within the limit.
    pub const NEVER: i64 = 2;
}

/// The lowest address that may be mapped, as one.
pub fn mmap_min_addr() -> u64 {
    MMAP_MIN_ADDR.count() as u64
}

/// The most mappings, as a count.
pub fn max_map_count() -> usize {
    MAX_MAP_COUNT.count()
}
