//! `/proc/irq`: a directory for each line, where it may be sent to another CPU.
//!
//! Source: Linux's Documentation/core-api/irq/irq-affinity.rst, `kernel/irq/proc.c`.

use alloc::string::{String, ToString};
use alloc::sync::Arc;

use fs::{Credentials, Errno, Result};

use super::ino;
use crate::arch::smp;
use crate::irq::mask::{List, Mask, parse_list, parse_mask};
use crate::irq::{self, CpuSet, Descriptor};
use crate::pseudofs::{Directory, Entry, Fixed, ListSink, Node, Out, Text, put};

/// Inode numbers of one line's directory and files.
const INOS_PER_LINE: u64 = 128;
/// Numbers among those: the files, and then the directories of who answers.
const FIRST_ACTION: u64 = 32;

/// `/proc/irq`.
pub(super) fn dir() -> Entry {
    Entry::dir(ino::IRQ, Lines)
}

struct Lines;

impl Lines {
    fn default_affinity() -> Entry {
        Entry::new(ino::IRQ + 1, 0o644, Node::Text(Arc::new(DefaultAffinity)))
    }
}

fn line_dir(line: &'static Descriptor) -> Entry {
    let base = ino::IRQ + INOS_PER_LINE * (u64::from(line.number()) + 1);
    Entry::dir(base, Line { line, base })
}

impl Directory for Lines {
    fn lookup(&self, name: &[u8]) -> Result<Entry> {
        if name == b"default_smp_affinity" {
            return Ok(Self::default_affinity());
        }
        let name = core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let number = name.parse().map_err(|_| Errno::ENOENT)?;
        let line = irq::get(number).ok_or(Errno::ENOENT)?;
        if line.number().to_string() != name {
            return Err(Errno::ENOENT);
        }
        Ok(line_dir(line))
    }

    fn list(&self, from: u64, sink: &mut ListSink<'_>) -> Result<()> {
        if from == 0 && !sink.emit(b"default_smp_affinity", &Self::default_affinity(), 1) {
            return Ok(());
        }
        for line in irq::existing().filter(|line| u64::from(line.number()) + 1 >= from.max(1)) {
            let next = u64::from(line.number()) + 2;
            if !sink.emit(line.number().to_string().as_bytes(), &line_dir(line), next) {
                break;
            }
        }
        Ok(())
    }

    fn subdirectories(&self) -> u32 {
        irq::existing().count() as u32
    }
}

/// A line's directory: its files, and an empty directory for each who answers it.
struct Line {
    line: &'static Descriptor,
    base: u64,
}

/// The files, with what may be done to them.
const FILES: [(&str, u32, Kind); 7] = [
    ("affinity_hint", 0o444, Kind::Hint),
    ("effective_affinity", 0o444, Kind::Effective),
    ("effective_affinity_list", 0o444, Kind::EffectiveList),
    ("node", 0o444, Kind::Node),
    ("smp_affinity", 0o644, Kind::Affinity),
    ("smp_affinity_list", 0o644, Kind::AffinityList),
    ("spurious", 0o444, Kind::Spurious),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Affinity,
    AffinityList,
    Effective,
    EffectiveList,
    Hint,
    Node,
    Spurious,
}

impl Line {
    fn file(&self, at: usize) -> Entry {
        let (_, mode, kind) = FILES[at];
        let file = File {
            line: self.line,
            kind,
        };
        Entry::new(self.base + 1 + at as u64, mode, Node::Text(Arc::new(file)))
    }

    fn action(&self, at: usize) -> Entry {
        let ino = self.base + FIRST_ACTION + at as u64;
        Entry::dir(ino, Fixed(alloc::vec::Vec::new()))
    }

    /// Who answers, as names of directories.
    fn actions(&self) -> impl Iterator<Item = String> {
        let names = self.line.snapshot().actions.into_iter();
        names.filter(|name| !name.is_empty() && !name.contains('/'))
    }
}

impl Directory for Line {
    fn lookup(&self, name: &[u8]) -> Result<Entry> {
        if let Some(at) = FILES.iter().position(|(own, ..)| own.as_bytes() == name) {
            return Ok(self.file(at));
        }
        let at = self.actions().position(|own| own.as_bytes() == name);
        Ok(self.action(at.ok_or(Errno::ENOENT)?))
    }

    fn list(&self, from: u64, sink: &mut ListSink<'_>) -> Result<()> {
        let from = from as usize;
        for (at, (name, ..)) in FILES.iter().enumerate().skip(from) {
            if !sink.emit(name.as_bytes(), &self.file(at), at as u64 + 1) {
                return Ok(());
            }
        }
        let actions = self.actions().enumerate();
        for (at, name) in actions.skip(from.saturating_sub(FILES.len())) {
            let next = (FILES.len() + at + 1) as u64;
            if !sink.emit(name.as_bytes(), &self.action(at), next) {
                break;
            }
        }
        Ok(())
    }

    fn subdirectories(&self) -> u32 {
        self.actions().count() as u32
    }
}

struct File {
    line: &'static Descriptor,
    kind: Kind,
}

impl Text for File {
    fn show(&self, out: &mut Out) -> Result<()> {
        let now = self.line.snapshot();
        let affinity = now.affinity & smp::online();
        match self.kind {
            Kind::Affinity => put!(out, "{}\n", mask(affinity)),
            Kind::AffinityList => put!(out, "{}\n", List(affinity)),
            Kind::Effective => put!(out, "{}\n", mask(1 << now.effective)),
            Kind::EffectiveList => put!(out, "{}\n", List(1 << now.effective)),
            // No driver gives one.
            Kind::Hint => put!(out, "{}\n", mask(0)),
            Kind::Node => put!(out, "0\n"),
            Kind::Spurious => put!(
                out,
                "count {}\nunhandled {}\nlast_unhandled {} ms\n",
                now.spurious.count,
                now.spurious.unhandled,
                now.spurious.last_unhandled_ns / 1_000_000
            ),
        }
        Ok(())
    }

    fn store(&self, text: &[u8], _: &Credentials) -> Result<()> {
        let cpus = smp::cpu_count();
        let set = match self.kind {
            Kind::Affinity => parse_mask(text, cpus)?,
            Kind::AffinityList => parse_list(text, cpus)?,
            _ => return Err(Errno::EIO),
        };
        self.line.set_affinity(set).map_err(|error| error.errno())
    }
}

/// `default_smp_affinity`: where lines go that are asked for from now on.
struct DefaultAffinity;

impl Text for DefaultAffinity {
    fn show(&self, out: &mut Out) -> Result<()> {
        put!(out, "{}\n", mask(irq::default_affinity() & smp::online()));
        Ok(())
    }

    fn store(&self, text: &[u8], _: &Credentials) -> Result<()> {
        let set = parse_mask(text, smp::cpu_count())?;
        if set & smp::online() == 0 {
            return Err(Errno::EINVAL);
        }
        irq::set_default_affinity(set);
        Ok(())
    }
}

fn mask(set: CpuSet) -> Mask {
    Mask {
        set,
        cpus: smp::cpu_count(),
    }
}
