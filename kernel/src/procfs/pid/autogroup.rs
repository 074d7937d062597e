//! `autogroup`: the group of the process's session, and its nice level.

use alloc::sync::Arc;

use fs::{Credentials, Errno, Result};

use super::Subject;
use crate::process::{autogroup, current};
use crate::pseudofs::{Node, Out, Text, put};

/// As many bytes of what is written are looked at.
const LONGEST: usize = 12;

/// The file.
pub(super) fn file(subject: &Subject) -> Node {
    Node::Text(Arc::new(Autogroup(subject.clone())))
}

struct Autogroup(Subject);

impl Text for Autogroup {
    fn show(&self, out: &mut Out) -> Result<()> {
        self.0.live()?;
        if let Some(group) = self.0.process.autogroup() {
            put!(out, "/autogroup-{} nice {}\n", group.id(), group.nice());
        }
        Ok(())
    }

    fn store(&self, text: &[u8], _: &Credentials) -> Result<()> {
        let text = &text[..text.len().min(LONGEST)];
        let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let number = crate::cmdline::parse_number(text.trim()).ok_or(Errno::EINVAL)?;
        let nice = i32::try_from(number).map_err(|_| Errno::ERANGE)?;
        self.0.live()?;
        autogroup::set_nice(&current(), &self.0.process, nice)
    }
}
