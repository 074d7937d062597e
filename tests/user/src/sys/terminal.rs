//! Terminals: what the C library has in `termios.h`, which is all `ioctl`.

use super::{Result, filled, ioctl, ioctl_at};

/// The settings.
pub fn tcgetattr(fd: i32) -> Result<libc::termios> {
    filled(|settings| ioctl_at(fd, libc::TCGETS, settings))
}

/// Changes the settings at once.
pub fn tcsetattr(fd: i32, settings: &mut libc::termios) -> Result<i32> {
    ioctl_at(fd, libc::TCSETS, settings)
}

/// The group in the foreground.
pub fn tcgetpgrp(fd: i32) -> Result<i32> {
    filled(|group| ioctl_at(fd, libc::TIOCGPGRP, group))
}

/// Puts a group into the foreground.
pub fn tcsetpgrp(fd: i32, mut group: i32) -> Result<i32> {
    ioctl_at(fd, libc::TIOCSPGRP, &mut group)
}

/// The session that it belongs to.
pub fn tcgetsid(fd: i32) -> Result<i32> {
    filled(|session| ioctl_at(fd, libc::TIOCGSID, session))
}

/// Throws away what was not read or sent.
pub fn tcflush(fd: i32, which: i32) -> Result<i32> {
    ioctl(fd, libc::TCFLSH, which)
}

/// Stops or continues what is sent.
pub fn tcflow(fd: i32, action: i32) -> Result<i32> {
    ioctl(fd, libc::TCXONC, action)
}

/// Waits until all is sent.
pub fn tcdrain(fd: i32) -> Result<i32> {
    ioctl(fd, libc::TCSBRK, 1)
}

/// Its size in characters.
pub fn window_size(fd: i32) -> Result<libc::winsize> {
    filled(|size| ioctl_at(fd, libc::TIOCGWINSZ, size))
}

/// Sets its size in characters.
pub fn set_window_size(fd: i32, rows: u16, columns: u16) -> Result<i32> {
    let mut size: libc::winsize = super::zeroed();
    (size.ws_row, size.ws_col) = (rows, columns);
    ioctl_at(fd, libc::TIOCSWINSZ, &mut size)
}

/// Passes every byte as it is.
pub fn make_raw(settings: &mut libc::termios) {
    // SAFETY: changes nothing but the structure.
    unsafe { libc::cfmakeraw(settings) };
}
