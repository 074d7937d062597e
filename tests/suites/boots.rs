//! Whole boots: machines of many kinds, and input that cannot boot. Each line is a machine of its own.

use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};
use tests::archive::Archive;
use tests::batch::ScratchDir;
use tests::harness::{self, Group};
use tests::initramfs::{self, Session};
use tests::machine::Machine;
use tests::programs;
use tests::qemu::{End, Qemu};
use tests::setup::{self, Need};

fn main() -> ExitCode {
    if let Err(error) = setup::ensure(Need::Boot) {
        eprintln!("boots: {error:#}");
        return ExitCode::FAILURE;
    }
    let cases = cases();
    let group = Group {
        label: "boot".into(),
        tests: cases.iter().map(|case| case.name.to_string()).collect(),
        run: Box::new(move |wanted, report| {
            let (kernel, _) = programs::kernel_and_agent()?;
            for case in cases
                .iter()
                .filter(|case| wanted.iter().any(|name| name == case.name))
            {
                report(
                    case.name,
                    run(case, &kernel).map_err(|error| format!("{error:#}")),
                );
            }
            Ok(())
        }),
    };
    harness::main(vec![group], 1)
}

/// One boot and what has to come of it.
struct Case {
    name: &'static str,
    machine: Machine,
    initrd: Initrd,
    /// Texts that the console has to show, in this order.
    shows: Vec<&'static str>,
}

enum Initrd {
    /// None at all.
    None,
    /// The runner's own, with this script in place of a shell.
    Script(&'static str),
    /// These bytes.
    Bytes(fn() -> Result<Vec<u8>>),
}

/// Enough of everything: processes, pipes, files, memory, and the number of CPUs.
const SCRIPT: &str = "echo cpus $(nproc)\ni=0; while [ $i -lt 20 ]; do i=$((i + 1)); echo $i > /tmp/$i; done\n\
    cat /tmp/* | sort -n | tail -n 1\nseq 2000 | sha256sum\ndd if=/dev/zero of=/tmp/z bs=1k count=500 2>/dev/null\n\
    (sleep 0.1; echo child) & wait\necho all is well\n";

/// Stands for a disk of 2 MiB that is made for the boot.
const DISK: &str = "scratch";
const DISK_LEN: u64 = 2 << 20;
const DISK_SCRIPT: &str = "tail -n 1 /proc/partitions | awk '{ print $3, $4 }'\nstat -c '%t %T' /dev/vda >/dev/null\n\
    stat -c '254 %T %f' /dev/vda\necho hello disk | dd of=/dev/vda bs=1 seek=1000 conv=notrunc,fsync 2>/dev/null\n\
    dd if=/dev/vda bs=1 skip=1000 count=10 2>/dev/null; echo\n\
    dd if=/dev/zero of=/dev/vda bs=64k seek=31 count=2 2>&1 | grep -o 'No space left'\n\
    dd if=/dev/vda bs=512k 2>/dev/null | wc -c | awk '{ print $1 / 524288 }'\n";

/// Half a second of a program that makes no system call, of which nothing is to count as the kernel's.
const LATENCY_SCRIPT: &str = "grep measured /proc/wake/latency\necho on > /proc/wake/latency\n\
    i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); done\n\
    awk '/ns/ { print $2, ($3 > 0 && $3 < 50000000 ? \"bounded\" : $0) }' /proc/wake/latency\n\
    echo off > /proc/wake/latency; grep -c ns /proc/wake/latency\n\
    echo maybe > /proc/wake/latency 2>/dev/null || echo refused\n";

/// What comes by which line, where the 8259s are in charge.
const LINES_SCRIPT: &str = "for i in 1 2 3 4; do (sleep 0.0$i; echo slept) & done; wait\n\
    awk '/XT-PIC/ { sub(\"-.*\", \"\", $5); print $4, $5, $6 }' /proc/interrupts\n\
    grep -q IO-APIC /proc/interrupts || echo no IO-APIC\ntail -n 1 /proc/partitions | awk '{ print $3, $4 }'\n\
    dd if=/dev/vda bs=4k count=16 2>/dev/null | wc -c\necho all is well\n";

/// As [`SCRIPT`], and what the timers are and the clock.
const TIMER_SCRIPT: &str = "for i in 1 2 3 4 5 6 7 8; do (sleep 0.0$i; echo slept) & done; wait\n\
    echo cpus $(nproc)\necho broadcast $(cat /sys/devices/system/clockevents/broadcast/current_device)\n\
    echo clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)\n\
    echo $(grep -E 'resolution|nohz_mode' /proc/timer_list | sort -u)\necho all is well\n";

/// Where the CPUs sit.
const TOPOLOGY_SCRIPT: &str = "cd /sys/devices/system/cpu\n\
    for cpu in cpu?; do echo $cpu $(cd $cpu/topology; cat physical_package_id core_id thread_siblings_list \
    core_siblings_list core_cpus); done\n\
    awk -F: '/^(physical id|siblings|core id|cpu cores)/ { all = all $2 } END { print \"all\" all }' /proc/cpuinfo\n";

/// Two spinners begin on the threads of one core, while the other core sleeps.
const CORES_SCRIPT: &str = "for n in 1 2; do taskset $n sh -c 'while :; do :; done' & pids=\"$pids $!\"; done; sleep 0.3\n\
    set -- $pids; taskset -p f $1 >/dev/null; taskset -p f $2 >/dev/null\n\
    core() { awk '{ print int($39 / 2) }' /proc/$1/stat; }\n\
    i=0; while [ $(core $1) = $(core $2) ] && [ $i -lt 100 ]; do sleep 0.1; i=$((i + 1)); done\n\
    [ $i -lt 100 ] && echo a core each; kill $pids\n";

/// Three spinners stay off a CPU that is idle but isolated, until one is sent there.
const ISOLATED_SCRIPT: &str = "echo isolated $(cat /sys/devices/system/cpu/isolated)\n\
    for n in 1 2 3; do sh -c 'while :; do :; done' & pids=\"$pids $!\"; done; sleep 0.5\n\
    on() { awk '{ printf \" %d\", $39 }' $(printf '/proc/%d/stat ' $*); }\n\
    echo they run on$(on $pids)\n\
    set -- $pids; taskset -p 2 $1 >/dev/null; echo and now on$(on $pids); kill $pids\n";

fn cases() -> Vec<Case> {
    let script = |name, machine, cpus| Case {
        name,
        machine,
        initrd: Initrd::Script(SCRIPT),
        shows: vec![cpus, "20", "child", "all is well"],
    };
    let with = |change: fn(&mut Machine)| {
        let mut machine = Machine::default();
        change(&mut machine);
        machine
    };
    let arranged = |smp, parts: &str| Machine {
        smp,
        topology: Some(parts.into()),
        ..Machine::default()
    };
    let bad = |name, initrd, shows| Case {
        name,
        machine: Machine::default(),
        initrd,
        shows,
    };
    let timers = |name, (smp, append): (u32, &str), mut shows: Vec<&'static str>| {
        shows.insert(0, "slept");
        shows.push("all is well");
        let machine = Machine {
            smp,
            append: append.into(),
            ..Machine::default()
        };
        Case {
            name,
            machine,
            initrd: Initrd::Script(TIMER_SCRIPT),
            shows,
        }
    };
    vec![
        script("one_cpu", with(|m| m.smp = 1), "cpus 1"),
        script("two_cpus", with(|_| ()), "cpus 2"),
        script("four_cpus", with(|m| m.smp = 4), "cpus 4"),
        script("eight_cpus", with(|m| m.smp = 8), "cpus 8"),
        script("memory_32M", with(|m| m.mem = "32M".into()), "cpus 2"),
        script("memory_64M", with(|m| m.mem = "64M".into()), "cpus 2"),
        script("memory_2G", with(|m| m.mem = "2G".into()), "cpus 2"),
        script("memory_4G", with(|m| m.mem = "4G".into()), "cpus 2"),
        script("memory_8G", with(|m| m.mem = "8G".into()), "cpus 2"),
        script("machine_pc", with(|m| m.machine = "pc".into()), "cpus 2"),
        script("cpu_qemu64", with(|m| m.cpu = "qemu64".into()), "cpus 2"),
        script("icount", with(|m| (m.icount, m.smp) = (true, 1)), "cpus 1"),
        script(
            "pc_qemu64_one_cpu_icount",
            with(|m| {
                m.machine = "pc".into();
                m.cpu = "qemu64".into();
                (m.icount, m.smp) = (true, 1);
            }),
            "cpus 1",
        ),
        Case {
            name: "two_sockets_of_two_cores_of_two_threads",
            machine: arranged(8, "sockets=2,cores=2,threads=2"),
            initrd: Initrd::Script(TOPOLOGY_SCRIPT),
            shows: vec![
                "cpu0 0 0 0-1 0-3 03",
                "cpu3 0 1 2-3 0-3 0c",
                "cpu4 1 0 4-5 4-7 30",
                "cpu7 1 1 6-7 4-7 c0",
                "all 0 4 0 2 0 4 0 2 0 4 1 2 0 4 1 2 1 4 0 2 1 4 0 2 1 4 1 2 1 4 1 2",
            ],
        },
        Case {
            name: "two_sockets_of_three_cores",
            machine: arranged(6, "sockets=2,cores=3,threads=1"),
            initrd: Initrd::Script(TOPOLOGY_SCRIPT),
            shows: vec!["cpu2 0 2 2 0-2 04", "cpu4 1 1 4 3-5 10"],
        },
        Case {
            name: "a_thread_leaves_a_shared_core_for_an_idle_one",
            machine: arranged(4, "sockets=1,cores=2,threads=2"),
            initrd: Initrd::Script(CORES_SCRIPT),
            shows: vec!["a core each"],
        },
        Case {
            name: "isolated_cpus_are_left_alone",
            machine: with(|m| m.append = "isolcpus=1".into()),
            initrd: Initrd::Script(ISOLATED_SCRIPT),
            shows: vec!["isolated 1", "they run on 0 0 0", "and now on 1 0 0"],
        },
        Case {
            name: "lines_by_the_8259s",
            machine: with(|m| {
                m.machine = "pc".into();
                m.append = "noapic nolapic_timer".into();
                m.disk = vec![DISK.into()];
            }),
            initrd: Initrd::Script(LINES_SCRIPT),
            shows: vec![
                "slept",
                "XT-PIC 0 pit",
                "XT-PIC 4 ttyS0",
                "XT-PIC 8 rtc0",
                "no IO-APIC",
                "2048 vda",
                "all is well",
            ],
        },
        Case {
            name: "lines_by_the_8259s_of_a_q35",
            machine: with(|m| (m.smp, m.append) = (4, "noapic".into())),
            initrd: Initrd::Script(SCRIPT),
            shows: vec!["cpus 4", "20", "child", "all is well"],
        },
        timers(
            "timers_by_one_device_for_all",
            (4, "nolapic_timer"),
            vec!["cpus 4", "broadcast hpet", ".resolution: 1 nsecs"],
        ),
        timers(
            "timers_by_the_8254",
            (2, "nolapic_timer hpet=disable clocksource=acpi_pm"),
            vec!["cpus 2", "broadcast pit", "clock acpi_pm"],
        ),
        timers(
            "timers_at_ticks_only",
            (2, "highres=off tsc=unstable"),
            vec!["clock hpet", ".nohz_mode : 1 .resolution: 4000000"],
        ),
        timers(
            "timers_by_a_periodic_tick",
            (4, "highres=off nohz=off"),
            vec!["cpus 4", ".nohz_mode : 0 .resolution: 4000000"],
        ),
        timers(
            "timers_by_a_periodic_tick_of_one_device",
            (2, "highres=off nohz=off nolapic_timer hpet=disable"),
            vec!["cpus 2", "broadcast pit", ".nohz_mode : 0"],
        ),
        Case {
            name: "unknown_words_go_to_init",
            machine: with(|m| m.append = "WAKE_WORD=value some.module=1 word -- extra".into()),
            initrd: Initrd::Bytes(|| {
                let script =
                    "#!/bin/ash\necho args $* and $WAKE_WORD\nexec /bin/busybox poweroff -f\n";
                with_busybox(|archive| archive.file("init", 0o755, script))
            }),
            shows: vec!["args word extra and value"],
        },
        Case {
            name: "memory_is_limited_by_mem",
            machine: with(|m| (m.mem, m.append) = ("4G".into(), "mem=3G".into())),
            initrd: Initrd::Script(
                "awk '/MemTotal/ { print ($2 < 2500000 ? \"small\" : \"large\") }' /proc/meminfo\n",
            ),
            shows: vec!["small"],
        },
        Case {
            name: "latencies_are_measured_where_asked_and_without_user_mode",
            machine: with(|m| {
                m.append = "latency=on".into();
                (m.icount, m.smp) = (true, 1);
            }),
            initrd: Initrd::Script(LATENCY_SCRIPT),
            shows: vec![
                "measured on",
                "poll bounded",
                "irqs-off bounded",
                "preempt-off bounded",
                "0",
                "refused",
            ],
        },
        Case {
            name: "cpus_are_limited_by_nr_cpus",
            machine: with(|m| (m.smp, m.append) = (4, "nr_cpus=2".into())),
            initrd: Initrd::Script(SCRIPT),
            shows: vec!["cpus 2", "all is well"],
        },
        Case {
            name: "disks_are_read_and_written",
            machine: with(|m| m.disk = vec![DISK.into()]),
            initrd: Initrd::Script(DISK_SCRIPT),
            shows: vec!["2048 vda", "254 0 6180", "hello disk", "No space left", "4"],
        },
        Case {
            name: "disks_on_a_pc_by_an_old_cpu",
            machine: with(|m| {
                (m.machine, m.cpu) = ("pc".into(), "qemu64".into());
                (m.disk, m.device) = (vec![DISK.into()], vec!["edu".into()]);
            }),
            initrd: Initrd::Script(DISK_SCRIPT),
            shows: vec!["2048 vda", "254 0 6180", "hello disk", "No space left", "4"],
        },
        bad(
            "compressed_archive",
            Initrd::Bytes(|| {
                gzip(initramfs::build(&Session::Script(b"echo all is well\n".into()))?.bytes())
            }),
            vec!["all is well"],
        ),
        bad(
            "two_archives",
            Initrd::Bytes(two_archives),
            vec!["second all is well"],
        ),
        bad(
            "no_initrd",
            Initrd::None,
            vec!["Kernel panic - not syncing: VFS: Unable to mount root fs"],
        ),
        bad(
            "garbage_for_an_archive",
            Initrd::Bytes(|| Ok(vec![0x5a; 100_000])),
            vec![
                "Initramfs unpacking failed",
                "Kernel panic - not syncing: VFS: Unable to mount root fs",
            ],
        ),
        bad(
            "truncated_archive",
            Initrd::Bytes(truncated),
            vec!["Initramfs unpacking failed"],
        ),
        bad(
            "no_init",
            Initrd::Bytes(|| Ok(only("etc/motd", b"hello"))),
            vec!["Kernel panic - not syncing: VFS: Unable to mount root fs"],
        ),
        Case {
            name: "too_little_memory",
            machine: with(|m| m.append = "mem=2M".into()),
            initrd: Initrd::None,
            shows: vec!["Kernel panic - not syncing: too little memory to boot"],
        },
        Case {
            name: "too_little_memory_for_the_archive",
            machine: with(|m| m.mem = "24M".into()),
            // There is room for it once, and not twice, however large the kernel is.
            initrd: Initrd::Bytes(|| {
                with_busybox(|a| a.file("large", 0o644, vec![b'x'; 10 << 20]))
            }),
            shows: vec![
                "Initramfs unpacking failed: cannot write",
                "No space left on device",
                "Kernel panic - not syncing: VFS: Unable to mount root fs",
            ],
        },
        bad(
            "init_is_no_program",
            Initrd::Bytes(|| Ok(only("init", b"neither ELF nor script"))),
            vec![
                "Failed to execute /init (error -8)",
                "Kernel panic - not syncing: No working init found.",
            ],
        ),
        bad(
            "init_ends",
            Initrd::Bytes(init_ends),
            vec![
                "from init",
                "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300",
            ],
        ),
        Case {
            name: "init_is_tried_where_rdinit_does_not_run",
            machine: with(|m| m.append = "rdinit=/empty init=/other -- one two".into()),
            initrd: Initrd::Bytes(|| {
                with_busybox(|a| {
                    a.file("empty", 0o755, "");
                    a.file(
                        "other",
                        0o755,
                        "#!/bin/ash\necho args $*\nexec /bin/busybox poweroff -f\n",
                    );
                })
            }),
            shows: vec!["Failed to execute /empty (error -8)", "args one two"],
        },
        Case {
            name: "rdinit_chooses",
            machine: with(|m| m.append = "rdinit=/other".into()),
            initrd: Initrd::Bytes(|| {
                with_busybox(|a| {
                    a.file(
                        "other",
                        0o755,
                        "#!/bin/ash\necho other init\nexec /bin/busybox poweroff -f\n",
                    )
                })
            }),
            shows: vec!["other init"],
        },
    ]
}

fn only(path: &str, contents: &[u8]) -> Vec<u8> {
    let mut archive = Archive::new();
    archive.file(path, 0o755, contents);
    archive.bytes()
}

fn with_busybox(add: impl FnOnce(&mut Archive)) -> Result<Vec<u8>> {
    let mut archive = initramfs::build(&Session::Shell)?;
    add(&mut archive);
    Ok(archive.bytes())
}

fn init_ends() -> Result<Vec<u8>> {
    with_busybox(|archive| archive.file("init", 0o755, "#!/bin/ash\necho from init\nexit 3\n"))
}

fn truncated() -> Result<Vec<u8>> {
    let mut bytes = initramfs::build(&Session::Shell)?.bytes();
    bytes.truncate(bytes.len() / 2);
    Ok(bytes)
}

/// Archives one behind the other count as one; the later files win.
fn two_archives() -> Result<Vec<u8>> {
    let mut bytes = initramfs::build(&Session::Script(
        b"echo $(cat /second) all is well\n".into(),
    ))?
    .bytes();
    bytes.extend(only("second", b"second"));
    Ok(bytes)
}

fn gzip(bytes: Vec<u8>) -> Result<Vec<u8>> {
    use std::io::Write;
    let mut child = Command::new("gzip")
        .arg("-1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().expect("it is piped");
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let out = child.wait_with_output()?;
    writer.join().expect("it does not panic")?;
    Ok(out.stdout)
}

fn run(case: &Case, kernel: &std::path::Path) -> Result<()> {
    let scratch = ScratchDir::new()?;
    let (console, initrd) = (
        scratch.path().join("console"),
        scratch.path().join("initrd"),
    );
    let bytes = match &case.initrd {
        Initrd::None => None,
        Initrd::Script(script) => {
            Some(initramfs::build(&Session::Script(script.as_bytes().into()))?.bytes())
        }
        Initrd::Bytes(make) => Some(make()?),
    };
    let words = ["panic=-1".to_string(), "loglevel=4".to_string()];
    let initrd = match bytes {
        Some(bytes) => {
            std::fs::write(&initrd, bytes)?;
            Some(initrd.as_path())
        }
        None => None,
    };
    let mut machine = case.machine.clone();
    for disk in &mut machine.disk {
        *disk = scratch.path().join("disk");
        std::fs::File::create(&*disk)?.set_len(DISK_LEN)?;
    }
    let mut command = machine.command(kernel, initrd, &words);
    command
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-serial", "null"]);
    command.stdin(Stdio::null());
    let end = Qemu::start(command)?.wait(Some(Duration::from_secs(120)), || false)?;
    let shown = String::from_utf8_lossy(&std::fs::read(&console)?).into_owned();
    let tail = tests::batch::last_lines(&console);
    if !matches!(end, End::Exited(status) if status.success()) {
        bail!("the machine did not end by itself: {end:?}\n{tail}");
    }
    let mut rest = shown.as_str();
    for wanted in &case.shows {
        match rest.find(wanted) {
            Some(at) => rest = &rest[at + wanted.len()..],
            None => bail!("the console does not show {wanted:?}\n{tail}"),
        }
    }
    Ok(())
}
