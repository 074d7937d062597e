//! The mount options of tmpfs.

use super::{TOTAL_PAGES, default_limit};
use crate::page::PAGE_SIZE;
use crate::{Errno, Result};
use core::sync::atomic::Ordering;

/// What a tmpfs was mounted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Limit of pages; `u64::MAX` is none.
    pub pages: u64,
    /// Limit of inodes; `u64::MAX` is none.
    pub inodes: u64,
    /// Permissions of the root.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            pages: default_limit(),
            inodes: default_limit(),
            mode: 0o1777,
            uid: 0,
            gid: 0,
        }
    }
}

impl Options {
    /// Returns the options of the kernel's own instance, which has no limits.
    pub(super) fn unlimited() -> Options {
        Options {
            pages: u64::MAX,
            inodes: u64::MAX,
            ..Options::default()
        }
    }

    /// Parses `size=64m,mode=755`, starting from `base`.
    ///
    /// # Errors
    /// `EINVAL` for an unknown option or a bad value.
    pub(super) fn parse(text: &[u8], base: Options) -> Result<Options> {
        let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let mut options = base;
        for part in text.split(',').filter(|p| !p.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key {
                "size" => options.pages = size(value)?,
                "nr_blocks" => options.pages = limit(number(value)?),
                "nr_inodes" => options.inodes = limit(number(value)?),
                "mode" => {
                    let mode = u32::from_str_radix(value, 8).map_err(|_| Errno::EINVAL)?;
                    options.mode = mode & 0o7777;
                }
                "uid" => options.uid = value.parse().map_err(|_| Errno::EINVAL)?,
                "gid" => options.gid = value.parse().map_err(|_| Errno::EINVAL)?,
                // Huge pages and NUMA placement change no result.
                "huge" | "mpol" | "inode32" | "inode64" | "noswap" => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }
}

/// Zero means no limit.
fn limit(count: u64) -> u64 {
    if count == 0 { u64::MAX } else { count }
}

/// Parses bytes, or a percentage of memory, into pages.
fn size(value: &str) -> Result<u64> {
    if let Some(percent) = value.strip_suffix('%') {
        let percent: u64 = percent.parse().map_err(|_| Errno::EINVAL)?;
        let total = TOTAL_PAGES.load(Ordering::Relaxed);
        return Ok(limit(total.saturating_mul(percent) / 100));
    }
    Ok(limit(number(value)?.div_ceil(PAGE_SIZE as u64)))
}

/// Parses a number with a suffix `k`, `m`, `g`, `t`, decimal, octal or hexadecimal, as Linux's `memparse`.
fn number(value: &str) -> Result<u64> {
    let shift = match value.as_bytes().last().map(u8::to_ascii_lowercase) {
        Some(b'k') => 10,
        Some(b'm') => 20,
        Some(b'g') => 30,
        Some(b't') => 40,
        Some(_) => 0,
        None => return Err(Errno::EINVAL),
    };
    let digits = if shift > 0 {
        &value[..value.len() - 1]
    } else {
        value
    };
    let number = if let Some(hex) = digits.strip_prefix("0x") {
        u64::from_str_radix(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        u64::from_str_radix(digits, 8)
    } else {
        digits.parse()
    };
    number
        .ok()
        .and_then(|n| n.checked_mul(1 << shift))
        .ok_or(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_parse_as_on_linux() {
        let base = Options::unlimited();
        let parse = |text: &str| Options::parse(text.as_bytes(), base);
        assert_eq!(
            parse("size=10m,mode=755,uid=3").unwrap(),
            Options {
                pages: 2560,
                mode: 0o755,
                uid: 3,
                ..base
            }
        );
        assert_eq!(parse("size=5000").unwrap().pages, 2);
        assert_eq!(parse("size=0,nr_inodes=0x10k").unwrap().inodes, 16384);
        assert_eq!(parse("").unwrap(), base);
        for bad in [
            "size",
            "size=x",
            "size=99999999999t",
            "mode=9",
            "frob",
            "size=1m=2",
        ] {
            assert_eq!(parse(bad), Err(Errno::EINVAL), "{bad}");
        }
    }
}
