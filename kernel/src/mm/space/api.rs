//! What callers say to an address space, and what it answers.

use alloc::sync::Arc;
use bitflags::bitflags;
use fs::{File, Mapping};

use crate::mm::vma::VmFlags;

bitflags! {
    /// `PROT_*` of `mmap(2)`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Prot: u32 {
        /// `PROT_READ`
        const READ = 1;
        /// `PROT_WRITE`
        const WRITE = 2;
        /// `PROT_EXEC`
        const EXEC = 4;
        /// `PROT_SEM`: accepted, without meaning on x86.
        const SEM = 8;
        /// `PROT_GROWSDOWN`, for `mprotect`.
        const GROWSDOWN = 0x0100_0000;
        /// `PROT_GROWSUP`, for `mprotect`.
        const GROWSUP = 0x0200_0000;
    }

    /// `MAP_*` of `mmap(2)`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct MapFlags: u32 {
        /// `MAP_SHARED`
        const SHARED = 1;
        /// `MAP_PRIVATE`
        const PRIVATE = 2;
        /// `MAP_SHARED_VALIDATE`: both of the above.
        const SHARED_VALIDATE = 3;
        /// `MAP_FIXED`
        const FIXED = 0x10;
        /// `MAP_ANONYMOUS`
        const ANONYMOUS = 0x20;
        /// `MAP_32BIT`
        const BIT32 = 0x40;
        /// `MAP_GROWSDOWN`
        const GROWSDOWN = 0x100;
        /// `MAP_DENYWRITE`, ignored
        const DENYWRITE = 0x800;
        /// `MAP_EXECUTABLE`, ignored
        const EXECUTABLE = 0x1000;
        /// `MAP_LOCKED`
        const LOCKED = 0x2000;
        /// `MAP_NORESERVE`
        const NORESERVE = 0x4000;
        /// `MAP_POPULATE`
        const POPULATE = 0x8000;
        /// `MAP_NONBLOCK`
        const NONBLOCK = 0x1_0000;
        /// `MAP_STACK`, ignored
        const STACK = 0x2_0000;
        /// `MAP_HUGETLB`
        const HUGETLB = 0x4_0000;
        /// `MAP_SYNC`
        const SYNC = 0x8_0000;
        /// `MAP_FIXED_NOREPLACE`
        const FIXED_NOREPLACE = 0x10_0000;
        /// `MAP_UNINITIALIZED`, ignored
        const UNINITIALIZED = 0x400_0000;
        /// Where the size of a large page is, as the logarithm to base 2.
        const HUGE_SIZE = 0x3f << 26;
        /// `LEGACY_MAP_MASK`: what `MAP_SHARED_VALIDATE` accepts of every file.
        const LEGACY = 0x7c07_f973;
    }
}

/// What a mapping shows.
#[derive(Clone)]
pub enum Backing {
    /// Zeros, and what is written there. With `MAP_SHARED`, shared with the children of `fork`.
    Anon,
    /// A file's page cache.
    File(FileBacking),
}

/// A part of a file.
#[derive(Clone)]
pub struct FileBacking {
    /// The page cache.
    pub mapping: Arc<Mapping>,
    /// The open file: held while mapped, asked for its rights, and shown in `/proc/PID/maps`.
    pub file: Option<Arc<File>>,
    /// Byte offset of the first page.
    pub offset: u64,
    /// What `/proc/PID/maps` shows where there is no file: `"[vdso]"`.
    pub name: Option<&'static str>,
}

/// The arguments of `mmap(2)`, decoded.
#[derive(Clone)]
pub struct MapRequest {
    /// Whether it may go below [`sysctl::MMAP_MIN_ADDR`](crate::mm::sysctl::MMAP_MIN_ADDR): by `CAP_SYS_RAWIO`.
    pub low: bool,
    /// Where, or near where.
    pub addr: u64,
    /// Bytes; rounded up to pages.
    pub len: u64,
    /// The rights.
    pub prot: Prot,
    /// The flags; one of `SHARED` and `PRIVATE` is there.
    pub flags: MapFlags,
    /// What is mapped.
    pub backing: Backing,
}

/// Resource limits that memory calls obey, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `RLIMIT_AS`
    pub address_space: u64,
    /// `RLIMIT_DATA`
    pub data: u64,
    /// `RLIMIT_STACK`
    pub stack: u64,
    /// `RLIMIT_MEMLOCK`; those who have `CAP_IPC_LOCK` are not bound by it.
    pub memlock: u64,
}

impl Limits {
    /// Linux's defaults for process 1.
    pub const DEFAULT: Limits = Limits {
        address_space: u64::MAX,
        data: u64::MAX,
        stack: 8 << 20,
        memlock: 8 << 20,
    };
}

/// How memory was touched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// A write, as opposed to a read.
    pub write: bool,
    /// An instruction fetch.
    pub exec: bool,
    /// From user mode, as opposed to the kernel's copying.
    pub user: bool,
}

/// A fault that cannot be resolved: the signal it becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// `SIGSEGV`, `SIGBUS`, or `SIGKILL` where memory ran out.
    pub signo: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub addr: u64,
}

impl Fault {
    const SIGBUS: i32 = 7;
    const SIGKILL: i32 = 9;
    const SIGSEGV: i32 = 11;

    /// Nothing is mapped there: `SEGV_MAPERR`.
    pub const fn unmapped(addr: u64) -> Fault {
        Fault {
            signo: Self::SIGSEGV,
            code: 1,
            addr,
        }
    }

    /// The mapping forbids it: `SEGV_ACCERR`.
    pub const fn forbidden(addr: u64) -> Fault {
        Fault {
            signo: Self::SIGSEGV,
            code: 2,
            addr,
        }
    }

    /// The file has no such page: `BUS_ADRERR`.
    pub const fn beyond_file(addr: u64) -> Fault {
        Fault {
            signo: Self::SIGBUS,
            code: 2,
            addr,
        }
    }

    /// Memory ran out, and this process is the one to end.
    pub const fn out_of_memory(addr: u64) -> Fault {
        Fault {
            signo: Self::SIGKILL,
            code: 0,
            addr,
        }
    }
}

/// Where `exec` has put the parts of a program, for `/proc` and `prctl(PR_SET_MM)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "Linux's own names")]
pub struct ProgramLayout {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
}

/// One mapping, as `/proc/PID/maps` shows it.
pub struct VmaInfo<'a> {
    /// First byte.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
    /// The rights.
    pub prot: Prot,
    /// All that is known of it.
    pub flags: VmFlags,
    /// `s` as opposed to `p`.
    pub shared: bool,
    /// Byte offset in the file.
    pub offset: u64,
    /// The file.
    pub file: Option<&'a Arc<File>>,
    /// Private pages were put here.
    pub has_anon: bool,
    /// `MADV_DONTDUMP`, or a device's.
    pub dont_dump: bool,
    /// `[heap]`, `[stack]`, `[vdso]`, `/dev/zero (deleted)`...
    pub name: Option<&'static str>,
}

/// Sizes in pages, for `/proc/PID/{statm,status,stat}` and `getrusage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the lines of /proc/PID/status")]
pub struct SpaceStats {
    pub total: u64,
    pub peak: u64,
    pub locked: u64,
    pub data: u64,
    pub stack: u64,
    pub exec: u64,
    pub rss_anon: u64,
    pub rss_file: u64,
    pub rss_shmem: u64,
    pub rss_peak: u64,
    pub page_tables: u64,
    pub mappings: u64,
}

impl SpaceStats {
    /// All resident pages.
    pub fn rss(&self) -> u64 {
        self.rss_anon + self.rss_file + self.rss_shmem
    }
}
