//! Measurements in the guest, as a table: of one kernel, or of ours beside another that runs the same program in the same
//! machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::batch::Verdict;
use crate::image::{self, Flavour};
use crate::machine::Machine;
use crate::programs::{self, Program};
use crate::setup::{self, Need};

/// What is measured, and on what.
#[derive(Clone, Debug, clap::Args)]
pub struct Bench {
    #[command(flatten)]
    machine: Machine,
    /// A kernel to compare with, such as Debian's Linux
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// A module that this kernel loads first; may be given several times, in order
    #[arg(long, value_name = "FILE")]
    module: Vec<PathBuf>,
    /// So many runs of each kernel, taking turns; the medians are shown
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Real time instead of instructions: for what waits for a device
    #[arg(long)]
    real_time: bool,
    /// Only what has this in its name
    #[arg(default_value = "")]
    only: String,
}

/// What a run printed: names in order, and nanoseconds.
type Figures = Vec<(String, f64)>;

/// One of the kernels.
struct Side<'a> {
    kernel: PathBuf,
    modules: &'a [PathBuf],
    /// The figures of each run, by name.
    seen: BTreeMap<String, Vec<f64>>,
}

impl Bench {
    /// Measures, and prints the table.
    ///
    /// # Errors
    /// When something does not build, or a machine does not come to the end.
    pub fn run(&self) -> Result<()> {
        self.machine.check_files()?;
        setup::ensure(Need::Boot)?;
        let machine = self.machine();
        let agent = programs::usertests()?;
        let mut sides = vec![Side::new(self.kernel()?, &[])];
        if let Some(other) = &self.against {
            sides.push(Side::new(other.clone(), &self.module));
        }
        let mut names = Vec::new();
        for _ in 0..self.runs.max(1) {
            for side in &mut sides {
                let figures = side.measure(&machine, &agent, &self.only)?;
                if names.is_empty() {
                    names = figures.iter().map(|(name, _)| name.clone()).collect();
                }
                for (name, ns) in figures {
                    side.seen.entry(name).or_default().push(ns);
                }
            }
        }
        print(&names, &sides);
        Ok(())
    }

    /// Two CPUs are the default of a boot; a figure that repeats wants one, and virtual time.
    fn machine(&self) -> Machine {
        let alone = self.machine.smp == Machine::default().smp;
        let smp = if alone { 1 } else { self.machine.smp };
        Machine {
            smp,
            icount: !self.real_time && (alone || self.machine.icount),
            ..self.machine.clone()
        }
    }

    fn kernel(&self) -> Result<PathBuf> {
        match &self.machine.kernel {
            Some(kernel) => Ok(kernel.clone()),
            None => image::build(Flavour::Release),
        }
    }
}

impl<'a> Side<'a> {
    fn new(kernel: PathBuf, modules: &'a [PathBuf]) -> Self {
        Self {
            kernel,
            modules,
            seen: BTreeMap::new(),
        }
    }

    fn measure(&self, machine: &Machine, agent: &Path, only: &str) -> Result<Figures> {
        let modules = self.modules.iter().enumerate().map(|(i, path)| {
            let data = std::fs::read(path).with_context(|| path.display().to_string())?;
            // The guest goes by the names.
            Ok((format!("modules/{i:03}.ko"), 0o644, data))
        });
        let mut argv = vec!["/bin/usertests".to_string(), "bench".into()];
        if !only.is_empty() {
            argv.push(only.into());
        }
        let program = Program {
            name: "bench".into(),
            seconds: 600,
            argv,
            files: modules.collect::<Result<_>>()?,
            output: None,
        };
        let mut output = String::new();
        let mut verdict = None;
        programs::run(machine, &self.kernel, agent, &[program], &mut |record| {
            output = String::from_utf8_lossy(&record.output).into_owned();
            verdict = Some(record.verdict);
        })?;
        match verdict {
            Some(Verdict::Exit(0)) => Ok(figures(&output)),
            Some(Verdict::Exit(code)) => bail!("it ended with exit code {code}\n{output}"),
            Some(Verdict::Failed(why) | Verdict::Crashed(why)) => bail!("{why}"),
            _ => bail!("it did not run"),
        }
    }

    fn median(&self, name: &str) -> Option<f64> {
        let mut seen = self.seen.get(name)?.clone();
        seen.sort_by(f64::total_cmp);
        seen.get(seen.len() / 2).copied()
    }
}

/// The lines `NAME NUMBER ns` of what was printed.
fn figures(output: &str) -> Figures {
    let figure = |line: &str| {
        let (name, number) = line.strip_suffix(" ns")?.trim_end().rsplit_once(' ')?;
        Some((name.trim_end().to_string(), number.parse().ok()?))
    };
    output.lines().filter_map(figure).collect()
}

fn print(names: &[String], sides: &[Side<'_>]) {
    if sides.len() > 1 {
        println!("{:<42}{:>12}{:>12}{:>8}", "ns", "Wake", "other", "ratio");
    }
    for name in names {
        let medians: Vec<_> = sides.iter().map(|side| side.median(name)).collect();
        let mut line = format!("{name:<42}");
        for median in &medians {
            line += &median.map_or(format!("{:>12}", "-"), |ns| format!("{ns:>12.0}"));
        }
        match medians[..] {
            [Some(ours), Some(theirs)] => line += &format!("{:>8.2}", ours / theirs.max(1.0)),
            [_] => line += " ns",
            _ => {}
        }
        println!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_other_lines_left_out() {
        let output = "[ 1.0] hello ns\nnull system call      164 ns\nx\nread of 64 KiB   1200 ns\n";
        let expected = [("null system call", 164.0), ("read of 64 KiB", 1200.0)];
        let expected: Vec<_> = expected.map(|(name, ns)| (name.to_string(), ns)).into();
        assert_eq!(figures(output), expected);
    }

    #[test]
    fn the_middle_of_the_runs_is_shown() {
        let mut side = Side::new(PathBuf::new(), &[]);
        side.seen.insert("a".into(), vec![9.0, 1.0, 4.0]);
        assert_eq!((side.median("a"), side.median("b")), (Some(4.0), None));
    }
}
