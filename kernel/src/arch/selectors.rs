//! Segment selectors, numbered as Linux numbers them: debuggers and some programs know them by heart.
//!
//! `sysret` fixes the order of the user ones (code of 32 bits, data, code of 64 bits).

/// Kernel code, ring 0.
pub const KERNEL_CS: u16 = 0x10;
/// Kernel data, ring 0.
pub const KERNEL_DS: u16 = 0x18;
/// 32-bit user code, ring 3: there only because `sysret` counts from it.
pub const USER32_CS: u16 = 0x23;
/// User data and stack, ring 3.
pub const USER_DS: u16 = 0x2b;
/// 64-bit user code, ring 3.
pub const USER_CS: u16 = 0x33;
/// The task state segment's descriptor, two entries wide.
pub const TSS: u16 = 0x40;
