//! Runs the programs of a list one after another and reports on the second serial port.
//!
//! Each line of the list is a test: its name, its bound in seconds, and the program with its arguments, with tabs between
//! them. A program runs in a session and an empty directory of its own, with no input, and its two outputs are one pipe.
//! When it has ended, or its time is up, whatever is left of its session's processes is killed. The protocol is described
//! in `tests/src/batch.rs`.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::sys::*;

const PORT: &str = "/dev/ttyS1";
const DIR: &str = "/tmp/test";
/// A program with more time than the runner's patience: it is told so often that the machine lives.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// What children that a program leaves behind get to end by themselves.
const MOMENT: Duration = Duration::from_millis(200);
/// What a pipe that processes outside of the session keep open is waited for.
const LONGER: Duration = Duration::from_secs(2);
/// More output than this is cut off.
const MAX_OUTPUT: usize = 64 * 1024;

/// Runs the list at `path`, then powers the machine off.
pub fn main(path: &str) -> ExitCode {
    let list = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let port = File::options().write(true).open(PORT);
    let mut port = port.unwrap_or_else(|error| panic!("{PORT}: {error}"));
    let tests: Vec<&str> = list.lines().filter(|line| !line.is_empty()).collect();
    say(&mut port, &format!("begin {}\n", tests.len()));
    for test in tests {
        let mut words = test.split('\t');
        let (Some(name), Some(seconds)) = (words.next(), words.next()) else {
            panic!("{path}: no name and time in {test:?}");
        };
        let limit = Duration::from_secs(seconds.parse().expect("a number of seconds"));
        let argv: Vec<&str> = words.collect();
        say(&mut port, &format!("test {name}\n"));
        let report = match run(&argv, limit, &mut port) {
            Ok((output, Some(code))) => format!("{}exit {name} {code}\n", escape(&output)),
            Ok((output, None)) => {
                let seconds = limit.as_secs();
                format!(
                    "{}FAIL {name} did not end in {seconds} s\n",
                    escape(&output)
                )
            }
            Err(error) => format!("FAIL {name} could not be started: {error}\n"),
        };
        say(&mut port, &report);
    }
    say(&mut port, "end\n");
    let _ = Command::new("/sbin/poweroff").arg("-f").status();
    ExitCode::SUCCESS
}

fn say(port: &mut File, text: &str) {
    port.write_all(text.as_bytes())
        .expect("the serial port takes output");
}

/// Runs one program; gives its output and its exit code, or no code if its time was up.
fn run(argv: &[&str], limit: Duration, port: &mut File) -> std::io::Result<(Vec<u8>, Option<i32>)> {
    remove(Path::new(DIR));
    std::fs::create_dir_all(DIR)?;
    std::fs::set_permissions(DIR, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let (reader, writer) = std::io::pipe()?;
    let mut command = Command::new(argv[0]);
    command
        .args(&argv[1..])
        .current_dir(DIR)
        .stdin(Stdio::null());
    command.stdout(writer.try_clone()?).stderr(writer);
    command
        .env_clear()
        .env("PATH", "/sbin:/usr/sbin:/bin:/usr/bin")
        .env("HOME", "/root");
    // SAFETY: a system call and no more, which takes no lock and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            setsid()
                .map(|_| ())
                .map_err(std::io::Error::from_raw_os_error)
        });
    }
    let start = Instant::now();
    let mut child = command.spawn()?;
    drop(command); // and with it our copies of the pipe's end
    let (sender, chunks) = channel();
    std::thread::spawn(move || {
        let mut reader = reader;
        let mut chunk = [0; 4096];
        while let Ok(len @ 1..) = reader.read(&mut chunk) {
            if sender.send(chunk[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut output = Vec::new();
    let mut code = None;
    let mut heartbeat = start;
    // The pipe ends when the last process with it has ended. A child left behind gets a moment, no more; but all that was
    // written is read, and only who left the session can keep the pipe open for longer.
    let mut deadline = start + limit;
    let mut grace = None;
    loop {
        match chunks.recv_timeout(Duration::from_millis(5)) {
            Ok(chunk) if output.len() < MAX_OUTPUT => output.extend_from_slice(&chunk),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if code.is_none() {
            code = ended(&mut child)?;
            if code.is_some() {
                grace = Some(Instant::now() + MOMENT);
            }
        }
        if grace.is_some_and(|end| Instant::now() > end) {
            grace = None;
            kill_session(child.id());
            deadline = deadline.min(Instant::now() + LONGER);
        }
        if Instant::now() > deadline {
            break;
        }
        if heartbeat.elapsed() > HEARTBEAT {
            heartbeat = Instant::now();
            say(port, "alive\n");
        }
    }
    // The pipe can close before its process ends.
    while code.is_none() && Instant::now() < start + limit {
        std::thread::sleep(Duration::from_millis(1));
        code = ended(&mut child)?;
    }
    kill_session(child.id());
    if code.is_none() {
        child.wait()?;
    }
    remove(Path::new(DIR));
    output.truncate(MAX_OUTPUT);
    Ok((output, code))
}

/// The exit code of a child that has ended, as a shell would show it.
fn ended(child: &mut Child) -> std::io::Result<Option<i32>> {
    let status = child.try_wait()?;
    Ok(status.map(|status| {
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }))
}

/// Kills every process of a session, which procfs knows; at least the process group where there is no procfs.
fn kill_session(session: u32) {
    let session = session as i32;
    let kill = |pid: i32| ignore(kill(pid, libc::SIGKILL));
    kill(-session);
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return;
    };
    for entry in processes.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        // Behind the name, which stands in parentheses: state, parent, group, session.
        let field = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(3));
        if field.and_then(|text| text.parse::<i32>().ok()) == Some(session) {
            kill(pid);
        }
    }
}

/// Removes a tree as far as possible; a test may have left mounts in it.
fn remove(dir: &Path) {
    if std::fs::remove_dir_all(dir).is_err() && dir.exists() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if let Some(path) = entry.path().to_str() {
                ignore(umount2(path, libc::MNT_DETACH));
            }
        }
        let _ = std::fs::remove_dir_all(dir);
    }
}

/// The output as lines of the protocol.
fn escape(output: &[u8]) -> String {
    let mut text = String::new();
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        let whole = line.last() == Some(&b'\n');
        text.push(if whole { '>' } else { '.' });
        for byte in &line[..line.len() - usize::from(whole)] {
            match byte {
                b'\\' => text.push_str("\\\\"),
                b'\r' => text.push_str("\\r"),
                b' '..=b'~' | b'\t' => text.push(char::from(*byte)),
                byte => text.push_str(&format!("\\x{byte:02x}")),
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn output_is_escaped_line_by_line() {
        assert_eq!(escape(b"a\tb\n\xffc\\\r"), ">a\tb\n.\\xffc\\\\\\r\n");
        assert_eq!(escape(b""), "");
        assert_eq!(escape(b"\n\n"), ">\n>\n");
    }
}
