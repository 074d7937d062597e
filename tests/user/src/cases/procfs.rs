//! procfs and devices: what programs read there, and who may.

use super::cases;
use crate::sys::*;

cases![
    links_to_oneself,
    stat_has_all_fields,
    status_tells_identity,
    descriptors_are_links,
    memory_map_is_listed,
    arguments_and_environment,
    command_name_can_be_set,
    zombies_are_shown,
    threads_have_directories,
    others_are_private,
    system_figures,
    settings_can_be_written,
    memory_through_a_file,
    limits_are_listed,
    null_zero_full,
    random_bytes_differ,
    partial_reads_agree,
    devices_in_sysfs,
];

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn link(path: &str) -> String {
    let target = std::fs::read_link(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    target.to_str().expect("text").to_string()
}

/// The fields of `stat` behind the command name.
fn stat_fields(pid: i32) -> Vec<String> {
    let stat = text(&format!("/proc/{pid}/stat"));
    let rest = stat.rsplit(')').next().expect("a name");
    rest.split_whitespace().map(str::to_string).collect()
}

fn links_to_oneself() {
    let pid = getpid();
    assert_eq!(link("/proc/self"), pid.to_string());
    assert_eq!(link("/proc/thread-self"), format!("{pid}/task/{pid}"));
    std::env::set_current_dir("/tmp").expect("/tmp");
    assert_eq!(link("/proc/self/cwd"), "/tmp");
    assert_eq!(link("/proc/self/root"), "/");
    assert!(link("/proc/self/exe").ends_with("usertests"));
    fails(open("/proc/0", libc::O_RDONLY), libc::ENOENT);
    fails(open("/proc/01", libc::O_RDONLY), libc::ENOENT);
    fails(open("/proc/self/none", libc::O_RDONLY), libc::ENOENT);
}

fn stat_has_all_fields() {
    // Linux adds up resident pages in batches of 64.
    let memory = map(128 * 4096) as usize;
    (0..128).for_each(|page| poke(memory + page * 4096, 1));
    let pid = getpid();
    let stat = text("/proc/self/stat");
    assert!(stat.starts_with(&format!("{pid} (usertests) R ")), "{stat}");
    assert!(stat.ends_with('\n'));
    let fields = stat_fields(pid);
    assert_eq!(fields.len(), 50);
    let number = |at: usize| fields[at - 3].parse::<i64>().expect("a number");
    assert_eq!(number(4), i64::from(getppid()));
    assert_eq!(number(5), i64::from(getpgrp()));
    assert_eq!(number(6), i64::from(ok(getsid(0))));
    assert_eq!(number(20), 1, "threads");
    assert!(number(22) > 0, "start time");
    assert!(number(23) > 100_000 && number(24) > 10, "sizes");
    assert!(number(26) < number(27) && number(28) > 0, "code and stack");
    let pages: Vec<i64> = text("/proc/self/statm")
        .split_whitespace()
        .map(|w| w.parse().expect("a number"))
        .collect();
    assert_eq!(pages.len(), 7);
    assert!(pages[0] > pages[1] && pages[1] >= pages[2]);
}

fn status_tells_identity() {
    let field = |name| proc_field("/proc/self/status", name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!(field("Name"), "usertests");
    assert_eq!(field("Pid"), getpid().to_string());
    assert_eq!(field("PPid"), getppid().to_string());
    let uid = getuid();
    assert_eq!(field("Uid"), format!("{uid}\t{uid}\t{uid}\t{uid}"));
    assert_eq!(field("Threads"), "1");
    assert!(field("State").starts_with("R (running)"));
    assert!(field("VmRSS").ends_with(" kB"));
    let before = umask(0o27);
    assert_eq!(
        proc_field("/proc/self/status", "Umask").as_deref(),
        Some("0027")
    );
    umask(before);
    let blocked = |signal: i32| 1u64 << (signal - 1);
    block(&[libc::SIGUSR1]);
    raise(libc::SIGUSR1);
    let mask = |name| u64::from_str_radix(&field(name), 16).expect("a mask");
    assert_ne!(mask("SigBlk") & blocked(libc::SIGUSR1), 0);
    assert_ne!(
        (mask("SigPnd") | mask("ShdPnd")) & blocked(libc::SIGUSR1),
        0
    );
    ignore_signal(libc::SIGUSR2);
    assert_ne!(mask("SigIgn") & blocked(libc::SIGUSR2), 0);
}

fn descriptors_are_links() {
    let fd = file("/tmp/procfs-fd", b"contents");
    assert_eq!(link(&format!("/proc/self/fd/{fd}")), "/tmp/procfs-fd");
    let info = text(&format!("/proc/self/fdinfo/{fd}"));
    assert!(info.starts_with("pos:\t"), "{info}");
    assert!(info.contains("\nflags:\t0"), "{info}");
    let (reader, _writer) = pipe();
    assert!(link(&format!("/proc/self/fd/{reader}")).starts_with("pipe:["));
    // Opening the link opens the file anew.
    let again = ok(open(&format!("/proc/self/fd/{fd}"), libc::O_RDONLY));
    assert_eq!(get(again, 100), b"contents");
    let names: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .expect("the directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    assert!(
        names.contains(&fd.to_string()) && names.contains(&reader.to_string()),
        "{names:?}"
    );
    std::fs::remove_file("/tmp/procfs-fd").expect("it is there");
    assert_eq!(
        link(&format!("/proc/self/fd/{fd}")),
        "/tmp/procfs-fd (deleted)"
    );
    close(fd);
    fails(
        open(&format!("/proc/self/fd/{fd}"), libc::O_RDONLY),
        libc::ENOENT,
    );
}

fn memory_map_is_listed() {
    let area = map(3 * 4096) as u64;
    let maps = text("/proc/self/maps");
    let local = 0u8;
    let here = (&raw const local) as u64;
    let mut last = 0;
    let mut seen = (false, false, false);
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(words.len() >= 5, "{line}");
        let (start, end) = words[0].split_once('-').expect("a range");
        let range = u64::from_str_radix(start, 16).expect("start")
            ..u64::from_str_radix(end, 16).expect("end");
        assert!(range.start >= last && range.end > range.start, "{line}");
        last = range.end;
        assert_eq!(words[1].len(), 4);
        seen.0 |= range.contains(&area) && words[1] == "rw-p";
        seen.1 |= range.contains(&here) && line.ends_with("[stack]");
        seen.2 |= words[1] == "r-xp" && line.ends_with("usertests");
    }
    assert_eq!(seen, (true, true, true), "{maps}");
    assert!(text("/proc/self/smaps").contains("\nRss:"));
}

fn arguments_and_environment() {
    let args = std::fs::read("/proc/self/cmdline").expect("cmdline");
    let words: Vec<&[u8]> = args.split(|&b| b == 0).collect();
    let own: Vec<String> = std::env::args().collect();
    assert_eq!(words.len(), own.len() + 1, "each ends in a zero byte");
    assert!(
        words
            .iter()
            .zip(&own)
            .all(|(word, arg)| *word == arg.as_bytes())
    );
    let environment = std::fs::read("/proc/self/environ").expect("environ");
    for (name, value) in std::env::vars() {
        let wanted = format!("{name}={value}");
        assert!(
            environment
                .split(|&b| b == 0)
                .any(|word| word == wanted.as_bytes()),
            "{wanted}"
        );
    }
    let vector = std::fs::read("/proc/self/auxv").expect("auxv");
    assert!(vector.len() > 100 && vector.len().is_multiple_of(16));
    assert!(vector[vector.len() - 16..].iter().all(|&byte| byte == 0));
}

fn command_name_can_be_set() {
    std::fs::write("/proc/self/comm", "a new name that is long").expect("it may be set");
    assert_eq!(text("/proc/self/comm"), "a new name that\n");
    let mut name = [0u8; 16];
    ok(prctl_name(libc::PR_GET_NAME, &mut name));
    assert_eq!(&name, b"a new name that\0");
}

fn zombies_are_shown() {
    let pid = child(|| 0);
    while stat_fields(pid)[0] != "Z" {
        sleep_ms(10);
    }
    assert!(text(&format!("/proc/{pid}/stat")).contains(&format!("{pid} (usertests) Z ")));
    assert_eq!(text(&format!("/proc/{pid}/cmdline")), "");
    assert!(text(&format!("/proc/{pid}/status")).contains("State:\tZ (zombie)"));
    wait(pid);
    fails(
        open(&format!("/proc/{pid}/stat"), libc::O_RDONLY),
        libc::ENOENT,
    );
    let pid = child(|| sleep_for_ever());
    until_asleep(pid);
    ok(kill(pid, libc::SIGSTOP));
    while stat_fields(pid)[0] != "T" {
        sleep_ms(10);
    }
    ok(kill(pid, libc::SIGKILL));
    wait(pid);
}

fn threads_have_directories() {
    let (reader, writer) = pipe();
    let thread = std::thread::spawn(move || {
        let tid = gettid();
        put(writer, &tid.to_ne_bytes());
        tid
    });
    let told = get(reader, 4);
    let tid = i32::from_ne_bytes(told.try_into().expect("a number"));
    assert_eq!(thread.join().expect("it ends"), tid);
    // Joining waits for the thread's word that it is done with its stack, which comes a little before its end.
    soon(|| !std::path::Path::new(&format!("/proc/self/task/{tid}")).exists());
    let (go, stop) = pipe();
    let thread = std::thread::spawn(move || {
        let tid = gettid();
        put(writer, &tid.to_ne_bytes());
        get(go, 1);
    });
    let tid = i32::from_ne_bytes(get(reader, 4).try_into().expect("a number"));
    let names: Vec<String> = std::fs::read_dir("/proc/self/task")
        .expect("the directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&tid.to_string()));
    assert!(text(&format!("/proc/self/task/{tid}/stat")).starts_with(&format!("{tid} (")));
    assert_eq!(
        proc_field("/proc/self/status", "Threads").as_deref(),
        Some("2")
    );
    put(stop, b"x");
    thread.join().expect("it ends");
}

fn others_are_private() {
    let pid = getpid();
    in_child(|| {
        become_user();
        for name in ["environ", "maps", "mem", "auxv"] {
            fails(
                open(&format!("/proc/{pid}/{name}"), libc::O_RDONLY),
                libc::EACCES,
            );
        }
        assert!(std::fs::read_dir(format!("/proc/{pid}/fd")).is_err());
        let error = std::fs::read_link(format!("/proc/{pid}/cwd")).expect_err("not ours");
        assert_eq!(error.raw_os_error(), Some(libc::EACCES));
        assert!(text(&format!("/proc/{pid}/stat")).starts_with(&pid.to_string()));
        fails(
            open("/proc/sys/kernel/hostname", libc::O_WRONLY),
            libc::EACCES,
        );
    });
}

fn system_figures() {
    let meminfo = text("/proc/meminfo");
    let kib = |name: &str| {
        let line = meminfo
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("no {name}"));
        assert!(line.ends_with(" kB"), "{line}");
        line.split_whitespace()
            .nth(1)
            .and_then(|w| w.parse::<u64>().ok())
            .expect("a number")
    };
    assert!(kib("MemTotal:") > kib("MemFree:") && kib("MemAvailable:") > 0);
    let uptime: Vec<f64> = text("/proc/uptime")
        .split_whitespace()
        .map(|w| w.parse().expect("a number"))
        .collect();
    assert!(uptime.len() == 2 && uptime[0] > 0.0);
    let stat = text("/proc/stat");
    assert!(stat.starts_with("cpu  "));
    for name in [
        "\ncpu0 ",
        "\nintr ",
        "\nctxt ",
        "\nbtime ",
        "\nprocesses ",
        "\nprocs_running ",
    ] {
        assert!(stat.contains(name), "no {name}");
    }
    let load: Vec<String> = text("/proc/loadavg")
        .split_whitespace()
        .map(str::to_string)
        .collect();
    assert_eq!(load.len(), 5);
    assert!(load[3].contains('/'));
    assert!(text("/proc/version").starts_with("Linux version "));
    let cpuinfo = text("/proc/cpuinfo");
    assert!(cpuinfo.starts_with("processor\t: 0\n"));
    for name in [
        "vendor_id\t: ",
        "model name\t: ",
        "cpu MHz\t\t: ",
        "flags\t\t: fpu ",
        "bogomips\t: ",
    ] {
        assert!(cpuinfo.contains(name), "no {name}");
    }
    assert!(text("/proc/filesystems").contains("nodev\tproc\n"));
    assert!(text("/proc/mounts").contains(" /proc proc "));
    assert!(text("/proc/self/mountinfo").contains(" - proc "));
    assert!(text("/proc/devices").starts_with("Character devices:\n"));
}

fn settings_can_be_written() {
    assert_eq!(text("/proc/sys/kernel/ostype"), "Linux\n");
    let pid_max: i32 = text("/proc/sys/kernel/pid_max")
        .trim()
        .parse()
        .expect("a number");
    assert!(pid_max > 300);
    let (a, b) = (
        text("/proc/sys/kernel/random/uuid"),
        text("/proc/sys/kernel/random/uuid"),
    );
    assert_eq!((a.len(), a.matches('-').count()), (37, 4));
    assert_ne!(a, b);
    assert_eq!(
        text("/proc/sys/kernel/random/boot_id"),
        text("/proc/sys/kernel/random/boot_id")
    );
    let score = "/proc/self/oom_score_adj";
    std::fs::write(score, "500").expect("it may be raised");
    assert_eq!(text(score), "500\n");
    let error = std::fs::write(score, "1001").expect_err("too much");
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    let error = std::fs::write("/proc/version", "x").expect_err("nobody takes it");
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
}

fn memory_through_a_file() {
    let value = std::hint::black_box([1u8, 2, 3, 4]);
    let mem = ok(open("/proc/self/mem", libc::O_RDWR));
    let at = value.as_ptr() as libc::off_t;
    let mut seen = [0u8; 4];
    assert_eq!(ok(pread(mem, &mut seen, at)), 4);
    assert_eq!(seen, value);
    fails(pread(mem, &mut seen, 4096), libc::EIO);
}

fn limits_are_listed() {
    let (limit, _) = ok(getrlimit(libc::RLIMIT_NOFILE));
    let limits = text("/proc/self/limits");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .expect("the line");
    assert!(line.contains(&format!(" {} ", limit)), "{line}");
    assert_eq!(limits.lines().count(), 17);
}

fn null_zero_full() {
    let null = ok(open("/dev/null", libc::O_RDWR));
    assert_eq!(get(null, 10), b"");
    // What is written is not even looked at.
    assert_eq!(call(libc::SYS_write, &[null as usize, 8, 100]), Ok(100));
    let zero = ok(open("/dev/zero", libc::O_RDWR));
    assert_eq!(get(zero, 5000), vec![0; 5000]);
    put(zero, b"x");
    let full = ok(open("/dev/full", libc::O_RDWR));
    assert_eq!(get(full, 3), [0; 3]);
    fails(write(full, b"x"), libc::ENOSPC);
    assert_eq!(ok(lseek(null, 100, libc::SEEK_SET)), 0);
    let private = ok(mmap(
        0,
        4096,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE,
        zero,
        0,
    ));
    assert_eq!(peek(private), 0);
    poke(private, 7);
    assert_eq!(get(zero, 1), [0]);
}

fn random_bytes_differ() {
    for path in ["/dev/urandom", "/dev/random"] {
        let fd = ok(open(path, libc::O_RDWR));
        let (a, b) = (get(fd, 64), get(fd, 64));
        assert_eq!((a.len(), b.len()), (64, 64));
        assert_ne!(a, b);
        put(fd, b"mixed in");
    }
}

fn partial_reads_agree() {
    let path = "/proc/filesystems";
    let whole = std::fs::read(path).expect("it can be read");
    let fd = ok(open(path, libc::O_RDONLY));
    let mut parts = Vec::new();
    loop {
        let part = get(fd, 7);
        if part.is_empty() {
            break;
        }
        parts.extend(part);
    }
    assert_eq!(parts, whole);
    assert_eq!(ok(lseek(fd, 5, libc::SEEK_SET)), 5);
    assert_eq!(get(fd, 6), whole[5..11]);
    let mut middle = [0u8; 4];
    assert_eq!(ok(pread(fd, &mut middle, 3)), 4);
    assert_eq!(middle, whole[3..7]);
}

fn devices_in_sysfs() {
    assert_eq!(text("/sys/class/tty/tty/dev"), "5:0\n");
    assert_eq!(text("/sys/devices/virtual/mem/null/dev"), "1:3\n");
    assert!(link("/sys/class/mem/null").ends_with("devices/virtual/mem/null"));
    assert!(link("/sys/dev/char/1:3").ends_with("devices/virtual/mem/null"));
    assert!(text("/sys/class/mem/null/uevent").contains("DEVNAME=null\n"));
    let online = text("/sys/devices/system/cpu/online");
    assert!(online.starts_with('0'), "{online}");
    fails(open("/sys/none", libc::O_RDONLY), libc::ENOENT);
}
