//! `oom_score` and its adjustments.

use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use fs::{Cap, Credentials, Errno, Result};

use super::Subject;
use crate::mm::{oom, page_alloc};
use crate::pseudofs::{Node, Out, Text, put};

/// The greatest adjustment either way, and that of the file that came before it.
const ADJUST_MAX: i16 = 1000;
const OLD_MAX: i16 = 15;
/// The old file's word for "never".
const OLD_DISABLE: i16 = -17;

/// `oom_score`: resident and page-table memory in thousandths of all, shifted by the adjustment, as Linux counts it.
pub(super) fn score(subject: &Subject, out: &mut Out) -> Result<()> {
    let stats = subject
        .process
        .with_space(|space| space.map(|space| space.stats()))
        .unwrap_or_default();
    let total = page_alloc::total() as u64;
    let adjustment = subject.process.oom_score_adj.load(Ordering::Relaxed);
    let badness = subject
        .thread
        .as_ref()
        .and_then(|_| oom::badness(&stats, adjustment, total));
    let scaled = oom::score(badness, total);
    put!(out, "{scaled}\n");
    Ok(())
}

/// `oom_score_adj`.
pub(super) fn adjustment(subject: &Subject) -> Node {
    Node::Text(Arc::new(Adjustment {
        subject: subject.clone(),
        old: false,
    }))
}

/// `oom_adj`.
pub(super) fn old_adjustment(subject: &Subject) -> Node {
    Node::Text(Arc::new(Adjustment {
        subject: subject.clone(),
        old: true,
    }))
}

struct Adjustment {
    subject: Subject,
    old: bool,
}

impl Text for Adjustment {
    fn show(&self, out: &mut Out) -> Result<()> {
        let value = self.subject.process.oom_score_adj.load(Ordering::Relaxed);
        let value = match value {
            value if !self.old => value,
            ADJUST_MAX => OLD_MAX,
            value => (i32::from(value) * -i32::from(OLD_DISABLE) / i32::from(ADJUST_MAX)) as i16,
        };
        put!(out, "{value}\n");
        Ok(())
    }

    fn store(&self, text: &[u8], cred: &Credentials) -> Result<()> {
        let text = core::str::from_utf8(text)
            .map_err(|_| Errno::EINVAL)?
            .trim();
        let value: i16 = text.parse().map_err(|_| Errno::EINVAL)?;
        let value = if self.old {
            match value {
                OLD_MAX => ADJUST_MAX,
                OLD_DISABLE..OLD_MAX => {
                    (i32::from(value) * i32::from(ADJUST_MAX) / -i32::from(OLD_DISABLE)) as i16
                }
                _ => return Err(Errno::EINVAL),
            }
        } else if (-ADJUST_MAX..=ADJUST_MAX).contains(&value) {
            value
        } else {
            return Err(Errno::EINVAL);
        };
        let own = &self.subject.process.oom_score_adj;
        if value < own.load(Ordering::Relaxed) && !cred.capable(Cap::SysResource) {
            return Err(Errno::EACCES);
        }
        own.store(value, Ordering::Relaxed);
        Ok(())
    }
}
