//! One static program with what the tests need inside a booted machine.
//!
//! | command | what it does |
//! | --- | --- |
//! | `usertests agent LIST` | runs the programs that LIST names and reports on the second serial port |
//! | `usertests list` | prints the names of its own test cases |
//! | `usertests run NAME` | runs one of them; the exit code is 0 if it passed |
//!
//! It is built for `x86_64-unknown-linux-musl`, and everything in it passes on Linux as well.

mod agent;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["agent", list] => agent::main(list),
        _ => {
            eprintln!("usage: usertests agent LIST | list | run NAME");
            ExitCode::from(2)
        }
    }
}
