//! One static program with what the tests need inside a booted machine.
//!
//! | command | what it does |
//! | --- | --- |
//! | `usertests agent LIST` | runs the programs that LIST names and reports on the second serial port |
//! | `usertests list` | prints the names of its own test cases |
//! | `usertests run NAME` | runs one of them; the exit code is 0 if it passed |
//! | `usertests bench [PART]` | measures what has PART in its name, see [`bench`] |
//! | `usertests fuzz ...` | makes random system calls, see [`fuzz`] |
//!
//! It is built for `x86_64-unknown-linux-musl`, and everything in it passes on Linux as well.
#![allow(
    unsafe_code,
    reason = "the subject is the raw system-call interface; each case is a process of its own, and what it breaks is its own"
)]
#![deny(clippy::undocumented_unsafe_blocks)]

mod agent;
mod bench;
mod cases;
mod fuzz;
mod load;
mod sys;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["agent", list] => agent::main(list),
        ["list"] => {
            for (name, _) in cases::all() {
                println!("{name}");
            }
            ExitCode::SUCCESS
        }
        ["run", name] => match cases::all().find(|(known, _)| known == name) {
            Some((_, run)) => {
                sys::forget_the_runtime();
                run();
                ExitCode::SUCCESS
            }
            None => {
                eprintln!("there is no case {name}");
                ExitCode::from(2)
            }
        },
        ["bench"] => bench::main(""),
        ["bench", only] => bench::main(only),
        ["fuzz", ref options @ ..] => fuzz::main(options),
        ["helper", ref options @ ..] => cases::helper(options),
        _ => {
            eprintln!("usage: usertests agent LIST | list | run NAME | fuzz OPTIONS");
            ExitCode::from(2)
        }
    }
}
