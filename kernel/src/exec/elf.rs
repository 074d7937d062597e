//! ELF files: what the headers say, checked.
//!
//! Source: System V ABI, chapters 4 and 5; Linux `fs/binfmt_elf.c` for what is an error and which.

use alloc::vec::Vec;

use fs::Errno;

const PAGE: u64 = 4096;
/// Length of the file header.
pub const HEADER_SIZE: usize = 64;
/// Length of a program header.
pub const PHDR_SIZE: usize = 56;
/// Program headers beyond this many bytes are not looked at.
const PHDRS_MAX: usize = 65536;

const ET_EXEC: u16 = 2;
const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;

const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;

/// `p_flags`: executable.
pub const PF_X: u32 = 1;
/// `p_flags`: writable.
pub const PF_W: u32 = 2;
/// `p_flags`: readable.
pub const PF_R: u32 = 4;

/// The file header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Its addresses are to be moved to where there is room.
    pub relocatable: bool,
    /// Where it starts.
    pub entry: u64,
    /// Where the program headers lie in the file.
    pub phoff: u64,
    /// How many there are.
    pub phnum: u16,
}

/// A part of the file to be mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// `PF_*`.
    pub flags: u32,
    /// Where it starts in the file.
    pub offset: u64,
    /// Where it goes.
    pub vaddr: u64,
    /// How much of it is in the file.
    pub filesz: u64,
    /// How much memory it takes; beyond what is in the file it is zero.
    pub memsz: u64,
    /// What its address is a multiple of.
    pub align: u64,
}

/// What the program headers say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Program {
    /// What is to be mapped, in order.
    pub segments: Vec<Segment>,
    /// Where in the file the path of the interpreter is, and its length with the final zero.
    pub interpreter: Option<(u64, usize)>,
    /// Whether the stack is executable; by default it is.
    pub exec_stack: Option<bool>,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Reads the header of a program; `bytes` is the start of the file, zeros after its end.
///
/// # Errors
/// `ENOEXEC` if it is no ELF file for this machine.
pub fn header(bytes: &[u8]) -> Result<Header, Errno> {
    if bytes.len() < HEADER_SIZE || bytes[..4] != *b"\x7fELF" {
        return Err(Errno::ENOEXEC);
    }
    let kind = u16_at(bytes, 16);
    let phnum = u16_at(bytes, 56);
    let right = matches!(kind, ET_EXEC | ET_DYN)
        && u16_at(bytes, 18) == EM_X86_64
        && usize::from(u16_at(bytes, 54)) == PHDR_SIZE
        && phnum > 0
        && usize::from(phnum) * PHDR_SIZE <= PHDRS_MAX;
    if !right {
        return Err(Errno::ENOEXEC);
    }
    Ok(Header {
        relocatable: kind == ET_DYN,
        entry: u64_at(bytes, 24),
        phoff: u64_at(bytes, 32),
        phnum,
    })
}

/// Reads the program headers, which are all of `table`.
///
/// # Errors
/// `ENOEXEC` if the interpreter's path cannot be one; `ENOMEM`.
pub fn program(table: &[u8]) -> Result<Program, Errno> {
    let mut program = Program::default();
    for entry in table.chunks_exact(PHDR_SIZE) {
        let segment = Segment {
            flags: u32_at(entry, 4),
            offset: u64_at(entry, 8),
            vaddr: u64_at(entry, 16),
            filesz: u64_at(entry, 32),
            memsz: u64_at(entry, 40),
            align: u64_at(entry, 48),
        };
        match u32_at(entry, 0) {
            PT_LOAD => {
                program.segments.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                program.segments.push(segment);
            }
            PT_INTERP if program.interpreter.is_none() => {
                if segment.filesz < 2 || segment.filesz > 4096 {
                    return Err(Errno::ENOEXEC);
                }
                program.interpreter = Some((segment.offset, segment.filesz as usize));
            }
            PT_GNU_STACK => program.exec_stack = Some(segment.flags & PF_X != 0),
            _ => {}
        }
    }
    Ok(program)
}

/// One mapping that a segment becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pieces {
    /// First page.
    pub start: u64,
    /// Bytes mapped from the file, not rounded up; 0 for none.
    pub file_len: u64,
    /// Where they start in the file, a multiple of the page size.
    pub file_offset: u64,
    /// End of what is in the file, where zeros begin.
    pub zero_start: u64,
    /// First page that is all zeros.
    pub anon_start: u64,
    /// Behind the last page that is all zeros.
    pub anon_end: u64,
    /// End of the segment, exactly.
    pub end: u64,
}

impl Segment {
    /// Where the segment goes when the file is moved by `bias`.
    ///
    /// # Errors
    /// `EINVAL` if it does not fit below `limit`, has more in the file than in memory, or the file offset does not go
    /// with the address.
    pub fn place(&self, bias: u64, limit: u64) -> Result<Pieces, Errno> {
        let at = self.vaddr.wrapping_add(bias);
        let in_page = at % PAGE;
        if at >= limit || self.filesz > self.memsz || self.memsz > limit || limit - self.memsz < at
        {
            return Err(Errno::EINVAL);
        }
        if self.filesz != 0 && self.offset % PAGE != in_page {
            return Err(Errno::EINVAL);
        }
        let zero_start = at + self.filesz;
        let end = at + self.memsz;
        let anon_start = if self.filesz == 0 {
            at - in_page
        } else {
            zero_start.next_multiple_of(PAGE)
        };
        Ok(Pieces {
            start: at - in_page,
            file_len: if self.filesz == 0 {
                0
            } else {
                self.filesz + in_page
            },
            file_offset: self.offset - if self.filesz == 0 { 0 } else { in_page },
            zero_start,
            anon_start,
            anon_end: end.next_multiple_of(PAGE).max(anon_start),
            end,
        })
    }
}

impl Program {
    /// First page and length, from the first page to the end of the last segment.
    ///
    /// # Errors
    /// `EINVAL` if there is nothing to map or the addresses overflow.
    pub fn extent(&self) -> Result<(u64, u64), Errno> {
        let loaded = self.segments.iter().filter(|segment| segment.memsz > 0);
        let low = loaded
            .clone()
            .map(|segment| segment.vaddr & !(PAGE - 1))
            .min()
            .ok_or(Errno::EINVAL)?;
        let mut high = 0;
        for segment in loaded {
            high = high.max(
                segment
                    .vaddr
                    .checked_add(segment.memsz)
                    .ok_or(Errno::EINVAL)?,
            );
        }
        Ok((low, high - low))
    }

    /// The alignment that a moved file needs: the largest power of two of its segments, at least a page.
    pub fn alignment(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.align)
            .filter(|align| align.is_power_of_two())
            .fold(PAGE, u64::max)
    }

    /// Where the program headers are in memory, if a segment holds them; the program is moved by `bias`.
    pub fn phdr_address(&self, header: &Header, bias: u64) -> u64 {
        self.segments
            .iter()
            .find(|s| s.offset <= header.phoff && header.phoff - s.offset < s.filesz)
            .map_or(0, |s| {
                (header.phoff - s.offset)
                    .wrapping_add(s.vaddr)
                    .wrapping_add(bias)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = (1 << 47) - 4096;

    fn image(kind: u16, phnum: u16) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_SIZE];
        bytes[..4].copy_from_slice(b"\x7fELF");
        bytes[16..18].copy_from_slice(&kind.to_le_bytes());
        bytes[18..20].copy_from_slice(&EM_X86_64.to_le_bytes());
        bytes[24..32].copy_from_slice(&0x40_1000u64.to_le_bytes());
        bytes[32..40].copy_from_slice(&64u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&(PHDR_SIZE as u16).to_le_bytes());
        bytes[56..58].copy_from_slice(&phnum.to_le_bytes());
        bytes
    }

    fn phdr(kind: u32, flags: u32, offset: u64, vaddr: u64, filesz: u64, memsz: u64) -> Vec<u8> {
        let mut bytes = vec![0; PHDR_SIZE];
        bytes[0..4].copy_from_slice(&kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&flags.to_le_bytes());
        for (at, value) in [
            (8, offset),
            (16, vaddr),
            (32, filesz),
            (40, memsz),
            (48, 4096),
        ] {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn segment(offset: u64, vaddr: u64, filesz: u64, memsz: u64) -> Segment {
        Segment {
            flags: PF_R,
            offset,
            vaddr,
            filesz,
            memsz,
            align: 4096,
        }
    }

    #[test]
    fn headers_of_programs_are_read_and_others_refused() {
        let read = header(&image(ET_EXEC, 2)).unwrap();
        assert_eq!(
            (read.relocatable, read.entry, read.phnum),
            (false, 0x40_1000, 2)
        );
        assert!(header(&image(ET_DYN, 1)).unwrap().relocatable);
        assert_eq!(header(&image(1, 1)), Err(Errno::ENOEXEC));
        assert_eq!(header(&image(ET_EXEC, 0)), Err(Errno::ENOEXEC));
        assert_eq!(header(&image(ET_EXEC, 2000)), Err(Errno::ENOEXEC));
        assert_eq!(header(&image(ET_EXEC, 2)[..60]), Err(Errno::ENOEXEC));
        for (at, value) in [(0, b'!'), (18, 3), (54, 0)] {
            let mut bad = image(ET_EXEC, 2);
            bad[at] = value;
            assert_eq!(header(&bad), Err(Errno::ENOEXEC));
        }
    }

    #[test]
    fn the_first_interpreter_counts_and_must_have_a_path() {
        let table = [
            phdr(PT_INTERP, 4, 0x200, 0, 28, 28),
            phdr(PT_INTERP, 4, 0x300, 0, 9, 9),
        ]
        .concat();
        assert_eq!(program(&table).unwrap().interpreter, Some((0x200, 28)));
        assert_eq!(
            program(&phdr(PT_INTERP, 4, 0, 0, 1, 1)),
            Err(Errno::ENOEXEC)
        );
        assert_eq!(
            program(&phdr(PT_INTERP, 4, 0, 0, 5000, 1)),
            Err(Errno::ENOEXEC)
        );
        assert_eq!(
            program(&phdr(PT_GNU_STACK, 6, 0, 0, 0, 0))
                .unwrap()
                .exec_stack,
            Some(false)
        );
        assert_eq!(program(&[]).unwrap().exec_stack, None);
    }

    #[test]
    fn a_segment_is_split_into_file_and_zeros() {
        let pieces = segment(0x1e10, 0x403e10, 0x230, 0x1500)
            .place(0, LIMIT)
            .unwrap();
        assert_eq!(
            (pieces.start, pieces.file_offset, pieces.file_len),
            (0x403000, 0x1000, 0x1040)
        );
        assert_eq!(
            (pieces.zero_start, pieces.anon_start, pieces.anon_end),
            (0x404040, 0x405000, 0x406000)
        );
        assert_eq!(pieces.end, 0x405310);
    }

    #[test]
    fn a_segment_without_file_part_is_all_zeros() {
        let pieces = segment(0x123, 0x500010, 0, 0x2000).place(0, LIMIT).unwrap();
        assert_eq!(
            (pieces.file_len, pieces.anon_start, pieces.anon_end),
            (0, 0x500000, 0x503000)
        );
    }

    #[test]
    fn segments_that_cannot_be_are_refused() {
        for bad in [
            segment(0, LIMIT, 1, 1),
            segment(0, u64::MAX - 0xfff, 0x1000, 0x1000),
            segment(0, 0x400000, 0x2000, 0x1000),
            segment(0, 0x400000, 0x1000, u64::MAX),
            segment(0, LIMIT - 0x1000, 0x1000, 0x2000),
            segment(0x10, 0x400000, 0x1000, 0x1000),
        ] {
            assert_eq!(bad.place(0, LIMIT), Err(Errno::EINVAL), "{bad:?}");
        }
        // A bias that wraps around the top is caught by the same check.
        assert!(
            segment(0, 0x1000, 1, 1)
                .place(u64::MAX - 0x2fff, LIMIT)
                .is_err()
        );
    }

    #[test]
    fn extent_alignment_and_headers_in_memory() {
        let mut program = Program::default();
        assert_eq!(program.extent(), Err(Errno::EINVAL));
        program.segments = vec![
            segment(0, 0, 0x600, 0x600),
            Segment {
                align: 0x20_0000,
                ..segment(0x1000, 0x3010, 0x20, 0x9000)
            },
        ];
        assert_eq!(program.extent(), Ok((0, 0xc010)));
        assert_eq!(program.alignment(), 0x20_0000);
        let head = Header {
            relocatable: true,
            entry: 0,
            phoff: 64,
            phnum: 2,
        };
        assert_eq!(
            program.phdr_address(&head, 0x5555_0000_0000),
            0x5555_0000_0040
        );
        assert_eq!(
            program.phdr_address(
                &Header {
                    phoff: 0x10_0000,
                    ..head
                },
                0
            ),
            0
        );
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400), bias: u64) {
            let _ = header(&bytes);
            if let Ok(program) = program(&bytes) {
                let _ = program.extent();
                for segment in &program.segments {
                    if let Ok(pieces) = segment.place(bias, LIMIT) {
                        assert!(pieces.start <= pieces.anon_start && pieces.anon_start <= pieces.anon_end);
                        assert!(pieces.anon_end <= LIMIT + PAGE);
                    }
                }
            }
        }
    }
}
