//! The user's terminal: its size, its type, and giving it back as it was.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

/// Whether a signal has asked the runner to end.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Remembers the terminal's settings and restores them when dropped.
#[derive(Debug)]
pub struct Terminal {
    saved: Option<Termios>,
}

impl Terminal {
    /// Saves the settings of standard input, if that is a terminal.
    #[must_use]
    pub fn save() -> Self {
        Self {
            saved: tcgetattr(std::io::stdin().as_fd()).ok(),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            // Nothing more can be done for a terminal that has gone away.
            let _ = tcsetattr(std::io::stdin().as_fd(), SetArg::TCSANOW, saved);
            let mut out = std::io::stdout();
            if out.is_terminal() {
                // Wrap lines, show the cursor, plain colours: a program in the guest may not have come to undo them.
                let _ = out
                    .write_all(b"\x1b[?7h\x1b[?25h\x1b[0m")
                    .and_then(|()| out.flush());
            }
        }
    }
}

extern "C" fn note_interrupt(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// From now on the signals that end a program only set the flag that [`interrupted`] reads, so that the runner can end
/// QEMU and restore the terminal first.
#[allow(unsafe_code, reason = "installs a signal handler")]
pub fn catch_signals() {
    let action = SigAction::new(
        SigHandler::Handler(note_interrupt),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        let old = unsafe { sigaction(signal, &action) };
        old.expect("these signals can be caught");
    }
}

/// Whether a signal has asked the runner to end since [`catch_signals`].
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// The words that tell the guest about this terminal: they end up in the environment of its init.
#[must_use]
pub fn guest_words() -> Vec<String> {
    let mut words = Vec::new();
    let plain = |name: &String| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-+.".contains(&b))
    };
    if let Some(term) = std::env::var("TERM").ok().filter(plain) {
        words.push(format!("TERM={term}"));
    }
    if let Some((rows, columns)) = window_size() {
        words.push(format!("LINES={rows}"));
        words.push(format!("COLUMNS={columns}"));
    }
    words
}

#[allow(unsafe_code, reason = "one ioctl")]
fn window_size() -> Option<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one `winsize` to the address given, which is a live local.
    let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}
