//! The description of one virtual machine, as the command line gives it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The machine to boot.
#[derive(Clone, Debug, clap::Args)]
pub struct Machine {
    /// Number of CPUs
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=255))]
    pub smp: u32,
    /// How the CPUs are arranged, as QEMU's -smp takes it, such as `sockets=1,cores=2,threads=2`
    #[arg(long, value_name = "PARTS")]
    pub topology: Option<String>,
    /// Memory, as QEMU's -m takes it
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = memory_size)]
    pub mem: String,
    /// More words for the kernel's command line
    #[arg(
        long,
        value_name = "STR",
        default_value = "",
        allow_hyphen_values = true
    )]
    pub append: String,
    /// Another initramfs in place of the runner's own
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// A raw disk image, as a virtio disk; may be given several times
    #[arg(long, value_name = "FILE")]
    pub disk: Vec<PathBuf>,
    /// Another device, as QEMU's -device takes it, such as `edu`; may be given several times
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<String>,
    /// Deterministic virtual time: one instruction is one nanosecond
    #[arg(long)]
    pub icount: bool,
    /// Wait for gdb on port 1234 before the first instruction
    #[arg(long)]
    pub gdb: bool,
    /// Another kernel, such as Debian's Linux, in place of Wake
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Machine type
    #[arg(long, value_name = "TYPE", default_value = "q35")]
    pub machine: String,
    /// CPU model
    #[arg(long, value_name = "MODEL", default_value = "max")]
    pub cpu: String,
    /// Ends the machine after this many seconds [default: none at a terminal, else 3600]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            smp: 2,
            topology: None,
            mem: "512M".into(),
            append: String::new(),
            initrd: None,
            disk: Vec::new(),
            device: Vec::new(),
            icount: false,
            gdb: false,
            kernel: None,
            machine: "q35".into(),
            cpu: "max".into(),
            timeout: None,
        }
    }
}

impl Machine {
    /// Fails with a clear message if a file that is named does not exist.
    ///
    /// # Errors
    /// When a kernel, initrd or disk is not a readable file.
    pub fn check_files(&self) -> Result<()> {
        for path in self.disk.iter().chain(&self.initrd).chain(&self.kernel) {
            let meta = std::fs::metadata(path).with_context(|| format!("{}", path.display()))?;
            if meta.is_dir() {
                bail!("{}: is a directory", path.display());
            }
        }
        Ok(())
    }

    /// The bound in time for a run without a user.
    #[must_use]
    pub fn bound(&self) -> Duration {
        Duration::from_secs(self.timeout.unwrap_or(3600))
    }

    /// The QEMU command that boots `kernel` with `initrd`; the serial ports are the caller's to add.
    ///
    /// A reset ends QEMU, so a panic with `panic=-1` does as well.
    #[must_use]
    pub fn command(&self, kernel: &Path, initrd: Option<&Path>, words: &[String]) -> Command {
        let mut cmd = Command::new("qemu-system-x86_64");
        cmd.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ]);
        cmd.args(["-M", &self.machine, "-cpu", &self.cpu, "-m", &self.mem])
            .arg("-smp")
            .arg(match &self.topology {
                Some(parts) => format!("{},{parts}", self.smp),
                None => self.smp.to_string(),
            });
        if self.icount {
            cmd.args([
                "-accel",
                "tcg",
                "-icount",
                "shift=0,sleep=off",
                "-rtc",
                "clock=vm",
                "-seed",
                "1",
            ]);
        } else {
            cmd.args(["-accel", "tcg,thread=multi"]);
        }
        if self.gdb {
            cmd.args(["-s", "-S"]);
        }
        cmd.arg("-kernel").arg(kernel);
        if let Some(initrd) = initrd {
            cmd.arg("-initrd").arg(initrd);
        }
        for (i, disk) in self.disk.iter().enumerate() {
            // A comma in an option value is written twice.
            let file = disk.display().to_string().replace(',', ",,");
            cmd.arg("-drive")
                .arg(format!("if=none,id=disk{i},format=raw,file={file}"));
            cmd.arg("-device")
                .arg(format!("virtio-blk-pci,drive=disk{i}"));
        }
        for device in &self.device {
            cmd.arg("-device").arg(device);
        }
        let mut line = String::from("console=ttyS0");
        for word in words
            .iter()
            .map(String::as_str)
            .chain([self.append.as_str()])
        {
            if !word.is_empty() {
                line.push(' ');
                line.push_str(word);
            }
        }
        cmd.arg("-append").arg(line);
        cmd
    }
}

/// Accepts what QEMU accepts for `-m`: a number and an optional unit.
fn memory_size(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G']);
    let unit = text.len() - digits.len();
    match digits.parse::<u64>() {
        Ok(1..) if unit <= 1 => Ok(text.to_string()),
        _ => Err("a size such as 512M or 2G is wanted".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_sizes_are_checked() {
        for good in ["64M", "8G", "512", "100k"] {
            assert_eq!(memory_size(good).as_deref(), Ok(good));
        }
        for bad in ["", "M", "0M", "12MM", "-1", "1,slots=2"] {
            assert!(memory_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words_and_append_make_one_command_line() {
        let machine = Machine {
            append: "quiet x=1".into(),
            ..Machine::default()
        };
        let cmd = machine.command(Path::new("k"), None, &["panic=-1".into()]);
        let args: Vec<_> = cmd
            .get_args()
            .map(|a| a.to_string_lossy().into_owned())
            .collect();
        let at = args
            .iter()
            .position(|a| a == "-append")
            .expect("there is a command line");
        assert_eq!(args[at + 1], "console=ttyS0 panic=-1 quiet x=1");
    }
}
