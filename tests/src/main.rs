//! The command line of the runner.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tests::image::{self, Flavour};
use tests::machine::Machine;
use tests::setup::{self, Need};

/// Builds the Wake kernel and boots it in QEMU; without a command, to a shell.
#[derive(Parser)]
#[command(name = "cargo run --", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Builds a release kernel and prints its path as the last line
    Build,
    /// Boots a machine: to a shell on this terminal, or to a script from standard input
    Boot(Machine),
    /// Records what Linux gives for the cases in tests/busybox: golden --kernel VMLINUZ
    Golden {
        #[command(flatten)]
        machine: Machine,
        /// Only these lists
        lists: Vec<String>,
    },
    /// Measures system calls, under deterministic virtual time at one CPU unless --smp says otherwise; another kernel beside ours
    Bench(tests::compare::Bench),
    /// Draws how the scheduler shares CPUs among a mix of tasks, in virtual time, as an SVG picture
    Gantt {
        /// CPUs of the machine
        #[arg(long, default_value_t = 2)]
        cpus: usize,
        /// How much time is drawn
        #[arg(long, default_value_t = 100)]
        ms: u64,
        /// The seed of what is random in it
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where the picture goes
        #[arg(default_value = "gantt.svg")]
        out: std::path::PathBuf,
    },
    /// Boots a twenty-line script many times
    Soak {
        #[command(flatten)]
        machine: Machine,
        /// How often
        #[arg(long, default_value_t = 1000)]
        boots: u64,
    },
    /// Boots Debian 12 from memory: to bash, or to a script given behind `--` or by standard input
    Debian {
        #[command(flatten)]
        machine: Machine,
        /// Packages besides the minimal system, such as python3,gcc
        #[arg(long, value_name = "PACKAGES", value_delimiter = ',')]
        with: Vec<String>,
        /// What bash is to run
        #[arg(last = true)]
        script: Vec<String>,
    },
    /// Runs stressors of Debian's stress-ng, all of tests/stress-ng.list unless some are named
    Stress {
        #[command(flatten)]
        machine: Machine,
        /// Writes what they came to into the list
        #[arg(long)]
        record: bool,
        /// Only these
        names: Vec<String>,
    },
    /// Makes random system calls, as root and as a user, while a watcher looks whether the system stays well
    Fuzz {
        #[command(flatten)]
        machine: Machine,
        /// How long at least
        #[arg(long, default_value_t = 600)]
        seconds: u32,
        /// The seed of an earlier run
        #[arg(long)]
        seed: Option<u64>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("wake: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<u8> {
    match cli.command {
        None => tests::session::run(&Machine::default()),
        Some(Command::Boot(machine)) => tests::session::run(&machine),
        Some(Command::Golden { machine, lists }) => {
            tests::golden::record(&machine, &lists).map(|()| 0)
        }
        Some(Command::Bench(bench)) => bench.run().map(|()| 0),
        Some(Command::Gantt {
            cpus,
            ms,
            seed,
            out,
        }) => tests::gantt::draw(cpus, ms, seed, &out).map(|()| 0),
        Some(Command::Soak { machine, boots }) => tests::soak::soak(&machine, boots).map(|()| 0),
        Some(Command::Debian {
            machine,
            with,
            script,
        }) => tests::debian::run(&machine, &with, &script),
        Some(Command::Stress {
            machine,
            record,
            names,
        }) => tests::stressors::run(&machine, &names, record).map(|()| 0),
        Some(Command::Fuzz {
            machine,
            seconds,
            seed,
        }) => tests::soak::fuzz(&machine, seconds, seed).map(|()| 0),
        Some(Command::Build) => {
            setup::ensure(Need::Boot)?;
            println!("{}", image::build(Flavour::Release)?.display());
            Ok(0)
        }
    }
}
