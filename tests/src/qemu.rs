//! One run of QEMU, which never outlives the runner.
#![allow(
    unsafe_code,
    reason = "asks the kernel to end QEMU when the runner dies, between fork and exec"
)]

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

/// A running QEMU; killed when dropped.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// QEMU ended by itself: the guest powered off or reset.
    Exited(ExitStatus),
    /// The bound in time was over.
    TimedOut,
    /// `stop` said so.
    Stopped,
}

impl Qemu {
    /// Starts `command`.
    ///
    /// The caller's thread has to live as long as the run: the kernel ends QEMU when that thread ends.
    ///
    /// # Errors
    /// When QEMU cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        // SAFETY: the closure runs between fork and exec, and makes one async-signal-safe system call.
        unsafe {
            command.pre_exec(|| {
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                Ok(())
            });
        }
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().to_string_lossy()))?;
        Ok(Self { child })
    }

    /// The process, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Waits until QEMU ends, `limit` is over, or `stop` (asked every 20 ms) says so. QEMU has ended afterwards.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn wait(&mut self, limit: Option<Duration>, mut stop: impl FnMut() -> bool) -> Result<End> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(End::Exited(status));
            }
            let over = limit.is_some_and(|limit| start.elapsed() >= limit);
            if over || stop() {
                self.kill();
                return Ok(if over { End::TimedOut } else { End::Stopped });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends QEMU at once.
    pub fn kill(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.kill();
    }
}
