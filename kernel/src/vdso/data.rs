// Shared, as text, by the kernel and the vDSO: what the page before the vDSO holds.

/// The clock's parameters, as the kernel writes and the vDSO reads them. Times are
/// `ns + ((counter - base) * mult >> 32)` nanoseconds since boot.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Data {
    /// Odd while the rest is being written.
    pub sequence: u32,
    /// [`MODE_TSC`], or nothing here is to be used.
    pub mode: u32,
    /// The time-stamp counter when the clock was last adjusted.
    pub base: u64,
    /// Nanoseconds per tick, times 2³².
    pub mult: u64,
    /// What the time of day is ahead of the time since boot, in nanoseconds.
    pub offset: i64,
    /// Nanoseconds since boot when the clock was last adjusted.
    pub ns: u64,
    /// What atomic time is ahead of the time of day, in nanoseconds.
    pub tai: i64,
    /// Whether the clock runs at the counter's own rate, so that the raw clock is the monotonic one.
    pub raw: u64,
}

/// The time-stamp counter is the clock.
pub const MODE_TSC: u32 = 1;

/// The tick of the coarse clocks: 4 ms, as with Linux's `HZ` of 250.
pub const COARSE_NS: u64 = 4_000_000;
