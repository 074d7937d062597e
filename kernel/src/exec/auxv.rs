//! The auxiliary vector: what the kernel tells a new program.
//!
//! Source: getauxval(3).

use fs::Credentials;

/// One word each: kind and value.
pub type Entry = [u64; 2];

const AT_PHDR: u64 = 3;
const AT_PHENT: u64 = 4;
const AT_PHNUM: u64 = 5;
const AT_PAGESZ: u64 = 6;
const AT_BASE: u64 = 7;
const AT_FLAGS: u64 = 8;
const AT_ENTRY: u64 = 9;
const AT_UID: u64 = 11;
const AT_EUID: u64 = 12;
const AT_GID: u64 = 13;
const AT_EGID: u64 = 14;
const AT_PLATFORM: u64 = 15;
const AT_HWCAP: u64 = 16;
const AT_CLKTCK: u64 = 17;
const AT_SECURE: u64 = 23;
const AT_RANDOM: u64 = 25;
const AT_HWCAP2: u64 = 26;
const AT_EXECFN: u64 = 31;
const AT_SYSINFO_EHDR: u64 = 33;
const AT_MINSIGSTKSZ: u64 = 51;

/// `AT_HWCAP2`: programs may use `rdfsbase` and its kin.
const HWCAP2_FSGSBASE: u64 = 1 << 1;

/// Number of entries, with the last one of zeros.
pub const LEN: usize = 21;

/// What differs from program to program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Address of the vDSO, or 0.
    pub vdso: u64,
    /// Address of the program headers.
    pub phdr: u64,
    /// Their number.
    pub phnum: u64,
    /// Where the interpreter was loaded, or 0.
    pub base: u64,
    /// Where the program starts, once the interpreter is done.
    pub entry: u64,
    /// The program has more rights than its caller.
    pub secure: bool,
    /// Address of 16 random bytes.
    pub random: u64,
    /// Address of the path that was executed.
    pub execfn: u64,
    /// Address of the platform's name.
    pub platform: u64,
}

/// The vector for a program.
pub fn vector(facts: &Facts, cred: &Credentials) -> [Entry; LEN] {
    // CPUID leaf 1 exists on every x86-64 CPU.
    let features = u64::from(core::arch::x86_64::__cpuid(1).edx);
    let fsgsbase = if crate::arch::cpu_features::has_fsgsbase() {
        HWCAP2_FSGSBASE
    } else {
        0
    };
    [
        [AT_SYSINFO_EHDR, facts.vdso],
        [AT_MINSIGSTKSZ, crate::signal::frame::min_stack()],
        [AT_HWCAP, features],
        [AT_PAGESZ, 4096],
        [AT_CLKTCK, 100],
        [AT_PHDR, facts.phdr],
        [AT_PHENT, super::elf::PHDR_SIZE as u64],
        [AT_PHNUM, facts.phnum],
        [AT_BASE, facts.base],
        [AT_FLAGS, 0],
        [AT_ENTRY, facts.entry],
        [AT_UID, u64::from(cred.uid)],
        [AT_EUID, u64::from(cred.euid)],
        [AT_GID, u64::from(cred.gid)],
        [AT_EGID, u64::from(cred.egid)],
        [AT_SECURE, u64::from(facts.secure)],
        [AT_RANDOM, facts.random],
        [AT_HWCAP2, fsgsbase],
        [AT_EXECFN, facts.execfn],
        [AT_PLATFORM, facts.platform],
        [0, 0],
    ]
}
