//! The file itself: an ELF file of notes and memory, as debuggers read it.
//!
//! Source: Linux `fs/binfmt_elf.c` and `include/uapi/linux/elfcore.h`, for the layouts.

use alloc::sync::Arc;
use alloc::vec::Vec;

use fs::{Errno, File};

use super::{Filter, Out, Record, filter, peek};
use crate::arch::cpu_features;
use crate::mm::{AddressSpace, Prot};
use crate::process::trace::regs::{self, FPREGS_SIZE};
use crate::process::{Process, Thread};
use crate::signal::SigInfo;

pub(super) const PAGE: u64 = 4096;

const EHDR: usize = 64;
const PHDR: usize = 56;
const ET_CORE: u16 = 4;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;

const NT_PRSTATUS: u32 = 1;
const NT_PRFPREG: u32 = 2;
const NT_PRPSINFO: u32 = 3;
const NT_AUXV: u32 = 6;
const NT_X86_XSTATE: u32 = 0x202;
const NT_FILE: u32 = 0x4649_4c45;
const NT_SIGINFO: u32 = 0x5349_4749;

/// More mappings than the header can count are left out.
const MAPPINGS_MAX: usize = 0xffff - 2;

/// A mapping, and how much of it goes into the file.
struct Area {
    start: u64,
    end: u64,
    prot: Prot,
    dumped: u64,
    file: Option<Arc<File>>,
    offset: u64,
}

/// Bytes in the making.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn words(&mut self, words: &[u64]) {
        words.iter().for_each(|word| self.u64(*word));
    }
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }
    /// Text in a field of `len` bytes.
    fn text(&mut self, text: &[u8], len: usize) {
        let end = self.0.len() + len;
        self.0.extend_from_slice(&text[..text.len().min(len)]);
        self.0.resize(end, 0);
    }

    fn note(&mut self, name: &[u8], kind: u32, contents: &[u8]) {
        self.u32(name.len() as u32);
        self.u32(contents.len() as u32);
        self.u32(kind);
        self.0.extend_from_slice(name);
        self.align(4);
        self.0.extend_from_slice(contents);
        self.align(4);
    }
}

/// Writes the core file.
pub(super) fn write(
    out: &mut Out<'_>,
    thread: &Arc<Thread>,
    space: &AddressSpace,
    own: &Record,
    others: &[Record],
    info: &SigInfo,
    filter: Filter,
) -> Result<(), Errno> {
    let areas = areas(space, filter);
    let notes = notes(thread, space, own, others, info, &areas);
    let headers = EHDR + PHDR * (areas.len() + 1);
    let data_start = (headers + notes.len()).next_multiple_of(PAGE as usize) as u64;
    out.put(&header(areas.len() as u16 + 1))?;
    let mut table = Bytes::default();
    program_header(
        &mut table,
        PT_NOTE,
        0,
        headers as u64,
        0,
        [notes.len() as u64, 0],
    );
    let mut at = data_start;
    for area in &areas {
        let rights = [(Prot::EXEC, 1), (Prot::WRITE, 2), (Prot::READ, 4)];
        let flags = rights
            .iter()
            .filter(|(right, _)| area.prot.contains(*right))
            .fold(0, |flags, (_, bit)| flags | bit);
        let sizes = [area.dumped, area.end - area.start];
        program_header(&mut table, PT_LOAD, flags, at, area.start, sizes);
        at += area.dumped;
    }
    out.put(&table.0)?;
    out.put(&notes)?;
    out.skip(data_start - out.pos)?;
    for area in &areas {
        memory(out, space, area.start, area.dumped)?;
    }
    Ok(())
}

fn header(count: u16) -> Vec<u8> {
    let mut bytes = Bytes::default();
    // 64 bits, little-endian, version 1.
    bytes.text(&[0x7f, b'E', b'L', b'F', 2, 1, 1], 16);
    bytes.u16(ET_CORE);
    bytes.u16(EM_X86_64);
    bytes.u32(1);
    bytes.words(&[0, EHDR as u64, 0]);
    bytes.u32(0);
    for half in [EHDR as u16, PHDR as u16, count, 0, 0, 0] {
        bytes.u16(half);
    }
    bytes.0
}

/// `sizes`: in the file, in memory.
fn program_header(to: &mut Bytes, kind: u32, flags: u32, offset: u64, addr: u64, sizes: [u64; 2]) {
    let align = if kind == PT_LOAD { PAGE } else { 0 };
    to.u32(kind);
    to.u32(flags);
    to.words(&[offset, addr, 0, sizes[0], sizes[1], align]);
}

/// Copies memory, page by page: what is not there, or is zero, becomes a hole.
fn memory(out: &mut Out<'_>, space: &AddressSpace, start: u64, len: u64) -> Result<(), Errno> {
    let mut page = alloc::vec![0; PAGE as usize];
    for at in (start..start + len).step_by(PAGE as usize) {
        let there = peek(space, at, &mut page);
        if there && page.iter().any(|byte| *byte != 0) {
            out.put(&page)?;
        } else {
            out.skip(PAGE)?;
        }
    }
    Ok(())
}

fn areas(space: &AddressSpace, filter: Filter) -> Vec<Area> {
    let mut areas = Vec::new();
    space.for_each_vma(0, &mut |vma| {
        let wants = |bit: u32| filter.0 & bit != 0;
        let size = vma.end - vma.start;
        let whole = match (vma.shared, vma.file) {
            _ if vma.dont_dump => false,
            // The vDSO, which no file has.
            (_, None) if vma.name == Some("[vdso]") => true,
            (true, None) => wants(filter::ANON_SHARED),
            (true, Some(file)) if file.inode().nlink() == 0 => wants(filter::ANON_SHARED),
            (true, Some(_)) => wants(filter::MAPPED_SHARED),
            (false, None) => wants(filter::ANON_PRIVATE),
            (false, Some(_)) => {
                vma.has_anon && wants(filter::ANON_PRIVATE) || wants(filter::MAPPED_PRIVATE)
            }
        };
        let head = !whole
            && !vma.dont_dump
            && wants(filter::ELF_HEADERS)
            && vma.file.is_some()
            && vma.offset == 0
            && vma.prot.contains(Prot::READ);
        if areas.len() < MAPPINGS_MAX && areas.try_reserve(1).is_ok() {
            areas.push(Area {
                start: vma.start,
                end: vma.end,
                prot: vma.prot,
                dumped: match (whole, head) {
                    (true, _) => size,
                    (false, true) => PAGE,
                    (false, false) => 0,
                },
                file: vma.file.cloned(),
                offset: vma.offset,
            });
        }
        true
    });
    areas
}

fn notes(
    thread: &Arc<Thread>,
    space: &AddressSpace,
    own: &Record,
    others: &[Record],
    info: &SigInfo,
    areas: &[Area],
) -> Vec<u8> {
    let process = thread.process();
    let mut notes = Bytes::default();
    let name = b"CORE\0";
    for (n, record) in core::iter::once(own).chain(others).enumerate() {
        notes.note(name, NT_PRSTATUS, &status(process, record, info));
        if n == 0 {
            notes.note(name, NT_PRPSINFO, &process_info(thread, space));
            notes.note(name, NT_SIGINFO, &info.to_bytes());
            let auxv = process.image.lock().auxv.clone();
            let mut words = Bytes::default();
            words.words(&auxv);
            notes.note(name, NT_AUXV, &words.0);
            notes.note(name, NT_FILE, &files(thread, areas));
        }
        notes.note(name, NT_PRFPREG, &record.fpu.0[..FPREGS_SIZE]);
        if cpu_features::has_xsave() {
            let xstate = regs::with_components(&record.fpu);
            notes.note(b"LINUX\0", NT_X86_XSTATE, &xstate);
        }
    }
    notes.0
}

/// Parent, group and session.
fn relations(process: &Process) -> [u32; 3] {
    let group = process.group();
    [process.ppid(), group.id, group.session.id].map(|id| id as u32)
}

/// `struct elf_prstatus`.
fn status(process: &Process, record: &Record, info: &SigInfo) -> Vec<u8> {
    let mut bytes = Bytes::default();
    bytes.u32(info.signo as u32);
    bytes.u32(info.code as u32);
    bytes.u32(info.errno as u32);
    bytes.u16(info.signo as u16);
    bytes.u16(0);
    bytes.words(&[record.pending, record.blocked]);
    bytes.u32(record.tid as u32);
    relations(process).iter().for_each(|id| bytes.u32(*id));
    let usage = process.usage();
    for ns in [usage.user_ns, usage.system_ns, 0, 0] {
        bytes.words(&[ns / 1_000_000_000, ns / 1000 % 1_000_000]);
    }
    bytes.words(&record.regs);
    // The vector registers are there.
    bytes.u32(1);
    bytes.u32(0);
    bytes.0
}

/// `struct elf_prpsinfo`.
fn process_info(thread: &Thread, space: &AddressSpace) -> Vec<u8> {
    const ARGS: usize = 80;
    let process = thread.process();
    let cred = thread.cred();
    let mut bytes = Bytes::default();
    // State: running.
    bytes.text(&[0, b'R', 0, 0], 8);
    bytes.u64(0);
    bytes.u32(cred.uid);
    bytes.u32(cred.gid);
    bytes.u32(process.pid as u32);
    relations(process).iter().for_each(|id| bytes.u32(*id));
    bytes.text(&thread.comm(), 16);
    let layout = space.layout();
    let len = layout.arg_end.saturating_sub(layout.arg_start) as usize;
    let mut args = [0; ARGS];
    let len = len.min(ARGS - 1);
    let len = space.read_memory(layout.arg_start, &mut args[..len], true);
    for byte in &mut args[..len.saturating_sub(1)] {
        if *byte == 0 {
            *byte = b' ';
        }
    }
    bytes.text(&args, ARGS);
    bytes.0
}

/// `NT_FILE`: which file lies where.
fn files(thread: &Thread, areas: &[Area]) -> Vec<u8> {
    let root = thread.fs().lock().root.clone();
    let (mut ranges, mut names) = (Bytes::default(), Vec::new());
    let mut count = 0;
    for area in areas {
        let Some(path) = area
            .file
            .as_ref()
            .and_then(|f| f.path().display(&root).ok())
        else {
            continue;
        };
        ranges.words(&[area.start, area.end, area.offset / PAGE]);
        names.extend_from_slice(&path);
        names.push(0);
        count += 1;
    }
    let mut bytes = Bytes::default();
    bytes.words(&[count, PAGE]);
    bytes.0.extend_from_slice(&ranges.0);
    bytes.0.extend_from_slice(&names);
    bytes.0
}
