//! Where a program finds its parts, and what its mappings are.

use super::{ANON, RW, dies};
use crate::cases::cases;
use crate::sys::*;
use libc::{
    MAP_ANONYMOUS, MAP_GROWSDOWN, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE,
};

cases![
    a_program_lies_as_linux_lays_it,
    the_vector_tells_of_the_program,
    rights_are_what_was_asked_for,
    neighbours_become_one_line,
    a_map_grows_down_and_keeps_its_distance,
    sharing_is_seen_and_privacy_kept,
    a_file_knows_who_maps_it,
];

/// A line of `/proc/self/maps`.
#[derive(Debug)]
struct Line {
    start: usize,
    end: usize,
    rights: String,
    name: String,
}

fn lines() -> Vec<Line> {
    let text = std::fs::read_to_string("/proc/self/maps").expect("maps");
    text.lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            let (start, end) = words
                .next()
                .and_then(|w| w.split_once('-'))
                .expect("a range");
            let number = |text| usize::from_str_radix(text, 16).expect("hexadecimal");
            Line {
                start: number(start),
                end: number(end),
                rights: words.next().expect("rights").to_string(),
                name: words.nth(3).unwrap_or("").to_string(),
            }
        })
        .collect()
}

/// The line of the mapping at an address.
#[track_caller]
fn line_of(at: usize) -> Line {
    lines()
        .into_iter()
        .find(|line| line.start <= at && at < line.end)
        .expect("it is mapped")
}

fn a_program_lies_as_linux_lays_it() {
    let lines = lines();
    assert!(lines.is_sorted_by(|a, b| a.end <= b.start), "{lines:?}");
    let here = a_program_lies_as_linux_lays_it as fn() as usize;
    let text = lines.iter().position(|l| l.start <= here && here < l.end);
    let text = text.expect("the program is mapped");
    assert_eq!(lines[text].rights, "r-xp");
    // Its data is behind its text, and the stack above all that the program maps.
    let program = &lines[text].name;
    let data = lines
        .iter()
        .rposition(|l| l.name == *program && l.rights == "rw-p")
        .expect("data");
    assert!(text < data);
    let brk = call(libc::SYS_brk, &[0]).expect("brk never fails that way");
    assert_eq!(call(libc::SYS_brk, &[brk + 4096]), Ok(brk + 4096));
    assert_eq!(line_of(brk).name, "[heap]");
    let mapped = map(4096) as usize;
    let stack = lines.iter().find(|l| l.name == "[stack]").expect("a stack");
    assert!(brk < mapped && mapped < stack.start, "{lines:?}");
    assert!(stack.rights.starts_with("rw"));
    assert!(dies(|| poke(here, 0)), "text can be written");
}

fn the_vector_tells_of_the_program() {
    let vector = std::fs::read("/proc/self/auxv").expect("auxv");
    let pairs: Vec<(u64, u64)> = vector
        .chunks_exact(16)
        .map(|pair| {
            let word = |at: usize| u64::from_ne_bytes(pair[at..at + 8].try_into().expect("eight"));
            (word(0), word(8))
        })
        .collect();
    assert_eq!(pairs.last(), Some(&(libc::AT_NULL, 0)));
    for kind in [
        libc::AT_PHDR,
        libc::AT_PHENT,
        libc::AT_PHNUM,
        libc::AT_PAGESZ,
        libc::AT_BASE,
        libc::AT_FLAGS,
        libc::AT_ENTRY,
        libc::AT_UID,
        libc::AT_EUID,
        libc::AT_GID,
        libc::AT_EGID,
        libc::AT_SECURE,
        libc::AT_RANDOM,
        libc::AT_EXECFN,
        libc::AT_SYSINFO_EHDR,
    ] {
        let found = pairs.iter().find(|pair| pair.0 == kind);
        assert_eq!(found.map(|pair| pair.1), Some(getauxval(kind)), "{kind}");
    }
    assert_eq!(getauxval(libc::AT_PAGESZ), 4096);
    // What it points at lies in the stack, behind the environment.
    for kind in [libc::AT_RANDOM, libc::AT_EXECFN] {
        assert_eq!(line_of(getauxval(kind) as usize).name, "[stack]");
    }
    let entry = line_of(getauxval(libc::AT_ENTRY) as usize);
    assert_eq!(entry.rights, "r-xp");
}

fn rights_are_what_was_asked_for() {
    for (prot, rights, reads, writes) in [
        (0, "---p", false, false),
        (PROT_READ, "r--p", true, false),
        (RW, "rw-p", true, true),
        (PROT_EXEC, "--xp", true, false),
        (PROT_READ | PROT_EXEC, "r-xp", true, false),
        // Without a key for it, a processor that lets write lets read.
        (PROT_WRITE, "-w-p", true, true),
    ] {
        let at = mmap(0, 4096, prot, ANON, -1, 0).expect("there is room");
        assert_eq!(line_of(at).rights, rights);
        // Processors with protection keys keep even what can be executed from being read.
        if rights != "--xp" {
            assert_eq!(dies(|| ignore(peek(at))), !reads, "{rights}");
        }
        assert_eq!(dies(|| poke(at, 1)), !writes, "{rights}");
        ok(munmap(at, 4096));
    }
    let shared = mmap(0, 4096, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0).expect("there is room");
    assert_eq!(line_of(shared).rights, "rw-s");
}

fn neighbours_become_one_line() {
    let whole = mmap(0, 6 * 4096, 0, ANON, -1, 0).expect("there is room");
    let at = whole + 4096;
    let fixed = |page: usize, prot: i32| {
        let flags = ANON | libc::MAP_FIXED;
        assert_eq!(
            mmap(at + page * 4096, 4096, prot, flags, -1, 0),
            Ok(at + page * 4096)
        );
    };
    fixed(0, RW);
    fixed(2, RW);
    assert_eq!(line_of(at).end, at + 4096);
    // The one between joins both.
    fixed(1, RW);
    let line = line_of(at);
    assert_eq!((line.start, line.end), (at, at + 3 * 4096));
    ok(mprotect(at + 4096, 4096, PROT_READ));
    assert_eq!(line_of(at).end, at + 4096);
    assert_eq!(line_of(at + 8192).start, at + 8192);
    ok(mprotect(at + 4096, 4096, RW));
    assert_eq!(line_of(at).end, at + 3 * 4096);
    // Parts of a file join where their offsets follow each other.
    let fd = file("f", &[1; 3 * 4096]);
    let part = |page: usize, offset: i64| {
        let flags = MAP_PRIVATE | libc::MAP_FIXED;
        ok(mmap(at + page * 4096, 4096, PROT_READ, flags, fd, offset));
    };
    part(0, 0);
    part(1, 4096);
    assert_eq!(line_of(at).end, at + 2 * 4096);
    part(2, 0);
    assert_eq!(line_of(at).end, at + 2 * 4096);
}

fn a_map_grows_down_and_keeps_its_distance() {
    const GUARD: usize = 256 * 4096;
    let whole = mmap(0, 4 * GUARD, 0, ANON, -1, 0).expect("there is room");
    ok(munmap(whole, 4 * GUARD));
    let at = whole + 3 * GUARD;
    let down = ANON | MAP_GROWSDOWN | libc::MAP_FIXED;
    assert_eq!(mmap(at, 4096, RW, down, -1, 0), Ok(at));
    poke(at - 4096, 1);
    poke(at - 10 * 4096, 2);
    assert_eq!(line_of(at).start, at - 10 * 4096);
    assert_eq!((peek(at - 4096), peek(at - 10 * 4096)), (1, 2));
    // Not nearer than the guard to what is beneath.
    let fixed = ANON | libc::MAP_FIXED;
    let beneath = at - 20 * 4096 - GUARD;
    assert_eq!(
        mmap(beneath - 4096, 4096, RW, fixed, -1, 0),
        Ok(beneath - 4096)
    );
    poke(at - 20 * 4096, 3);
    assert!(dies(|| poke(at - 21 * 4096, 4)));
    let shared = MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN;
    assert_eq!(mmap(0, 4096, RW, shared, -1, 0), Err(libc::EINVAL));
    let fd = file("f", &[1; 4096]);
    assert_eq!(
        mmap(0, 4096, RW, MAP_PRIVATE | MAP_GROWSDOWN, fd, 0),
        Err(libc::EINVAL)
    );
}

fn sharing_is_seen_and_privacy_kept() {
    let shared = mmap(0, 4096, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0).expect("there is room");
    let private = map(4096) as usize;
    poke(private, 1);
    in_child(|| {
        poke(shared, 7);
        poke(private, 7);
        // A child's children share it too.
        in_child(|| poke(shared + 1, 8));
    });
    assert_eq!((peek(shared), peek(shared + 1), peek(private)), (7, 8, 1));
}

fn a_file_knows_who_maps_it() {
    let fd = file("f", &[1; 3 * 4096]);
    let maps: Vec<usize> = (0..20)
        .map(|n| {
            let kind = if n % 2 == 0 { MAP_SHARED } else { MAP_PRIVATE };
            let at = mmap(0, 3 * 4096, RW, kind, fd, 0).expect("a file can be mapped");
            ignore(peek(at + 2 * 4096));
            at
        })
        .collect();
    // A private copy goes as well when its page leaves the file.
    poke(maps[1] + 2 * 4096, 9);
    let pid = child(|| {
        maps.iter().for_each(|at| ignore(peek(at + 2 * 4096)));
        ok(ftruncate(fd, 4096));
        0
    });
    assert_eq!(wait(pid), Ended::Exit(0));
    for at in maps {
        assert_eq!(peek(at), 1);
        assert_eq!(
            end_of(|| ignore(peek(at + 2 * 4096))),
            Ended::Signal(libc::SIGBUS)
        );
    }
}
