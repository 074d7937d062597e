//! What a process knows of itself and of the system.

use crate::cases::cases;
use crate::sys::*;

cases![
    names,
    uname_and_sysinfo,
    random_bytes,
    unknown_calls,
    affinity_and_cpu,
    proc_self,
];

fn names() {
    let mut name = *b"a-name-that-is-too-long";
    let long = name.first_chunk_mut().expect("it is longer");
    ok(prctl_name(libc::PR_SET_NAME, long));
    let mut name = [0_u8; 16];
    ok(prctl_name(libc::PR_GET_NAME, &mut name));
    assert_eq!(&name, b"a-name-that-is-\0");
    assert_eq!(
        std::fs::read_to_string("/proc/self/comm").expect("procfs"),
        "a-name-that-is-\n"
    );
    std::fs::write("/proc/self/comm", "other").expect("it is ours");
    ok(prctl_name(libc::PR_GET_NAME, &mut name));
    assert_eq!(&name[..6], b"other\0");
}

fn uname_and_sysinfo() {
    let name = ok(uname());
    let text = |field: &[libc::c_char]| -> String {
        field
            .iter()
            .take_while(|byte| **byte != 0)
            .map(|byte| *byte as u8 as char)
            .collect()
    };
    assert_eq!(
        (text(&name.sysname), text(&name.machine)),
        ("Linux".into(), "x86_64".into())
    );
    assert!(
        text(&name.release).starts_with("6.1"),
        "{}",
        text(&name.release)
    );
    let info = ok(sysinfo());
    assert!(
        info.totalram > 0 && info.freeram > 0 && info.freeram <= info.totalram && info.procs > 1
    );
    assert!(info.mem_unit >= 1);
    assert_eq!(call(libc::SYS_uname, &[8]), Err(libc::EFAULT));
}

fn random_bytes() {
    let (mut a, mut b) = ([0_u8; 64], [0_u8; 64]);
    assert_eq!(ok(getrandom(&mut a, 0)), 64);
    assert_eq!(ok(getrandom(&mut b, libc::GRND_NONBLOCK)), 64);
    assert_ne!(a, b);
    fails(getrandom(&mut a, 0x1000), libc::EINVAL);
    let fd = ok(open("/dev/urandom", libc::O_RDONLY));
    assert_ne!(get(fd, 64), b);
}

fn unknown_calls() {
    for number in [-1, 600, 9999, i64::from(i32::MAX), i64::MAX] {
        assert_eq!(call(number, &[]), Err(libc::ENOSYS), "{number}");
    }
}

fn affinity_and_cpu() {
    let all = ok(sched_getaffinity(0));
    assert!(!all.is_empty());
    for cpu in all {
        ok(sched_setaffinity(0, &[cpu]));
        assert_eq!(current_cpu(), cpu);
    }
    fails(sched_setaffinity(0, &[]), libc::EINVAL);
}

fn proc_self() {
    let pid = getpid();
    assert_eq!(
        std::fs::read_link("/proc/self").expect("procfs"),
        std::path::Path::new(&pid.to_string())
    );
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs");
    assert!(stat.starts_with(&format!("{pid} (usertests) R ")), "{stat}");
    assert_eq!(stat.split_whitespace().count(), 52);
    assert_eq!(
        proc_field("/proc/self/status", "Pid"),
        Some(pid.to_string())
    );
    assert_eq!(
        proc_field("/proc/self/status", "Threads").as_deref(),
        Some("1")
    );
    let words = std::fs::read("/proc/self/cmdline").expect("procfs");
    assert!(words.ends_with(b"run\0process::proc_self\0"));
    let cwd = std::fs::read_link("/proc/self/cwd").expect("procfs");
    assert_eq!(cwd, std::env::current_dir().expect("there is one"));
    assert!(std::fs::read_link("/proc/self/fd/0").is_ok_and(|path| path.starts_with("/dev/null")));
    let missing = std::fs::read("/proc/999999/stat").expect_err("nobody has this number");
    assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));
}
