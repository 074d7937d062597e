//! The kernel: the machine and the policies put together.
//!
//! On the host only its pure logic is compiled, and tested; the modules that touch the machine are there on
//! `x86_64-unknown-none` alone. Start reading at `boot`.
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;

#[cfg(target_os = "none")]
pub mod arch;
pub mod boot;
pub mod calendar;
#[cfg(target_os = "none")]
pub mod cgroup;
pub mod clockevent;
pub mod clockwatch;
pub mod cmdline;
pub mod counter;
pub mod cred;
#[cfg(target_os = "none")]
pub mod devices;
#[cfg(target_os = "none")]
pub mod devtmpfs;
pub mod exec;
pub mod futex;
pub mod i8259;
#[cfg(target_os = "none")]
pub mod init;
pub mod ipc;
pub mod irq;
pub mod irq_route;
#[cfg(any(not(target_os = "none"), feature = "ktest"))]
pub mod ktest;
pub mod mm;
#[cfg(target_os = "none")]
pub mod mounts;
pub mod ntp;
#[cfg(target_os = "none")]
pub mod panic;
pub mod printk;
pub mod process;
#[cfg(target_os = "none")]
pub mod procfs;
#[cfg(target_os = "none")]
pub mod pseudofs;
pub mod random;
#[cfg(target_os = "none")]
pub mod rtc;
pub mod seccomp;
pub mod signal;
pub mod symbols;
#[cfg(target_os = "none")]
pub mod syscall;
#[cfg(target_os = "none")]
pub mod sysfs;
#[cfg(target_os = "none")]
pub mod task;
#[cfg(target_os = "none")]
pub mod timekeeping;
pub mod topology;
#[cfg(target_os = "none")]
pub mod tty;
#[cfg(target_os = "none")]
pub mod user;
#[cfg(target_os = "none")]
pub mod usermem;
pub mod uts;
#[cfg(target_os = "none")]
pub mod vdso;
#[cfg(target_os = "none")]
pub mod work;
