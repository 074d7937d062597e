//! Core files.

use super::cases;
use crate::sys::*;

cases![
    core_file_has_threads_and_memory,
    core_needs_a_limit,
    core_needs_to_be_allowed,
    core_is_cut_off,
    core_pattern_gives_the_name,
    core_filter_and_dontdump,
];

/// Changes to a new directory, which core files go to.
fn new_dir(name: &str) {
    let dir = format!("/tmp/core-{name}");
    std::fs::create_dir(&dir).expect("it is new");
    std::env::set_current_dir(&dir).expect("it is there");
}

fn set_core_limit(bytes: u64) {
    ok(setrlimit(libc::RLIMIT_CORE, bytes, libc::RLIM_INFINITY));
}

/// Whether a child that does this and then gets `SIGQUIT` leaves a core file.
fn dumps(body: impl FnOnce()) -> bool {
    let pid = child(|| {
        forget_the_runtime();
        body();
        default_signal(libc::SIGQUIT);
        raise(libc::SIGQUIT);
        0
    });
    let mut status = 0;
    assert_eq!(ok(waitpid(pid, &mut status, 0)), pid);
    assert!(libc::WIFSIGNALED(status));
    assert_eq!(libc::WTERMSIG(status), libc::SIGQUIT);
    libc::WCOREDUMP(status)
}

/// A core file, taken apart.
struct Core {
    bytes: Vec<u8>,
}

impl Core {
    fn read(path: &str) -> Core {
        let bytes = std::fs::read(path).expect("there is a core file");
        assert_eq!(&bytes[..4], b"\x7fELF");
        assert_eq!(&bytes[16..20], &[4, 0, 62, 0], "ET_CORE, x86-64");
        Core { bytes }
    }

    fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    fn half(&self, at: usize) -> usize {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes")) as usize
    }

    /// Kind, offset, address, size in the file and in memory of each segment.
    fn segments(&self) -> Vec<(usize, usize, usize, usize, usize)> {
        let count = usize::from(self.bytes[56]) | usize::from(self.bytes[57]) << 8;
        let segment = |n: usize| {
            let at = 64 + 56 * n;
            let word = |offset| self.word(at + offset) as usize;
            (self.half(at), word(8), word(16), word(32), word(40))
        };
        (0..count).map(segment).collect()
    }

    fn notes(&self) -> Vec<(usize, &[u8])> {
        let (_, mut at, _, len, _) = self.segments()[0];
        let end = at + len;
        let mut notes = Vec::new();
        while at < end {
            let (name, size, kind) = (self.half(at), self.half(at + 4), self.half(at + 8));
            let contents = at + 12 + name.next_multiple_of(4);
            notes.push((kind, &self.bytes[contents..contents + size]));
            at = contents + size.next_multiple_of(4);
        }
        notes
    }

    /// The file's bytes for memory at `addr`.
    fn memory(&self, addr: usize, len: usize) -> Option<&[u8]> {
        let (_, offset, start, ..) =
            self.segments()
                .into_iter()
                .find(|&(kind, _, start, filed, _)| {
                    kind == 1 && addr >= start && addr + len <= start + filed
                })?;
        let at = offset + addr - start;
        Some(&self.bytes[at..at + len])
    }
}

fn core_file_has_threads_and_memory() {
    new_dir("threads");
    let page = map(8192);
    poke_all(page as usize + 100, b"hello");
    assert!(dumps(|| {
        set_core_limit(libc::RLIM_INFINITY);
        for _ in 0..3 {
            std::thread::spawn(|| sleep_ms(100_000));
        }
        sleep_ms(100);
    }));
    let core = Core::read("core");
    let notes = core.notes();
    let of = |kind: usize| notes.iter().filter(move |(k, _)| *k == kind);
    // NT_PRSTATUS, NT_PRFPREG: one for each thread. The one that the signal ended comes first.
    assert_eq!(of(1).count(), 4);
    assert_eq!(of(2).count(), 4);
    assert_eq!(notes[0].0, 1);
    assert!(of(1).all(|(_, status)| status.len() == 336));
    assert_eq!(u16::from_le_bytes([notes[0].1[12], notes[0].1[13]]), 3);
    let info = of(0x5349_4749).next().expect("NT_SIGINFO").1;
    assert_eq!((info.len(), info[0]), (128, 3));
    let process = of(3).next().expect("NT_PRPSINFO").1;
    assert_eq!(process.len(), 136);
    assert!(process[40..56].starts_with(b"usertests"));
    let auxv = of(6).next().expect("NT_AUXV").1;
    assert!(auxv.len() >= 16 * 10);
    let files = of(0x4649_4c45).next().expect("NT_FILE").1;
    assert!(files.windows(14).any(|w| w == b"/bin/usertests"));
    assert_eq!(core.memory(page as usize + 100, 5), Some(&b"hello"[..]));
    let mode = std::fs::metadata("core").expect("it is there");
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&mode) & 0o7777, 0o600);
}

fn core_needs_a_limit() {
    new_dir("limit");
    assert!(!dumps(|| set_core_limit(0)));
    assert!(!std::path::Path::new("core").exists());
}

fn core_needs_to_be_allowed() {
    new_dir("dumpable");
    assert!(!dumps(|| {
        set_core_limit(libc::RLIM_INFINITY);
        ok(prctl(libc::PR_SET_DUMPABLE, 0));
    }));
    assert!(!std::path::Path::new("core").exists());
    // What is no file is not replaced.
    std::fs::create_dir("core").expect("it is new");
    assert!(!dumps(|| set_core_limit(libc::RLIM_INFINITY)));
    std::fs::remove_dir("core").expect("it is empty");
    // A link is, and what it leads to stays as it is.
    std::fs::write("other", b"kept").expect("a file");
    std::os::unix::fs::symlink("other", "core").expect("a link");
    assert!(dumps(|| set_core_limit(libc::RLIM_INFINITY)));
    std::fs::remove_file("core").expect("it is there");
    std::fs::hard_link("other", "core").expect("a link");
    assert!(dumps(|| set_core_limit(libc::RLIM_INFINITY)));
    assert_eq!(std::fs::read("other").expect("it is there"), b"kept");
}

fn core_is_cut_off() {
    new_dir("short");
    assert!(dumps(|| set_core_limit(16384)));
    assert!(std::fs::metadata("core").expect("it is there").len() <= 16384);
}

fn core_pattern_gives_the_name() {
    new_dir("pattern");
    let path = "/proc/sys/kernel/core_pattern";
    let old = std::fs::read_to_string(path).expect("there is a pattern");
    std::fs::write(path, "/tmp/core-pattern/c.%p.%s.%%.%e.%Q\n").expect("root may");
    let mut pid = 0;
    let dumped = {
        let (read, write) = pipe();
        let dumped = dumps(|| {
            set_core_limit(libc::RLIM_INFINITY);
            put(write, &getpid().to_ne_bytes());
        });
        let bytes = get(read, 4);
        pid += i32::from_ne_bytes(bytes.try_into().expect("four bytes"));
        dumped
    };
    std::fs::write(path, &old).expect("root may");
    assert!(dumped);
    Core::read(&format!("/tmp/core-pattern/c.{pid}.3.%.usertests."));
    assert_eq!(std::fs::read_to_string(path).expect("it is there"), old);
}

fn core_filter_and_dontdump() {
    new_dir("filter");
    let (kept, hidden) = (map(4096), map(8192));
    let shared = map_with(
        4096,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
    );
    for (at, value) in [(kept, 7), (hidden, 8), (shared, 9)] {
        poke(at as usize, value);
    }
    ok(madvise(hidden as usize, 8192, libc::MADV_DONTDUMP));
    assert!(dumps(|| {
        let filter = "/proc/self/coredump_filter";
        assert_eq!(
            std::fs::read_to_string(filter).expect("it is there"),
            "00000033\n"
        );
        std::fs::write(filter, "0x31").expect("it is ours");
        set_core_limit(libc::RLIM_INFINITY);
    }));
    let core = Core::read("core");
    assert_eq!(core.memory(kept as usize, 1), Some(&[7u8][..]));
    assert_eq!(core.memory(hidden as usize, 1), None);
    assert_eq!(core.memory(shared as usize, 1), None);
}
