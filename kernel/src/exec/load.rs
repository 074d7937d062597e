//! Mapping programs into a new address space.

use alloc::sync::Arc;
use alloc::vec::Vec;

use fs::{Errno, File, Mapping, SliceSink};

use super::elf::{self, Header, PF_R, PF_W, PF_X, Program, Segment};
use super::script::HEAD_SIZE;
use crate::mm::space::TASK_SIZE;
use crate::mm::{AddressSpace, Backing, FileBacking, MapFlags, MapRequest, PAGE_SIZE, Prot};
use crate::random;

const PAGE: u64 = PAGE_SIZE as u64;
/// Where position-independent programs with an interpreter go: two thirds up, as on Linux.
const DYN_BASE: u64 = (TASK_SIZE / 3 * 2) & !(PAGE - 1);
/// Random bits of addresses, in pages.
const MMAP_RANDOM: u64 = (1 << 28) - 1;
/// Random bits of the stack's address, in pages.
const STACK_RANDOM: u64 = (1 << 22) - 1;
/// How far the heap may start behind the program.
const BRK_RANDOM: u64 = 0x200_0000;

/// Why a program cannot be run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadError {
    /// execve(2) fails with this.
    Refused(Errno),
    /// The headers are right but lead nowhere: the old program is gone by the time Linux finds out, so the process gets
    /// `SIGSEGV`.
    Fatal,
}

impl From<Errno> for LoadError {
    fn from(e: Errno) -> Self {
        LoadError::Refused(e)
    }
}

/// An open program file.
pub struct Binary {
    /// The file.
    pub file: Arc<File>,
    mapping: Arc<Mapping>,
    /// Its first bytes, zeros after its end.
    pub head: [u8; HEAD_SIZE],
}

impl Binary {
    /// Reads the start of `file`.
    ///
    /// # Errors
    /// `EACCES` if it has no pages to map; those of reading.
    pub fn new(file: Arc<File>) -> Result<Binary, Errno> {
        let mapping = file.inode().mapping().cloned().ok_or(Errno::EACCES)?;
        let mut binary = Binary {
            file,
            mapping,
            head: [0; HEAD_SIZE],
        };
        let mut head = [0; HEAD_SIZE];
        binary.read(0, &mut head)?;
        binary.head = head;
        Ok(binary)
    }

    /// Fills `buffer` from position `pos`; gives how much there was.
    pub fn read(&self, pos: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut done = 0;
        while done < buffer.len() {
            let mut sink = SliceSink::new(&mut buffer[done..]);
            match self
                .mapping
                .read(pos.checked_add(done as u64).ok_or(Errno::EIO)?, &mut sink)?
            {
                0 => break,
                n => done += n,
            }
        }
        Ok(done)
    }

    /// Reads the headers.
    ///
    /// # Errors
    /// `ENOEXEC` if they are not right; `ENOMEM`.
    pub fn program(&self) -> Result<(Header, Program), Errno> {
        let header = elf::header(&self.head)?;
        let len = usize::from(header.phnum) * elf::PHDR_SIZE;
        let mut table = Vec::new();
        table.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        table.resize(len, 0);
        if self.read(header.phoff, &mut table)? != len {
            return Err(Errno::ENOEXEC);
        }
        Ok((header, elf::program(&table)?))
    }

    /// The interpreter's path.
    ///
    /// # Errors
    /// `ENOEXEC` if it does not end; `EIO` if the file does first; `ENOMEM`.
    pub fn interpreter(&self, offset: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let mut path = Vec::new();
        path.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
        path.resize(len, 0);
        if self.read(offset, &mut path)? != len {
            return Err(Errno::EIO);
        }
        if path.pop() != Some(0) {
            return Err(Errno::ENOEXEC);
        }
        if let Some(end) = path.iter().position(|byte| *byte == 0) {
            path.truncate(end);
        }
        Ok(path)
    }
}

/// Where a program has been mapped.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// What its addresses were moved by.
    pub bias: u64,
    /// Where it starts.
    pub entry: u64,
    /// Start and end of executable segments.
    pub code: (u64, u64),
    /// Start and end of the segment that is last in memory.
    pub data: (u64, u64),
    /// Behind its last byte.
    pub end: u64,
}

/// Where a program that can be moved goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Where {
    /// Where programs with an interpreter go.
    Program,
    /// Among the mappings: interpreters, and programs that need none.
    Mappings,
}

/// Maps a program.
///
/// # Errors
/// Any of mapping's; `EINVAL` for segments that cannot be.
pub fn map(
    space: &Arc<AddressSpace>,
    binary: &Binary,
    header: &Header,
    program: &Program,
    place: Where,
    randomize: bool,
) -> Result<Placed, Errno> {
    let bias = if header.relocatable {
        choose_bias(space, program, place, randomize)?
    } else {
        0
    };
    let mut placed = Placed {
        bias,
        entry: header.entry.wrapping_add(bias),
        code: (u64::MAX, 0),
        data: (0, 0),
        end: 0,
    };
    for segment in &program.segments {
        if segment.memsz == 0 {
            continue;
        }
        let pieces = segment.place(bias, TASK_SIZE)?;
        map_segment(space, binary, segment, bias)?;
        if segment.flags & PF_X != 0 {
            placed.code.0 = placed.code.0.min(segment.vaddr + bias);
            placed.code.1 = placed.code.1.max(pieces.zero_start);
        }
        if segment.vaddr + bias >= placed.data.0 {
            placed.data = (segment.vaddr + bias, pieces.zero_start);
        }
        placed.end = placed.end.max(pieces.end);
    }
    if placed.entry >= TASK_SIZE {
        return Err(Errno::EINVAL);
    }
    Ok(placed)
}

fn choose_bias(
    space: &Arc<AddressSpace>,
    program: &Program,
    place: Where,
    randomize: bool,
) -> Result<u64, Errno> {
    let (low, len) = program.extent()?;
    let align = program.alignment();
    let start = match place {
        Where::Program => {
            let random = if randomize {
                (random::next_u64() & MMAP_RANDOM) << 12
            } else {
                0
            };
            (DYN_BASE + random) & !(align - 1)
        }
        Where::Mappings => {
            // Finds room by mapping it; what is mapped there next takes its place.
            let request = MapRequest {
                low: false,
                addr: 0,
                len: len.checked_add(align).ok_or(Errno::ENOMEM)?,
                prot: Prot::empty(),
                flags: MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::NORESERVE,
                backing: Backing::Anon,
            };
            let total = request.len;
            let room = space.mmap(request)?;
            space.munmap(room, total)?;
            room.next_multiple_of(align)
        }
    };
    Ok(start.wrapping_sub(low))
}

fn prot(flags: u32) -> Prot {
    let mut prot = Prot::empty();
    prot.set(Prot::READ, flags & PF_R != 0);
    prot.set(Prot::WRITE, flags & PF_W != 0);
    prot.set(Prot::EXEC, flags & PF_X != 0);
    prot
}

fn map_segment(
    space: &Arc<AddressSpace>,
    binary: &Binary,
    segment: &Segment,
    bias: u64,
) -> Result<(), Errno> {
    let pieces = segment.place(bias, TASK_SIZE)?;
    let fixed = MapFlags::PRIVATE | MapFlags::FIXED;
    if pieces.file_len > 0 {
        space.mmap(MapRequest {
            low: false,
            addr: pieces.start,
            len: pieces.file_len,
            prot: prot(segment.flags),
            flags: fixed,
            backing: Backing::File(FileBacking {
                mapping: binary.mapping.clone(),
                file: Some(binary.file.clone()),
                offset: pieces.file_offset,
                name: None,
            }),
        })?;
        let tail = pieces
            .zero_start
            .next_multiple_of(PAGE)
            .min(pieces.anon_start)
            - pieces.zero_start;
        if pieces.end > pieces.zero_start && tail > 0 {
            zero(space, pieces.zero_start, tail, segment.flags & PF_W != 0)?;
        }
    }
    if pieces.anon_end > pieces.anon_start {
        space.mmap(MapRequest {
            low: false,
            addr: pieces.anon_start,
            len: pieces.anon_end - pieces.anon_start,
            prot: prot(segment.flags | PF_R | PF_W),
            flags: fixed | MapFlags::ANONYMOUS,
            backing: Backing::Anon,
        })?;
    }
    Ok(())
}

/// Zeroes the rest of a page that the file's last bytes lie in. A segment that is not writable may keep what the file
/// has there.
fn zero(space: &Arc<AddressSpace>, at: u64, len: u64, writable: bool) -> Result<(), Errno> {
    const ZEROS: [u8; 512] = [0; 512];
    let mut done = 0;
    while writable && done < len {
        let step = (len - done).min(ZEROS.len() as u64) as usize;
        if space.write_memory(at + done, &ZEROS[..step], false) != step {
            return Err(Errno::EFAULT);
        }
        done += step as u64;
    }
    Ok(())
}

/// A random address for the end of the stack.
pub fn stack_top(randomize: bool) -> u64 {
    let random = if randomize {
        (random::next_u64() & STACK_RANDOM) << 12
    } else {
        0
    };
    TASK_SIZE - random
}

/// Where the heap starts, behind a program that ends at `end`; one among the mappings gets its heap elsewhere.
pub fn brk_start(end: u64, among_mappings: bool, randomize: bool) -> u64 {
    let start = if among_mappings {
        DYN_BASE
    } else {
        end.next_multiple_of(PAGE)
    };
    let random = if randomize {
        (random::next_u64() % BRK_RANDOM) & !(PAGE - 1)
    } else {
        0
    };
    start + random
}
