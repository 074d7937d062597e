//! Signals: delivery, queues, masks, stacks, restart, faults, stop and continue.

mod children;
mod defaults;
mod delivery;
mod faults;
mod groups;
mod handlers;
mod interruption;
mod restart;
mod state;

use crate::cases::parts;
use crate::sys::*;
use libc::{c_int, siginfo_t, ucontext_t};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize};

parts![
    delivery,
    handlers,
    interruption,
    children,
    faults,
    state,
    restart,
    groups,
    defaults
];

static COUNT: AtomicU32 = AtomicU32::new(0);
static LAST: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDRESS: AtomicUsize = AtomicUsize::new(0);

fn note(signal: c_int, info: &siginfo_t, _: &mut ucontext_t) {
    COUNT.fetch_add(1, SeqCst);
    LAST.store(signal, SeqCst);
    CODE.store(info.si_code, SeqCst);
    ADDRESS.store(info.address(), SeqCst);
}

fn handle(signal: c_int, flags: c_int) {
    handle_with(signal, note, flags, &[]);
}
