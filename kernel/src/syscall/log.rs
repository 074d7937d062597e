//! Calls on the kernel's log and on the terminal: syslog(2), vhangup(2).

use fs::{Cap, Errno, Result};

use super::{Call, Plain, Stop, SysResult};
use crate::printk::{self, syslog};
use crate::tty::job;
use crate::usermem;

/// The calls of this area.
pub const CALLS: &[(u16, Plain)] = &[(103, syslog), (153, vhangup)];

/// `SYSLOG_ACTION_*`.
mod action {
    pub const CLOSE: i32 = 0;
    pub const OPEN: i32 = 1;
    pub const READ: i32 = 2;
    pub const READ_ALL: i32 = 3;
    pub const READ_CLEAR: i32 = 4;
    pub const CLEAR: i32 = 5;
    pub const CONSOLE_OFF: i32 = 6;
    pub const CONSOLE_ON: i32 = 7;
    pub const CONSOLE_LEVEL: i32 = 8;
    pub const SIZE_UNREAD: i32 = 9;
    pub const SIZE_BUFFER: i32 = 10;
}

/// Greatest level that a program may set.
const LEVEL_MAX: i32 = 8;

/// What changes anything needs a privilege; so does reading where `dmesg_restrict` is set.
fn check(call: &Call<'_>, action: i32) -> Result<()> {
    let cred = call.thread.cred();
    let reads = matches!(action, action::READ_ALL | action::SIZE_BUFFER);
    if reads && !printk::DMESG_RESTRICT.is_on()
        || cred.capable(Cap::Syslog)
        || cred.capable(Cap::SysAdmin)
    {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

fn syslog(call: &mut Call<'_>) -> SysResult {
    let (action, buf, len) = (call.int(0), call.arg(1), call.int(2));
    check(call, action)?;
    match action {
        action::CLOSE | action::OPEN => Ok(0),
        action::READ | action::READ_ALL | action::READ_CLEAR if buf == 0 || len < 0 => {
            Err(Errno::EINVAL.into())
        }
        action::READ if len == 0 => Ok(0),
        action::READ if !syslog::is_unread() => Err(Stop::Wait),
        action::READ => Ok(read(buf, len as usize)?),
        action::READ_ALL | action::READ_CLEAR => {
            let mut text = alloc::vec::Vec::new();
            syslog::newest(len as usize, |line| text.extend_from_slice(line));
            usermem::write_bytes(buf, &text)?;
            if action == action::READ_CLEAR {
                printk::clear();
            }
            Ok(text.len() as u64)
        }
        action::CLEAR => {
            printk::clear();
            Ok(0)
        }
        action::CONSOLE_OFF => {
            printk::silence_console(true);
            Ok(0)
        }
        action::CONSOLE_ON => {
            printk::silence_console(false);
            Ok(0)
        }
        action::CONSOLE_LEVEL if (1..=LEVEL_MAX).contains(&len) => {
            printk::silence_console(false);
            printk::set_console_level(len as u8);
            Ok(0)
        }
        action::SIZE_UNREAD => Ok(syslog::unread_len() as u64),
        action::SIZE_BUFFER => Ok((printk::ring::SLOTS * printk::TEXT_LEN) as u64),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Takes as many unread lines as fit.
fn read(buf: u64, len: usize) -> Result<u64> {
    let mut text = alloc::vec::Vec::new();
    syslog::take_unread(|line| {
        let fits = text.len() + line.len() <= len;
        if fits {
            text.extend_from_slice(line);
        }
        fits
    });
    usermem::write_bytes(buf, &text)?;
    Ok(text.len() as u64)
}

/// Waits for a record to read.
pub async fn read_wait(call: &mut Call<'_>) -> Result<u64> {
    let readers = printk::readers();
    let unread = readers.wait_until(|| syslog::is_unread().then_some(()));
    call.thread.interruptible(unread).await?;
    read(call.arg(1), call.int(2) as usize)
}

fn vhangup(call: &mut Call<'_>) -> SysResult {
    if !call.thread.cred().capable(Cap::SysTtyConfig) {
        return Err(Errno::EPERM.into());
    }
    if let Some(tty) = job::controlling_tty(call.thread) {
        tty.hang_up();
    }
    Ok(0)
}
