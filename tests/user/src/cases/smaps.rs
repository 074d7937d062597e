//! What `/proc/PID/smaps`, `smaps_rollup`, `pagemap` and `clear_refs` tell of resident pages.

use std::fs;
use std::os::unix::fs::FileExt;

use super::cases;
use crate::sys::*;

cases![
    smaps_counts_pages,
    smaps_halves_what_two_map,
    rollup_is_the_sum,
    pagemap_tells_frames,
    pagemap_hides_frames,
    clear_refs_forgets,
    writes_are_known_since_clear_refs,
    nodes_of_pages,
];

const PAGE: usize = 4096;

/// The figure behind `name` in the entry of the mapping at `at`.
fn figure(at: usize, name: &str) -> usize {
    let text = fs::read_to_string("/proc/self/smaps").expect("smaps");
    let mut entry = text
        .lines()
        .skip_while(|line| !line.starts_with(&format!("{at:x}-")));
    let line = entry.find(|line| line.starts_with(name)).expect("a line");
    number(line)
}

fn number(line: &str) -> usize {
    let words = line.split_whitespace().nth(1);
    words.and_then(|word| word.parse().ok()).expect("a number")
}

/// A mapping that joins no other, of so many pages, the first few of them written.
fn mapping(pages: usize, touched: usize) -> usize {
    let whole = map((pages + 2) * PAGE) as usize;
    let at = whole + PAGE;
    for guard in [whole, at + pages * PAGE] {
        let args = [guard, PAGE, libc::PROT_NONE as usize];
        assert_eq!(call(libc::SYS_mprotect, &args), Ok(0));
    }
    touch(at, touched);
    at
}

/// Writes to the first pages of a mapping made by [`mapping`].
fn touch(at: usize, pages: usize) {
    for page in 0..pages {
        poke(at + page * PAGE, 1);
    }
}

fn smaps_counts_pages() {
    let at = mapping(16, 10);
    assert_eq!(figure(at, "Size:"), 64);
    assert_eq!(figure(at, "Rss:"), 40);
    assert_eq!(figure(at, "Pss:"), 40);
    assert_eq!(figure(at, "Private_Dirty:"), 40);
    assert_eq!(figure(at, "Anonymous:"), 40);
    assert_eq!(figure(at, "Locked:"), 0);
    assert_eq!(call(libc::SYS_mlock, &[at, 16 * PAGE]), Ok(0));
    assert_eq!(figure(at, "Rss:"), 64);
    assert_eq!(figure(at, "Locked:"), 64);
}

fn smaps_halves_what_two_map() {
    let at = mapping(16, 8);
    in_child(|| {
        assert_eq!(figure(at, "Rss:"), 32);
        assert_eq!(figure(at, "Pss:"), 16);
        assert_eq!(figure(at, "Shared_Dirty:"), 32);
        touch(at, 2);
        assert_eq!(figure(at, "Private_Dirty:"), 8);
        assert_eq!(figure(at, "Shared_Dirty:"), 24);
    });
    assert_eq!(figure(at, "Private_Dirty:"), 32);
}

fn rollup_is_the_sum() {
    let _at = mapping(64, 50);
    let smaps = fs::read_to_string("/proc/self/smaps").expect("smaps");
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").expect("smaps_rollup");
    assert!(
        rollup
            .lines()
            .next()
            .is_some_and(|l| l.ends_with("[rollup]"))
    );
    for name in ["Rss:", "Anonymous:"] {
        let sum: usize = smaps
            .lines()
            .filter(|l| l.starts_with(name))
            .map(number)
            .sum();
        let all = rollup.lines().find(|l| l.starts_with(name)).map(number);
        // Reading makes pages resident as well.
        assert!(
            all.is_some_and(|all| all.abs_diff(sum) < 128),
            "{name} {sum} {all:?}"
        );
    }
}

/// The word of a page in `/proc/self/pagemap`.
fn word(at: usize) -> u64 {
    let file = fs::File::open("/proc/self/pagemap").expect("pagemap");
    let mut word = [0; 8];
    file.read_exact_at(&mut word, (at / PAGE * 8) as u64)
        .expect("a word");
    u64::from_ne_bytes(word)
}

const PRESENT: u64 = 1 << 63;
const EXCLUSIVE: u64 = 1 << 56;
const FRAME: u64 = (1 << 55) - 1;

fn pagemap_tells_frames() {
    let at = mapping(4, 1);
    assert_eq!(word(at + PAGE) & (PRESENT | FRAME), 0);
    let own = word(at);
    assert_eq!(own & (PRESENT | EXCLUSIVE), PRESENT | EXCLUSIVE);
    assert_ne!(own & FRAME, 0);
    in_child(|| {
        let shared = word(at);
        assert_eq!(shared & FRAME, own & FRAME);
        assert_eq!(shared & EXCLUSIVE, 0);
        touch(at, 1);
        assert_ne!(word(at) & FRAME, own & FRAME);
    });
    let file = fs::File::open("/proc/self/pagemap").expect("pagemap");
    let odd = file.read_at(&mut [0; 8], 4).expect_err("not at a word");
    assert_eq!(odd.raw_os_error(), Some(libc::EINVAL));
}

fn pagemap_hides_frames() {
    let at = mapping(1, 1);
    in_child(|| {
        become_user();
        let dumpable = [libc::PR_SET_DUMPABLE as usize, 1];
        assert_eq!(call(libc::SYS_prctl, &dumpable), Ok(0));
        assert_eq!(word(at) & (PRESENT | FRAME), PRESENT);
    });
}

fn clear_refs_forgets() {
    let at = mapping(16, 16);
    assert_eq!(figure(at, "Referenced:"), 64);
    fs::write("/proc/self/clear_refs", "1").expect("clear_refs");
    assert_eq!(figure(at, "Referenced:"), 0);
    touch(at, 4);
    // Not all of them: Linux lets the CPU go on with what it remembers, and so may see none.
    assert!(figure(at, "Referenced:") <= 16);
    let error = fs::write("/proc/self/clear_refs", "9").expect_err("no such thing");
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
}

/// Whether each page of a mapping was written since the last forgetting.
fn written(at: usize, pages: usize) -> Vec<bool> {
    const SOFT_DIRTY: u64 = 1 << 55;
    let word = |page| word(at + page * PAGE) & SOFT_DIRTY != 0;
    (0..pages).map(word).collect()
}

fn writes_are_known_since_clear_refs() {
    let forget = || fs::write("/proc/self/clear_refs", "4").expect("clear_refs");
    let at = mapping(4, 2);
    // All of a new mapping counts as changed.
    assert_eq!(written(at, 4), [true; 4]);
    forget();
    assert_eq!(written(at, 4), [false; 4]);
    assert_eq!(peek(at), 1);
    assert_eq!(peek(at + 2 * PAGE), 0);
    assert_eq!(written(at, 4), [false; 4]);
    poke(at + PAGE, 2);
    poke(at + 3 * PAGE, 2);
    assert_eq!(written(at, 4), [false, true, false, true]);
    // A page that was written before is still dirty.
    assert_eq!(figure(at, "Private_Dirty:"), 12);
    in_child(|| {
        poke(at, 3);
        assert_eq!(written(at, 4), [true, true, false, true]);
    });
    forget();
    poke(at, 4);
    assert_eq!(written(at, 4), [true, false, false, false]);
    let flags = [libc::MREMAP_MAYMOVE as usize, 0];
    let to = call(
        libc::SYS_mremap,
        &[at, 4 * PAGE, 64 * PAGE, flags[0], flags[1]],
    );
    let to = to.expect("it may move");
    assert!(written(to, 2)[1], "what was moved has changed");
}

fn nodes_of_pages() {
    let at = mapping(16, 5);
    let line_of = |at: usize| {
        let text = fs::read_to_string("/proc/self/numa_maps").expect("numa_maps");
        let start = format!("{at:x} default");
        let line = text.lines().find(|line| line.starts_with(&start));
        let words = line.expect("a line").split(' ');
        // How many of the pages were used of late is Linux's to know.
        let told = words.filter(|word| !word.starts_with("active="));
        told.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        line_of(at),
        format!("{at:x} default anon=5 dirty=5 N0=5 kernelpagesize_kB=4")
    );
    in_child(|| {
        assert_eq!(
            line_of(at),
            format!("{at:x} default anon=5 dirty=5 mapmax=2 N0=5 kernelpagesize_kB=4")
        );
    });
    assert_eq!(line_of(mapping(1, 0)).split(' ').count(), 2);
    let fd = file("a file", &[1; 2 * PAGE]);
    let prot = libc::PROT_READ;
    let at = mmap(0, 2 * PAGE, prot, libc::MAP_PRIVATE, fd, 0).expect("a file can be mapped");
    ignore((peek(at), peek(at + PAGE)));
    let line = line_of(at);
    assert!(line.contains("/a\\040file"), "{line}");
    assert!(line.contains(" N0=2 "), "{line}");
    let text = fs::read_to_string("/proc/self/numa_maps").expect("numa_maps");
    assert!(text.lines().any(|line| line.contains(" stack")), "{text}");
}
