//! `/proc/sys`: settings that the kernel obeys.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use super::cases;
use crate::sys::*;

cases![
    overcommit_is_obeyed,
    map_count_is_obeyed,
    lowest_address_is_obeyed,
    randomization_is_obeyed,
    hard_links_are_protected,
    symbolic_links_are_protected,
    files_to_be_created_are_protected,
    open_files_are_limited,
    descriptor_limit_is_bounded,
    pipe_size_is_bounded,
    reading_the_log_is_restricted,
    values_are_checked,
];

/// A setting that is as it was when this is dropped.
struct Setting {
    path: String,
    old: String,
}

impl Setting {
    fn set(name: &str, value: impl ToString) -> Setting {
        let path = format!("/proc/sys/{name}");
        let old = fs::read_to_string(&path).expect("a setting");
        write(&path, &value.to_string()).expect("a value that is allowed");
        assert_eq!(
            fs::read_to_string(&path).expect("a setting").trim(),
            value.to_string()
        );
        Setting { path, old }
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        write(&self.path, self.old.trim()).expect("the old value");
    }
}

/// Writes without creating or truncating.
fn write(path: &str, text: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(text.as_bytes())
}

const ANON: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;

fn mmap(at: usize, len: usize, prot: i32, flags: i32) -> Result<usize> {
    crate::sys::mmap(at, len, prot, flags, -1, 0)
}

fn unmap(at: usize, len: usize) {
    ok(munmap(at, len));
}

fn memory(line: &str) -> usize {
    let text = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let line = text.lines().find(|l| l.starts_with(line)).expect("a line");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("a number")
}

fn overcommit_is_obeyed() {
    let too_much = memory("MemTotal:") * 1024 * 3;
    assert_eq!(mmap(0, too_much, RW, ANON), Err(libc::ENOMEM));
    let unreserved = mmap(0, too_much, RW, ANON | libc::MAP_NORESERVE).expect("no promise");
    unmap(unreserved, too_much);
    {
        let _always = Setting::set("vm/overcommit_memory", 1);
        let at = mmap(0, too_much, RW, ANON).expect("anything goes");
        unmap(at, too_much);
    }
    let _never = Setting::set("vm/overcommit_memory", 2);
    let _ratio = Setting::set("vm/overcommit_ratio", 40);
    let limit = memory("CommitLimit:");
    assert!(
        limit.abs_diff(memory("MemTotal:") * 2 / 5) < 1024,
        "{limit}"
    );
    let all = limit * 1024;
    assert_eq!(mmap(0, all, RW, ANON), Err(libc::ENOMEM));
    assert_eq!(
        mmap(0, all, RW, ANON | libc::MAP_NORESERVE),
        Err(libc::ENOMEM)
    );
    let part = mmap(0, all / 4, RW, ANON).expect("within the limit");
    let before = memory("Committed_AS:");
    unmap(part, all / 4);
    assert!(before - memory("Committed_AS:") >= all / 4 / 1024 - 1024);
}

fn map_count_is_obeyed() {
    let few = Setting::set("vm/max_map_count", 200);
    let pages = 1000;
    let at = mmap(0, pages * 4096, RW, ANON).expect("one mapping");
    let refused = (1..pages).step_by(2).find(|page| {
        let args = [at + page * 4096, 4096, libc::PROT_READ as usize];
        let result = call(libc::SYS_mprotect, &args);
        assert!(matches!(result, Ok(0) | Err(libc::ENOMEM)), "{result:?}");
        result.is_err()
    });
    let maps = fs::read_to_string("/proc/self/maps");
    // Taking the mapping out of the middle of one may need one more.
    drop(few);
    unmap(at, pages * 4096);
    assert!(
        refused.is_some_and(|page| (100..220).contains(&page)),
        "{refused:?}"
    );
    let lines = maps.expect("maps").lines().count();
    assert!((195..=202).contains(&lines), "{lines}");
}

fn lowest_address_is_obeyed() {
    let fixed = ANON | libc::MAP_FIXED;
    let low = mmap(0x1000, 4096, RW, fixed);
    // Linux lets root go below it.
    assert_eq!(low, Ok(0x1000));
    unmap(0x1000, 4096);
    in_child(|| {
        become_user();
        assert_eq!(mmap(0x8000, 4096, RW, fixed), Err(libc::EPERM));
        assert_eq!(mmap(0x10000, 4096, RW, fixed), Ok(0x10000));
    });
    let _lower = Setting::set("vm/mmap_min_addr", 0x8000);
    in_child(|| {
        become_user();
        assert_eq!(mmap(0x7000, 4096, RW, fixed), Err(libc::EPERM));
        assert_eq!(mmap(0x8000, 4096, RW, fixed), Ok(0x8000));
    });
}

/// Where the stack and the heap of a new program are.
fn places() -> Vec<String> {
    let out = Command::new("/bin/busybox")
        .args(["grep", "-E", "stack|heap", "/proc/self/maps"])
        .output()
        .expect("grep");
    let text = String::from_utf8(out.stdout).expect("text");
    text.lines()
        .filter_map(|line| line.split('-').next())
        .map(str::to_string)
        .collect()
}

fn randomization_is_obeyed() {
    let runs: Vec<_> = (0..4).map(|_| places()).collect();
    assert!(runs.iter().any(|run| *run != runs[0]), "{runs:?}");
    let _none = Setting::set("kernel/randomize_va_space", 0);
    let runs: Vec<_> = (0..4).map(|_| places()).collect();
    assert!(
        !runs[0].is_empty() && runs.iter().all(|run| *run == runs[0]),
        "{runs:?}"
    );
}

/// A directory of its own, gone when dropped.
struct Place(String);

impl Place {
    fn new(name: &str, mode: u32, owner: u32) -> Place {
        let path = format!("/tmp/sysctl-{name}");
        fs::create_dir_all(&path).expect("a directory");
        chown(&path, Some(owner), Some(owner)).expect("chown");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        Place(path)
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    fn file(&self, name: &str, mode: u32, owner: u32) -> String {
        let path = self.at(name);
        fs::write(&path, name).expect("a file");
        chown(&path, Some(owner), Some(owner)).expect("chown");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn hard_links_are_protected() {
    let _on = Setting::set("fs/protected_hardlinks", 1);
    let place = Place::new("hard", 0o777, 0);
    let hidden = place.file("hidden", 0o644, 0);
    let shared = place.file("shared", 0o666, 0);
    let setuid = place.file("setuid", 0o4777, 0);
    let own = place.file("own", 0o400, 1000);
    in_child(|| {
        become_user();
        let link = |from: &str| fs::hard_link(from, place.at("new")).map_err(|e| e.raw_os_error());
        let refused = Err(Some(libc::EPERM));
        assert_eq!(link(&hidden), refused);
        assert_eq!(link(&setuid), refused);
        assert_eq!(link(&shared), Ok(()));
        fs::remove_file(place.at("new")).expect("remove");
        assert_eq!(link(&own), Ok(()));
    });
    fs::remove_file(place.at("new")).expect("remove");
    let _off = Setting::set("fs/protected_hardlinks", 0);
    in_child(|| {
        become_user();
        fs::hard_link(&hidden, place.at("new")).expect("as ever");
    });
}

fn symbolic_links_are_protected() {
    let _on = Setting::set("fs/protected_symlinks", 1);
    let place = Place::new("symbolic", 0o1777, 0);
    let target = place.file("target", 0o666, 0);
    let link = place.at("link");
    symlink(&target, &link).expect("symlink");
    for (owner, allowed) in [(1001, false), (1000, true), (0, true)] {
        std::os::unix::fs::lchown(&link, Some(owner), Some(owner)).expect("lchown");
        in_child(|| {
            become_user();
            let read = fs::read(&link).map_err(|e| e.kind());
            let wanted = if allowed {
                Ok(b"target".to_vec())
            } else {
                Err(ErrorKind::PermissionDenied)
            };
            assert_eq!(read, wanted, "owner {owner}");
            fs::read_link(&link).expect("reading the link itself");
        });
    }
    std::os::unix::fs::lchown(&link, Some(1001), Some(1001)).expect("lchown");
    let _off = Setting::set("fs/protected_symlinks", 0);
    in_child(|| {
        become_user();
        fs::read(&link).expect("as ever");
    });
}

fn files_to_be_created_are_protected() {
    let place = Place::new("regular", 0o1777, 0);
    let file = place.file("file", 0o666, 1001);
    let create = || {
        let mut options = fs::OpenOptions::new();
        options
            .write(true)
            .create(true)
            .open(&file)
            .map(drop)
            .map_err(|e| e.raw_os_error())
    };
    let _off = Setting::set("fs/protected_regular", 0);
    in_child(|| {
        become_user();
        assert_eq!(create(), Ok(()));
    });
    let _on = Setting::set("fs/protected_regular", 1);
    in_child(|| {
        become_user();
        assert_eq!(create(), Err(Some(libc::EACCES)));
        fs::OpenOptions::new()
            .write(true)
            .open(&file)
            .expect("without O_CREAT");
    });
}

fn open_files_are_limited() {
    let open: usize = fs::read_to_string("/proc/sys/fs/file-nr")
        .expect("file-nr")
        .split_whitespace()
        .next()
        .and_then(|n| n.parse().ok())
        .expect("a number");
    let _few = Setting::set("fs/file-max", open / 2);
    in_child(|| {
        fs::File::open(Path::new("/")).expect("root may");
        become_user();
        let error = fs::File::open(Path::new("/")).expect_err("too many");
        assert_eq!(error.raw_os_error(), Some(libc::ENFILE));
        assert_eq!(call(libc::SYS_pipe2, &[0, 0]), Err(libc::ENFILE));
    });
}

fn descriptor_limit_is_bounded() {
    let _few = Setting::set("fs/nr_open", 2048);
    let set = |limit: u64| {
        let new = [limit, limit];
        call(
            libc::SYS_setrlimit,
            &[libc::RLIMIT_NOFILE as usize, new.as_ptr() as usize],
        )
    };
    in_child(|| {
        assert_eq!(set(2049), Err(libc::EPERM));
        assert_eq!(set(2048), Ok(0));
    });
}

fn pipe_size_is_bounded() {
    let _small = Setting::set("fs/pipe-max-size", 65536 * 2);
    in_child(|| {
        become_user();
        let (reader, _writer) = pipe();
        let resize = |size: usize| {
            call(
                libc::SYS_fcntl,
                &[reader as usize, libc::F_SETPIPE_SZ as usize, size],
            )
        };
        assert_eq!(resize(65536 * 4), Err(libc::EPERM));
        assert_eq!(resize(65536 * 2), Ok(65536 * 2));
    });
}

fn reading_the_log_is_restricted() {
    const READ_ALL: usize = 3;
    let read = || {
        let mut text = [0u8; 64];
        call(
            libc::SYS_syslog,
            &[READ_ALL, text.as_mut_ptr() as usize, text.len()],
        )
    };
    {
        let _on = Setting::set("kernel/dmesg_restrict", 1);
        in_child(|| {
            become_user();
            assert_eq!(read(), Err(libc::EPERM));
        });
    }
    let _off = Setting::set("kernel/dmesg_restrict", 0);
    in_child(|| {
        become_user();
        assert!(read().is_ok());
        assert_eq!(call(libc::SYS_syslog, &[5]), Err(libc::EPERM));
    });
}

fn values_are_checked() {
    let refused = |name: &str, value: &str| {
        let error = write(&format!("/proc/sys/{name}"), value).expect_err("a refusal");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{name} {value}");
    };
    refused("vm/overcommit_memory", "3");
    refused("vm/overcommit_memory", "-1");
    refused("vm/overcommit_memory", "many");
    refused("kernel/randomize_va_space", "x");
    refused("fs/protected_symlinks", "2");
    refused("vm/max_map_count", "-1");
    in_child(|| {
        become_user();
        let error = write("/proc/sys/vm/overcommit_memory", "0").expect_err("a refusal");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    });
}
