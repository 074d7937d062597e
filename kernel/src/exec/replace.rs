//! execve(2) past the point of no return: the new program takes the place of the old one.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use fs::{Credentials, Errno};

use crate::arch::fpu::FpuArea;
use crate::arch::user::UserRegs;
use crate::futex;
use crate::mm::AddressSpace;
use crate::process::access::DUMPABLE;
use crate::process::core::pattern::SUID_DUMPABLE;
use crate::process::process::ExeFile;
use crate::process::thread::{STATE_FORKED, WORK_KILLED, WORK_SIGNAL};
use crate::process::user::User;
use crate::process::{Thread, table};
use crate::signal::state::AltStack;
use crate::task;

/// A program that is ready to run.
pub(super) struct Ready {
    /// Its memory.
    pub space: Arc<AddressSpace>,
    /// Where it starts.
    pub entry: u64,
    /// Its stack pointer.
    pub sp: u64,
    /// As whom it runs.
    pub cred: Arc<Credentials>,
    /// It has more rights than its caller.
    pub secure: bool,
    /// Its file.
    pub exe: ExeFile,
    /// Its auxiliary vector.
    pub auxv: Arc<[u64]>,
    /// Its path.
    pub name: Vec<u8>,
}

/// Lets the program run in `thread`, alone in its process.
///
/// # Errors
/// `EAGAIN` if the process is ending, or another thread was first; `ENOMEM`. Nothing has changed then but that other
/// threads may be gone.
pub(super) async fn replace(
    thread: &Arc<Thread>,
    regs: &mut UserRegs,
    ready: Ready,
) -> Result<(), Errno> {
    let process = thread.process();
    // What may fail comes first.
    let files = thread.files();
    let own_files = if Arc::strong_count(&files) > 2 {
        Some(Arc::new(files.duplicate()?))
    } else {
        None
    };
    drop(files);
    be_alone(thread).await?;

    table::lock().take_leader_tid(thread);
    {
        let mut state = process.signals.lock();
        if Arc::strong_count(&state.sighand) > 1 {
            let own = state.sighand.duplicate();
            state.sighand = own;
        }
        state.sighand.actions.lock().reset_for_exec();
        let signals = thread.signals.get_mut(&mut state.token);
        signals.altstack = AltStack::default();
    }

    process.delete_timers();
    // The old memory is still there: tell those who share it.
    futex::thread_exec(thread);
    let old = process.replace_mm(Some(ready.space.clone()));
    task::switch_space(&ready.space);
    drop(old);
    if let Some(vfork) = thread.vfork.lock().take() {
        vfork.complete();
    }

    if let Some(files) = own_files {
        let shared = thread.with_shared(|shared| shared.files.replace(files));
        drop(shared);
    }
    let files = thread.files();
    files.close_on_exec(|file| {
        let _ = crate::syscall::fd::close_file(file, files.id());
    });

    let old = thread.cred();
    let changed = old.euid != ready.cred.euid || old.egid != ready.cred.egid || ready.secure;
    let user = User::of(ready.cred.uid);
    let previous = thread.with_shared(|shared| {
        (
            core::mem::replace(&mut shared.cred, ready.cred.clone()),
            core::mem::replace(&mut shared.user, user),
        )
    });
    drop(previous);
    if changed {
        thread.parent_death_signal.store(0, Ordering::Relaxed);
    }
    let base = ready
        .name
        .rsplit(|byte| *byte == b'/')
        .next()
        .unwrap_or_default();
    thread.set_comm(base);
    let previous = {
        let mut image = process.image.lock();
        image.dumpable = if changed {
            SUID_DUMPABLE.get() as u32
        } else {
            DUMPABLE
        };
        image.auxv = ready.auxv;
        image.exe.replace(Arc::new(ready.exe))
    };
    drop(previous);
    process.execs.fetch_add(1, Ordering::Relaxed);
    thread.clear_bits(STATE_FORKED);
    thread
        .last_trap
        .iter()
        .for_each(|word| word.store(0, Ordering::Relaxed));

    thread.rseq.clear();
    thread.machine.fpu.set(FpuArea::initial());
    thread.machine.set_bases(0, 0);
    *regs = UserRegs::new(ready.entry, ready.sp);
    Ok(())
}

/// Ends all other threads of the process and waits until they are gone.
async fn be_alone(thread: &Arc<Thread>) -> Result<(), Errno> {
    let process = thread.process();
    {
        let mut state = process.signals.lock();
        if state.exit.is_some() || state.exec.is_some() {
            return Err(Errno::EAGAIN);
        }
        if state.threads.len() == 1 {
            return Ok(());
        }
        state.exec = Some(thread.tid());
        for other in &state.threads {
            if !Arc::ptr_eq(other, thread) {
                other.set_bits(WORK_SIGNAL | WORK_KILLED);
                other.wake();
            }
        }
    }
    let alone = process
        .thread_left
        .wait_until(|| (process.signals.lock().threads.len() == 1).then_some(()));
    let outcome = thread.killable(alone).await;
    process.signals.lock().exec = None;
    outcome.map_err(|_| Errno::EAGAIN)
}
