//! `/proc/sys`: the kernel's settings, a file each.
//!
//! Source: Linux's Documentation/admin-guide/sysctl.

use alloc::sync::Arc;
use alloc::vec::Vec;

use conquer_once::noblock::OnceCell;
use fs::{
    Cap, Credentials, Errno, Result, Tunable, epoll, fdtable, file, inotify, pipe, protect, unix,
};

use super::ino;
use crate::ipc::{limits, mqueue};
use crate::mm::sysctl;
use crate::process::core::pattern;
use crate::process::{autogroup, table};
use crate::pseudofs::{Directory, Entry, Fixed, Node, Out, Setting, Text, put};
use crate::task::{deadline, realtime};
use crate::{panic, printk, random, uts};

type Show = fn(&mut Out) -> Result<()>;

/// Collects files and gives out inode numbers.
struct Builder {
    next: u64,
}

impl Builder {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn text(&mut self, name: &'static str, show: Show) -> (&'static str, Entry) {
        (name, Entry::text(self.number(), 0o444, show))
    }

    fn setting(
        &mut self,
        name: &'static str,
        show: Show,
        store: fn(&[u8], &Credentials) -> Result<()>,
    ) -> (&'static str, Entry) {
        (
            name,
            Entry::new(
                self.number(),
                0o644,
                Node::Text(Arc::new(Setting { show, store })),
            ),
        )
    }

    fn number_file(
        &mut self,
        name: &'static str,
        value: &'static Tunable,
    ) -> (&'static str, Entry) {
        (
            name,
            Entry::new(self.number(), 0o644, Node::Text(Arc::new(value))),
        )
    }

    fn dir(
        &mut self,
        name: &'static str,
        entries: Vec<(&'static str, Entry)>,
    ) -> (&'static str, Entry) {
        (name, Entry::dir(self.number(), Fixed(entries)))
    }
}

impl Text for &'static Tunable {
    fn show(&self, out: &mut Out) -> Result<()> {
        number(out, self.get())
    }

    fn store(&self, text: &[u8], _: &Credentials) -> Result<()> {
        self.set(parse(text)?)
    }
}

fn parse(text: &[u8]) -> Result<i64> {
    let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    text.split_ascii_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or(Errno::EINVAL)
}

/// Settings that nothing obeys yet, since what they steer does not exist: keyboard requests, hidden addresses, swap, write-back. Programs
/// read and set them all the same.
static SYSRQ: Tunable = Tunable::new(438, 0, i32::MAX as i64);
static KPTR_RESTRICT: Tunable = Tunable::new(0, 0, 2);
static SWAPPINESS: Tunable = Tunable::new(60, 0, 200);
static DIRTY_RATIO: Tunable = Tunable::new(20, 0, 100);
static DIRTY_BACKGROUND: Tunable = Tunable::new(10, 0, 100);

/// The whole tree.
pub(super) fn tree() -> impl Directory {
    let mut b = Builder { next: ino::SYS };
    let kernel = kernel(&mut b);
    let vm = Vec::from([
        b.setting("drop_caches", |out| number(out, 0), drop_caches),
        b.number_file("dirty_background_ratio", &DIRTY_BACKGROUND),
        b.number_file("dirty_ratio", &DIRTY_RATIO),
        b.number_file("max_map_count", &sysctl::MAX_MAP_COUNT),
        b.text("min_free_kbytes", min_free),
        b.number_file("mmap_min_addr", &sysctl::MMAP_MIN_ADDR),
        b.number_file("oom_dump_tasks", &sysctl::OOM_DUMP_TASKS),
        b.number_file(
            "oom_kill_allocating_task",
            &sysctl::OOM_KILL_ALLOCATING_TASK,
        ),
        b.number_file("overcommit_kbytes", &sysctl::OVERCOMMIT_KBYTES),
        b.number_file("overcommit_memory", &sysctl::OVERCOMMIT_MEMORY),
        b.number_file("overcommit_ratio", &sysctl::OVERCOMMIT_RATIO),
        b.number_file("swappiness", &SWAPPINESS),
        b.number_file("user_reserve_kbytes", &sysctl::USER_RESERVE_KBYTES),
    ]);
    let inotify = Vec::from([
        b.number_file("max_queued_events", &inotify::MAX_QUEUED),
        b.number_file("max_user_instances", &inotify::MAX_USER_INSTANCES),
        b.number_file("max_user_watches", &inotify::MAX_USER_WATCHES),
    ]);
    let epoll = Vec::from([b.number_file("max_user_watches", &epoll::MAX_USER_WATCHES)]);
    let queues = Vec::from([
        b.number_file("msg_default", &mqueue::limits::MSG_DEFAULT),
        b.number_file("msg_max", &mqueue::limits::MSG_MAX),
        b.number_file("msgsize_default", &mqueue::limits::MSGSIZE_DEFAULT),
        b.number_file("msgsize_max", &mqueue::limits::MSGSIZE_MAX),
        b.number_file("queues_max", &mqueue::limits::QUEUES_MAX),
    ]);
    let files = Vec::from([
        b.text("dentry-state", dentry_state),
        b.number_file("file-max", &file::MAX_FILES),
        b.text("file-nr", file_nr),
        b.dir("epoll", epoll),
        b.dir("inotify", inotify),
        b.dir("mqueue", queues),
        b.number_file("nr_open", &fdtable::NR_OPEN),
        b.text("overflowgid", |out| number(out, 65534)),
        b.text("overflowuid", |out| number(out, 65534)),
        b.number_file("pipe-max-size", &pipe::MAX_SIZE),
        b.number_file("protected_fifos", &protect::FIFOS),
        b.number_file("protected_hardlinks", &protect::HARDLINKS),
        b.number_file("protected_regular", &protect::REGULAR),
        b.number_file("protected_symlinks", &protect::SYMLINKS),
        b.number_file("suid_dumpable", &pattern::SUID_DUMPABLE),
    ]);
    let core = Vec::from([b.number_file("somaxconn", &unix::MAX_BACKLOG)]);
    let unix_domain = Vec::from([b.number_file("max_dgram_qlen", &unix::MAX_DATAGRAMS)]);
    let net = Vec::from([b.dir("core", core), b.dir("unix", unix_domain)]);
    let top = Vec::from([
        b.dir("fs", files),
        b.dir("kernel", kernel),
        b.dir("net", net),
        b.dir("vm", vm),
    ]);
    Fixed(top)
}

fn kernel(b: &mut Builder) -> Vec<(&'static str, Entry)> {
    let random = Vec::from([
        b.text("boot_id", boot_id),
        b.text("entropy_avail", |out| {
            number(out, if random::is_seeded() { 256 } else { 0 })
        }),
        b.text("poolsize", |out| number(out, 256)),
        b.text("uuid", |out| uuid(out, new_uuid())),
    ]);
    let pty = Vec::from([
        b.text("max", |out| number(out, 4096)),
        b.text("nr", |out| number(out, crate::tty::devpts::count() as i64)),
        b.text("reserve", |out| number(out, 1024)),
    ]);
    Vec::from([
        b.text("cap_last_cap", |out| number(out, 40)),
        b.setting(
            "core_pattern",
            |out| line(out, &pattern::get()),
            |text, _| pattern::set(text),
        ),
        b.number_file("core_uses_pid", &pattern::USES_PID),
        b.number_file("dmesg_restrict", &printk::DMESG_RESTRICT),
        b.setting(
            "domainname",
            |out| line(out, &uts::DOMAINNAME.get()),
            |text, cred| set_name(&uts::DOMAINNAME, text, cred),
        ),
        b.setting(
            "hostname",
            |out| line(out, &uts::HOSTNAME.get()),
            |text, cred| set_name(&uts::HOSTNAME, text, cred),
        ),
        b.number_file("kptr_restrict", &KPTR_RESTRICT),
        b.number_file("msgmax", &limits::MSGMAX),
        b.number_file("msgmnb", &limits::MSGMNB),
        b.number_file("msgmni", &limits::MSGMNI),
        b.text("ngroups_max", |out| number(out, 65536)),
        b.text("osrelease", |out| line(out, uts::RELEASE.as_bytes())),
        b.text("ostype", |out| line(out, uts::SYSNAME.as_bytes())),
        b.text("overflowgid", |out| number(out, 65534)),
        b.text("overflowuid", |out| number(out, 65534)),
        b.setting(
            "panic",
            |out| number(out, panic::timeout().into()),
            set_panic,
        ),
        b.setting(
            "pid_max",
            |out| number(out, table::lock().pid_max().into()),
            set_pid_max,
        ),
        b.setting("printk", show_printk, set_printk),
        b.dir("pty", pty),
        b.dir("random", random),
        b.number_file("randomize_va_space", &sysctl::RANDOMIZE_VA_SPACE),
        b.setting(
            "sched_autogroup_enabled",
            |out| number(out, autogroup::ENABLED.get()),
            |text, _| autogroup::enable(parse(text)?),
        ),
        b.setting(
            "sched_deadline_period_max_us",
            |out| number(out, (*deadline::periods_us().end()).into()),
            |text, _| deadline::set_longest_us(parse(text)?),
        ),
        b.setting(
            "sched_deadline_period_min_us",
            |out| number(out, (*deadline::periods_us().start()).into()),
            |text, _| deadline::set_shortest_us(parse(text)?),
        ),
        b.setting(
            "sched_rr_timeslice_ms",
            |out| number(out, realtime::rr_slice_ms()),
            |text, _| {
                realtime::set_rr_slice_ms(parse(text)?);
                Ok(())
            },
        ),
        b.setting(
            "sched_rt_period_us",
            |out| number(out, realtime::period_us()),
            |text, _| realtime::set_period_us(parse(text)?),
        ),
        b.setting(
            "sched_rt_runtime_us",
            |out| number(out, realtime::runtime_us()),
            |text, _| realtime::set_runtime_us(parse(text)?),
        ),
        b.setting("sem", show_sem, |text, _| limits::store_sem(text)),
        b.setting(
            "shmall",
            |out| large(out, &limits::SHMALL),
            |text, _| limits::SHMALL.store(text),
        ),
        b.setting(
            "shmmax",
            |out| large(out, &limits::SHMMAX),
            |text, _| limits::SHMMAX.store(text),
        ),
        b.number_file("shmmni", &limits::SHMMNI),
        b.number_file("sysrq", &SYSRQ),
        b.text("tainted", |out| number(out, 0)),
        b.text("threads-max", |out| {
            number(out, table::lock().max_threads() as i64)
        }),
        b.text("version", |out| line(out, uts::VERSION.as_bytes())),
    ])
}

fn number(out: &mut Out, value: i64) -> Result<()> {
    put!(out, "{value}\n");
    Ok(())
}

fn large(out: &mut Out, value: &limits::Large) -> Result<()> {
    put!(out, "{}\n", value.get());
    Ok(())
}

/// The limits of semaphores: of a set, in all, of a call, and sets.
fn show_sem(out: &mut Out) -> Result<()> {
    let [of_set, all, of_call, sets] = limits::of_sem().map(Tunable::get);
    put!(out, "{of_set}\t{all}\t{of_call}\t{sets}\n");
    Ok(())
}

fn line(out: &mut Out, text: &[u8]) -> Result<()> {
    out.bytes(text);
    out.bytes(b"\n");
    Ok(())
}

fn set_name(name: &uts::Name, text: &[u8], cred: &Credentials) -> Result<()> {
    if !cred.capable(Cap::SysAdmin) {
        return Err(Errno::EPERM);
    }
    let text = text
        .split(|&b| b == b'\n' || b == 0)
        .next()
        .unwrap_or_default();
    name.set(&text[..text.len().min(uts::NAME_MAX)])
}

fn set_panic(text: &[u8], _: &Credentials) -> Result<()> {
    panic::set_timeout(i32::try_from(parse(text)?).map_err(|_| Errno::EINVAL)?);
    Ok(())
}

fn set_pid_max(text: &[u8], _: &Credentials) -> Result<()> {
    let max = i32::try_from(parse(text)?).map_err(|_| Errno::EINVAL)?;
    table::lock().set_pid_max(max)
}

/// What is printed: now, by default for a message, the least, by default at boot.
fn show_printk(out: &mut Out) -> Result<()> {
    let (least, default) = (printk::MINIMUM_CONSOLE_LEVEL, printk::DEFAULT_CONSOLE_LEVEL);
    put!(
        out,
        "{}\t{}\t{least}\t{default}\n",
        printk::console_level(),
        printk::level::WARNING
    );
    Ok(())
}

fn set_printk(text: &[u8], cred: &Credentials) -> Result<()> {
    if !cred.capable(Cap::SysAdmin) {
        return Err(Errno::EPERM);
    }
    let level = u8::try_from(parse(text)?).map_err(|_| Errno::EINVAL)?;
    printk::set_console_level(level);
    Ok(())
}

/// 1 asks for pages, 2 for names, 3 for both; files in memory have their pages nowhere else, so only names go.
fn drop_caches(text: &[u8], _: &Credentials) -> Result<()> {
    match parse(text)? {
        1 => Ok(()),
        2 | 3 => {
            fs::dentry::shrink(usize::MAX);
            Ok(())
        }
        _ => Err(Errno::EINVAL),
    }
}

fn min_free(out: &mut Out) -> Result<()> {
    number(out, crate::mm::page_alloc::stats().min as i64 * 4)
}

fn dentry_state(out: &mut Out) -> Result<()> {
    put!(out, "{0}\t{0}\t45\t0\t0\t0\n", fs::dentry::entries());
    Ok(())
}

fn file_nr(out: &mut Out) -> Result<()> {
    put!(
        out,
        "{}\t0\t{}\n",
        fs::file::open_count(),
        file::MAX_FILES.get()
    );
    Ok(())
}

/// A random UUID, version 4. Source: RFC 4122, section 4.4.
fn new_uuid() -> [u8; 16] {
    let mut bytes = [0; 16];
    random::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

fn uuid(out: &mut Out, bytes: [u8; 16]) -> Result<()> {
    for (at, byte) in bytes.into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            put!(out, "-");
        }
        put!(out, "{byte:02x}");
    }
    put!(out, "\n");
    Ok(())
}

fn boot_id(out: &mut Out) -> Result<()> {
    static BOOT_ID: OnceCell<[u8; 16]> = OnceCell::uninit();
    if BOOT_ID.try_get().is_err() {
        // Lost if another was quicker.
        let _ = BOOT_ID.try_init_once(new_uuid);
    }
    uuid(out, *BOOT_ID.try_get().expect("made above"))
}
