//! `cargo run` as somebody at a terminal meets it: a shell on Wake behind the runner, with a pseudo-terminal in front.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tests::pty::Session;
use tests::setup::{self, Need};

/// For what takes a moment, on a loaded machine as well.
const SOON: Duration = Duration::from_secs(60);
/// For the build of a kernel and its boot.
const BUILT: Duration = Duration::from_secs(900);
const PROMPT: &str = "~ # ";

/// The runner's `boot` with these options, at a terminal of 31 rows and 97 columns.
fn start(options: &[&str]) -> Result<Session> {
    setup::ensure(Need::Boot)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tests"));
    command.arg("boot").args(options).env("TERM", "vt100");
    Session::start(command, 31, 97)
}

/// Types a line and waits for what has to come of it, then for the prompt.
fn line(session: &mut Session, keys: &str, comes: &str) -> Result<()> {
    session.send(&format!("{keys}\r"))?;
    // The echo of the line is no answer to it.
    session.expect("\r\n", SOON)?;
    session.expect(comes, SOON).context(keys.to_string())?;
    session.expect(PROMPT, SOON).context(keys.to_string())?;
    Ok(())
}

#[test]
fn a_shell_at_a_terminal_does_what_users_expect() -> Result<()> {
    let mut session = start(&[])?;
    let before = session.settings()?;
    session.expect("leave with `poweroff`", BUILT)?;
    session.expect(PROMPT, BUILT)?;
    line(&mut session, "stty size", "31 97")?;
    // Backspace, and a character put in after two steps back. Each key by itself: what a key sends has to arrive in one
    // piece, for which the serial port has room.
    session.send("echo wrx\x7fng")?;
    session.expect("ng", SOON)?;
    for _ in 0..2 {
        session.send("\x1b[D")?;
        session.expect("\x08", SOON)?;
    }
    line(&mut session, "o", "wrong")?;
    // The line before, from the history.
    line(&mut session, "\x1b[A", "wrong")?;
    line(&mut session, "seq 5 | tail -n 1 > /tmp/n; cat /tmp/n", "5")?;
    line(&mut session, "date", "UTC 20")?;
    line(&mut session, "dmesg | grep -c 'Run /init'", "1")?;
    session.send("cat <<end | tr a-z A-Z\rhere\rend\r")?;
    session.expect("HERE", SOON)?;
    session.expect(PROMPT, SOON)?;
    jobs(&mut session)?;
    screens(&mut session)?;
    session.send("poweroff\r")?;
    let status = session.wait(SOON)?;
    ensure!(status.success(), "{status}");
    ensure!(session.settings()? == before, "the terminal's settings");
    Ok(())
}

/// Ctrl-C, Ctrl-Z, `jobs`, `fg`.
fn jobs(session: &mut Session) -> Result<()> {
    // It is the foreground job when it answers: no key before that.
    session.send("sh -c 'while echo $((6*7))on; read key; do echo $key$key; done'\r")?;
    session.expect("42on", SOON)?;
    session.send("\x1a")?;
    session.expect("[1]+  Stopped", SOON)?;
    session.expect(PROMPT, SOON)?;
    line(session, "jobs", "[1]+  Stopped")?;
    session.send("fg\r")?;
    session.expect("\nsh -c", SOON)?;
    session.send("ab\r")?;
    session.expect("abab", SOON)?;
    session.expect("42on", SOON)?;
    session.send("\x03")?;
    session.expect("^C", SOON)?;
    session.expect(PROMPT, SOON)?;
    line(session, "echo $?; jobs; echo none", "130")
}

/// Programs that draw on the whole window.
fn screens(session: &mut Session) -> Result<()> {
    session.send("top\r")?;
    session.expect("Load average", SOON)?;
    session.expect("COMMAND", SOON)?;
    session.send("q")?;
    session.expect(PROMPT, SOON)?;
    session.send("seq 200 > /tmp/v; vi /tmp/v\r")?;
    // The status line is the window's last, and the text fills all above it.
    let drawn = session.expect("\x1b[31;1H", SOON)?;
    ensure!(drawn.contains("\x1b[30;1H30"), "{drawn:?}");
    session.send("Gonew line")?;
    // What it draws of that depends on how many keys it finds at a time.
    // By itself: what follows an escape at once is taken for a key's sequence. The line of status tells when it was taken.
    session.send("\x1b")?;
    session.expect("- /tmp/v [Modified]", SOON)?;
    session.send(":wq\r")?;
    session.expect(PROMPT, SOON)?;
    line(session, "tail -n 1 /tmp/v", "new line")
}

#[test]
fn the_terminal_is_restored_after_a_panic() -> Result<()> {
    let mut session = start(&["--append", "rdinit=/bin/false"])?;
    let before = session.settings()?;
    session.expect("Kernel panic - not syncing: Attempted to kill init!", BUILT)?;
    session.wait(SOON)?;
    ensure!(session.settings()? == before, "the terminal's settings");
    Ok(())
}

#[test]
fn the_terminal_is_restored_after_a_signal() -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut session = start(&[])?;
        let before = session.settings()?;
        session.expect(PROMPT, BUILT)?;
        ensure!(session.settings()? != before, "a terminal in raw mode");
        session.signal(signal)?;
        let status = session.wait(SOON)?;
        ensure!(status.code() == Some(130), "{signal}: {status}");
        ensure!(session.settings()? == before, "the settings after {signal}");
    }
    Ok(())
}

#[test]
fn ctrl_a_x_leaves() -> Result<()> {
    let mut session = start(&[])?;
    let before = session.settings()?;
    session.expect(PROMPT, BUILT)?;
    session.send("\x01x")?;
    session.wait(SOON)?;
    ensure!(session.settings()? == before, "the terminal's settings");
    Ok(())
}
