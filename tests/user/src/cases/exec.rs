//! Starting programs: arguments, the auxiliary vector, scripts, what is no program.

use super::cases;
use crate::sys::*;
use std::process::{Command, ExitCode};

cases![
    arguments_and_environment,
    auxiliary_vector,
    random_differs,
    missing_and_forbidden,
    not_a_program,
    truncated_program,
    corrupt_headers,
    scripts,
    script_loops,
    too_much_to_pass,
    close_on_exec,
    busy_program,
    exec_ends_other_threads,
    set_user_id,
    exec_by_descriptor,
    long_chains_of_exec,
    empty_argument_list,
];

/// Runs as another program, at a case's wish.
pub fn helper(words: &[&str]) -> ExitCode {
    match words {
        ["exit", code] => ExitCode::from(code.parse::<u8>().expect("a code")),
        ["echo", rest @ ..] => {
            println!("{}", rest.join("|"));
            ExitCode::SUCCESS
        }
        ["random"] => {
            let at = getauxval(libc::AT_RANDOM) as usize;
            println!("{:?}", peek_all(at, 16));
            ExitCode::SUCCESS
        }
        ["open-files"] => {
            let open = (3..64).filter(|fd| is_open(*fd));
            println!("{:?}", open.collect::<Vec<_>>());
            ExitCode::SUCCESS
        }
        ["capabilities"] => {
            let of = |name| proc_field("/proc/self/status", name).expect("it is there");
            let secure = getauxval(libc::AT_SECURE);
            println!("{} {} {secure}", of("CapPrm"), of("CapEff"));
            ExitCode::SUCCESS
        }
        ["ids"] => {
            println!("{} {}", getuid(), geteuid());
            ExitCode::SUCCESS
        }
        ["chain", left] => {
            let left: u32 = left.parse().expect("a number");
            if left == 0 {
                return ExitCode::from(9);
            }
            let next = (left - 1).to_string();
            use std::os::unix::process::CommandExt;
            let error = Command::new("/proc/self/exe")
                .args(["helper", "chain", &next])
                .exec();
            panic!("{error}");
        }
        _ => ExitCode::from(2),
    }
}

fn me() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg("helper");
    command
}

fn output(command: &mut Command) -> String {
    let out = command.output().expect("it starts");
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout)
        .expect("text")
        .trim_end()
        .to_string()
}

fn executable(path: &str, contents: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, contents).expect("the directory is writable");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// The error of executing a file.
fn error_of(path: &str) -> i32 {
    let end = wait(child(|| match execve(path, &[path]) {
        Err(error) => error,
    }));
    match end {
        Ended::Exit(error) => error,
        Ended::Signal(signal) => -signal,
    }
}

fn arguments_and_environment() {
    assert_eq!(output(me().args(["echo", "a b", "", "c"])), "a b||c");
    let text = output(
        Command::new("/usr/bin/env")
            .env_clear()
            .envs([("A", "1"), ("B", "")]),
    );
    assert_eq!(text, "A=1\nB=");
}

fn auxiliary_vector() {
    let value = |kind| getauxval(kind);
    assert_eq!(value(libc::AT_PAGESZ), 4096);
    assert_eq!(value(libc::AT_CLKTCK), 100);
    assert_eq!(
        (
            value(libc::AT_UID),
            value(libc::AT_EUID),
            value(libc::AT_SECURE)
        ),
        (0, 0, 0)
    );
    assert_eq!(value(libc::AT_PHENT), 56);
    assert!(value(libc::AT_PHNUM) > 1 && value(libc::AT_PHDR) != 0 && value(libc::AT_ENTRY) != 0);
    let text = |at: u64| {
        let bytes = (at as usize..).map(peek).take_while(|byte| *byte != 0);
        String::from_utf8(bytes.collect()).expect("text")
    };
    assert_eq!(text(value(libc::AT_PLATFORM)), "x86_64");
    assert!(text(value(libc::AT_EXECFN)).ends_with("usertests"));
    assert_ne!(value(libc::AT_HWCAP), 0);
}

fn random_differs() {
    let all: Vec<String> = (0..4).map(|_| output(me().arg("random"))).collect();
    for (i, one) in all.iter().enumerate() {
        assert!(!all[..i].contains(one), "{all:?}");
    }
}

fn missing_and_forbidden() {
    assert_eq!(error_of("nofile"), libc::ENOENT);
    assert_eq!(error_of("no/file"), libc::ENOENT);
    assert_eq!(error_of("."), libc::EACCES);
    std::fs::write("f", "#!/bin/sh\n").expect("the directory is writable");
    assert_eq!(error_of("f"), libc::EACCES);
    assert_eq!(error_of("f/x"), libc::ENOTDIR);
    assert_eq!(error_of(&"x".repeat(300)), libc::ENAMETOOLONG);
    assert_eq!(error_of("/dev/null"), libc::EACCES);
}

fn not_a_program() {
    for contents in [
        &b""[..],
        b"x",
        b"text\n",
        b"\x7fELF",
        b"\x7fELF\x02\x01\x01",
        &[0; 4096],
    ] {
        executable("f", contents);
        assert_eq!(error_of("f"), libc::ENOEXEC, "{contents:?}");
    }
}

fn truncated_program() {
    let program = std::fs::read("/bin/busybox").expect("it is there");
    for len in [20, 52, 63, 64, 100, 64 + 56, 500] {
        executable("f", &program[..len]);
        let error = error_of("f");
        assert!(
            [
                libc::ENOEXEC,
                libc::EIO,
                -libc::SIGSEGV,
                -libc::SIGBUS,
                -libc::SIGKILL
            ]
            .contains(&error),
            "{len}: {error}"
        );
    }
    // Cut behind the headers, it starts and finds nothing where its pages should be.
    executable("f", &program[..8192]);
    let error = error_of("f");
    assert!(error < 0, "{error}");
}

fn corrupt_headers() {
    let program = std::fs::read("/bin/busybox").expect("it is there");
    let with = |at: usize, bytes: &[u8]| {
        let mut copy = program.clone();
        copy[at..at + bytes.len()].copy_from_slice(bytes);
        executable("f", &copy);
        error_of("f")
    };
    assert_eq!(
        with(18, &[0xb7, 0]),
        libc::ENOEXEC,
        "another machine's program"
    );
    assert_eq!(with(16, &[1, 0]), libc::ENOEXEC, "an object file");
    assert_eq!(
        with(54, &[1, 0]),
        libc::ENOEXEC,
        "program headers of a wrong size"
    );
    assert_eq!(with(56, &[0, 0]), libc::ENOEXEC, "no program headers");
    assert_ne!(with(32, &[0xff; 8]), 0, "program headers far away");
    assert!(
        with(24, &[0xff; 8]) < 0,
        "an entry point in the kernel kills"
    );
    // Wild values in every byte of the headers: an error, a signal, or no harm; the kernel goes on.
    for at in (24..64 + 56 * 4).step_by(3) {
        let mut copy = program[..65536.min(program.len())].to_vec();
        copy[at] ^= 0xff;
        executable("f", &copy);
        let pid = child(|| {
            alarm(2);
            ignore(execve("f", &["f"]));
            1
        });
        wait(pid);
    }
}

fn scripts() {
    executable("s", b"#!/bin/sh\necho $0 $1\n");
    assert_eq!(output(Command::new("./s").arg("x")), "./s x");
    executable("s", b"#! /bin/echo  a  b \nignored");
    assert_eq!(output(Command::new("./s").arg("x")), "a  b ./s x");
    executable("s", b"#!/no/such/interpreter\n");
    assert_eq!(error_of("./s"), libc::ENOENT);
    executable("s", b"#!\n");
    assert_eq!(error_of("./s"), libc::ENOEXEC);
    executable("s", b"#!/bin\n");
    assert_eq!(error_of("./s"), libc::EACCES);
}

fn script_loops() {
    executable("s", b"#!./s\n");
    assert_eq!(error_of("./s"), libc::ELOOP);
    executable("b", b"#!/bin/sh\necho end\n");
    executable("a", b"#!./b\n");
    assert_eq!(output(&mut Command::new("./a")), "end");
}

fn too_much_to_pass() {
    let long = "x".repeat(128 * 1024);
    let error = me()
        .args(["echo", &long])
        .output()
        .expect_err("one argument is too long");
    assert_eq!(error.raw_os_error(), Some(libc::E2BIG));
    let many = vec!["y".repeat(1000); 3000];
    let error = me()
        .arg("echo")
        .args(&many)
        .output()
        .expect_err("together they are too long");
    assert_eq!(error.raw_os_error(), Some(libc::E2BIG));
    assert_eq!(output(me().arg("echo").args(vec!["z"; 1000])).len(), 1999);
}

fn close_on_exec() {
    let kept = ok(open("/dev/null", libc::O_RDONLY));
    let closed = ok(open("/dev/null", libc::O_RDONLY | libc::O_CLOEXEC));
    let later = ok(open("/dev/null", libc::O_RDONLY));
    ok(fcntl(later, libc::F_SETFD, libc::FD_CLOEXEC));
    let text = output(me().arg("open-files"));
    assert!(text.contains(&kept.to_string()), "{text}");
    assert!(
        !text.contains(&closed.to_string()) && !text.contains(&later.to_string()),
        "{text}"
    );
}

fn busy_program() {
    std::fs::copy("/bin/busybox", "sleep").expect("there is room");
    let mut running = Command::new("./sleep")
        .arg("10")
        .spawn()
        .expect("it starts");
    let error = std::fs::File::options()
        .write(true)
        .open("sleep")
        .expect_err("it is running");
    assert_eq!(error.raw_os_error(), Some(libc::ETXTBSY));
    running.kill().expect("it runs");
    running.wait().expect("it ends");
    let _writer = std::fs::File::options()
        .write(true)
        .open("sleep")
        .expect("nobody runs it");
    assert_eq!(error_of("./sleep"), libc::ETXTBSY);
}

fn exec_ends_other_threads() {
    let pid = child(|| {
        let me = getpid();
        for _ in 0..3 {
            std::thread::spawn(|| sleep_for_ever());
        }
        // From a thread that is not the first: it becomes the first, with the process's number.
        std::thread::spawn(move || {
            let test = format!("[ $$ = {me} ] && exit 6");
            use std::os::unix::process::CommandExt;
            let error = Command::new("/bin/sh").args(["-c", &test]).exec();
            panic!("{error}");
        })
        .join()
        .ok();
        1
    });
    assert_eq!(wait(pid), Ended::Exit(6));
}

fn set_user_id() {
    use std::os::unix::fs::PermissionsExt;
    std::fs::copy("/proc/self/exe", "p").expect("there is room");
    std::fs::set_permissions("p", std::fs::Permissions::from_mode(0o4755)).expect("it is ours");
    in_child(|| {
        become_user();
        assert_eq!(
            output(Command::new("./p").args(["helper", "ids"])),
            "1000 0"
        );
        ok(prctl(libc::PR_SET_NO_NEW_PRIVS, 1));
        assert_eq!(
            output(Command::new("./p").args(["helper", "ids"])),
            "1000 1000"
        );
    });
}

fn exec_by_descriptor() {
    let fd = ok(open("/bin/busybox", libc::O_RDONLY));
    let end = end_of(|| ignore(fexecve(fd, &["echo", "through"])));
    assert_eq!(end, Ended::Exit(0));
    let path = c("");
    let args = [fd as usize, path.as_ptr() as usize, 0, 0, 0];
    assert_eq!(call(libc::SYS_execveat, &args), Err(libc::ENOENT));
}

fn long_chains_of_exec() {
    assert_eq!(
        me().args(["chain", "100"])
            .status()
            .expect("it starts")
            .code(),
        Some(9)
    );
}

fn empty_argument_list() {
    // Linux gives the program one empty argument.
    let end = wait(child(|| {
        ignore(execve("/bin/busybox", &[]));
        99
    }));
    assert_eq!(end, Ended::Exit(127));
}
