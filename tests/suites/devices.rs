//! Devices that somebody works from outside of the machine: keys that are pressed, buttons, devices that are pulled out.
//!
//! A shell on Wake, and QEMU's monitor on the same terminal.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::batch::ScratchDir;
use tests::image::{self, Flavour};
use tests::initramfs;
use tests::machine::Machine;
use tests::pty::Session;
use tests::setup::{self, Need};

/// For what takes a moment, on a loaded machine as well.
const SOON: Duration = Duration::from_secs(60);
const PROMPT: &str = "~ # ";

/// One machine at a time: what is waited for comes sooner then.
static TURN: Mutex<()> = Mutex::new(());

/// A booted machine.
struct Booted {
    session: Session,
    _scratch: ScratchDir,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Booted {
    type Target = Session;
    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for Booted {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

/// Boots `machine` to a shell, with more of QEMU's options, of which one connects this terminal.
fn boot(machine: &Machine, options: &[&str]) -> Result<Booted> {
    static KERNEL: OnceLock<PathBuf> = OnceLock::new();
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    setup::ensure(Need::Boot)?;
    let kernel = match KERNEL.get() {
        Some(kernel) => kernel.clone(),
        None => image::build(Flavour::Release)?,
    };
    let kernel = KERNEL.get_or_init(|| kernel);
    let scratch = ScratchDir::new()?;
    let initrd = scratch.path().join("initramfs.cpio");
    let archive = initramfs::build(&initramfs::Session::Shell)?;
    std::fs::write(&initrd, archive.bytes())?;
    let words = ["panic=-1".to_string(), "TERM=vt100".to_string()];
    let mut command = machine.command(kernel, Some(&initrd), &words);
    command.args(options);
    Ok(Booted {
        session: Session::start(command, 31, 160)?,
        _scratch: scratch,
        _turn: turn,
    })
}

/// A machine with this many CPUs at its shell's first prompt, with QEMU's monitor on the same terminal.
fn start(cpus: u32, change: impl FnOnce(&mut Machine)) -> Result<Booted> {
    start_with(cpus, &[], change)
}

/// The same with more of QEMU's options.
fn start_with(cpus: u32, options: &[&str], change: impl FnOnce(&mut Machine)) -> Result<Booted> {
    let mut machine = Machine {
        smp: cpus,
        ..Machine::default()
    };
    change(&mut machine);
    let terminal = [
        "-chardev",
        "stdio,mux=on,signal=off,id=console",
        "-serial",
        "chardev:console",
        "-mon",
        "console",
    ];
    let mut session = boot(&machine, &[&terminal, options].concat())?;
    session.expect(PROMPT, SOON)?;
    Ok(session)
}

/// Types a line.
fn enter(session: &mut Session, keys: &str) -> Result<()> {
    session.send(&format!("{keys}\r"))?;
    // The echo of the line is no answer to it.
    session.expect("\r\n", SOON).map(drop)
}

/// Types a line and waits for what has to come of it, then for the prompt.
fn line(session: &mut Session, keys: &str, comes: &str) -> Result<()> {
    enter(session, keys)?;
    if !comes.is_empty() {
        session.expect(comes, SOON).context(keys.to_string())?;
    }
    session.expect("# ", SOON).context(keys.to_string())?;
    Ok(())
}

/// Has QEMU's monitor do `commands`.
fn monitor(session: &mut Session, commands: &[&str]) -> Result<()> {
    session.send("\x01c")?;
    session.expect("(qemu) ", SOON)?;
    for command in commands {
        session.send(&format!("{command}\r"))?;
        session.expect("(qemu) ", SOON)?;
    }
    session.send("\x01c")
}

/// Has a job of the shell's keep the events that come from the node of the device that is called `name`.
fn listen(session: &mut Session, name: &str) -> Result<()> {
    let find = format!(
        "set -- $(grep -l '{name}' /sys/class/input/input*/name); set -- ${{1%/name}}/event*"
    );
    line(session, &find, "")?;
    enter(
        session,
        "{ echo rea''ding; dd bs=24 2> /dev/null >> /tmp/events; } < /dev/input/${1##*/} &",
    )?;
    session.expect("reading", SOON).map(drop)
}

/// Waits for as many events, which have to be these: type, code and value.
fn events(session: &mut Session, wanted: &[[i32; 3]]) -> Result<()> {
    /// Bytes of an event.
    const EVENT: usize = 24;
    let all = wanted.len() * EVENT;
    let wait = format!("until [ $(stat -c %s /tmp/events) -ge {all} ]; do usleep 10000; done");
    line(session, &wait, "")?;
    // Shown when the monitor is silent: its ends of lines would come between.
    enter(
        session,
        "hexdump -v -e '12/2 \" %d\" \"\\n\"' /tmp/events; : > /tmp/events; echo sho''wn",
    )?;
    let shown = session.expect("shown", SOON)?;
    session.expect("# ", SOON)?;
    let event = |line: &str| {
        let words: Result<Vec<i32>, _> = line.split_whitespace().map(str::parse).collect();
        // Four words of time; the value is two of sixteen bits.
        match words.ok()?[..] {
            [_, _, _, _, _, _, _, _, kind, code, value, 0] => Some([kind, code, value]),
            _ => None,
        }
    };
    let came: Vec<_> = shown.lines().filter_map(event).collect();
    ensure!(came == wanted, "{came:?} in {shown:?}");
    Ok(())
}

fn power_button(cpus: u32) -> Result<()> {
    let mut session = start(cpus, |_| ())?;
    listen(&mut session, "Power Button")?;
    for _ in 0..3 {
        monitor(&mut session, &["system_powerdown"])?;
        let pressed = [[1, 116, 1], [0; 3], [1, 116, 0], [0; 3]];
        events(&mut session, &pressed)?;
    }
    session.send("poweroff\r")?;
    let status = session.wait(SOON)?;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[test]
fn the_power_button_is_a_key_on_one_cpu() -> Result<()> {
    power_button(1)
}

#[test]
fn the_power_button_is_a_key_on_four_cpus() -> Result<()> {
    power_button(4)
}

/// As many keys as fit one reader's queue, all in order.
fn keyboard(cpus: u32, machine: &str, cpu: &str) -> Result<()> {
    let mut session = start(cpus, |all| {
        (all.machine, all.cpu) = (machine.into(), cpu.into());
    })?;
    line(
        &mut session,
        "grep -h . /proc/bus/input/devices | grep -A1 Phys=isa",
        "Sysfs=/devices/platform/i8042/input/input",
    )?;
    listen(&mut session, "AT Translated")?;
    // Down, then up, with the number that the hardware has for the key.
    for (key, scan, code) in [
        ("a", 30, 30),
        ("up", 200, 103),
        ("pause", 69, 119),
        ("ctrl_r", 157, 97),
    ] {
        monitor(&mut session, &[&format!("sendkey {key} 1")])?;
        let change = |value| [[4, 4, scan], [1, code, value], [0; 3]];
        events(&mut session, &[change(1), change(0)].concat()).context(key)?;
    }
    // Init was told to take these keys; its inittab has it reboot, and QEMU ends with that.
    monitor(&mut session, &["sendkey ctrl-alt-delete 1"])?;
    session.expect("reboot: Restarting system", SOON)?;
    let status = session.wait(SOON)?;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[test]
fn keys_of_a_keyboard_are_events_on_one_cpu() -> Result<()> {
    keyboard(1, "pc", "qemu64")
}

#[test]
fn keys_of_a_keyboard_are_events_on_four_cpus() -> Result<()> {
    keyboard(4, "q35", "max")
}

/// A machine whose only terminal is a virtio console: what init is, is a shell on it.
fn console(cpus: u32, machine: &str) -> Result<()> {
    let machine = Machine {
        smp: cpus,
        machine: machine.into(),
        device: vec![
            "virtio-serial-pci".into(),
            "virtconsole,chardev=console".into(),
        ],
        append: "console=hvc0 rdinit=/bin/ash".into(),
        ..Machine::default()
    };
    // No monitor beside it: what QEMU keeps for two readers has 32 bytes, and it writes beyond where a device takes more at once.
    let terminal = "stdio,signal=off,id=console";
    let mut session = boot(&machine, &["-chardev", terminal, "-serial", "null"])?;
    // The log, from its first record on.
    session.expect("Wake 0", SOON)?;
    session.expect("Run /bin/ash as init process", SOON)?;
    session.expect("# ", SOON)?;
    let mut line = |keys: &str, comes: &str| line(&mut session, keys, comes);
    line("mount -t devtmpfs none /dev; mount -t sysfs none /sys", "")?;
    line("tty; stat -c '%t %T' /dev/hvc0", "e5 0")?;
    line("cat /sys/class/tty/hvc0/dev", "229:0")?;
    line(
        "dmesg -n 1; seq 5000 | md5sum",
        "a5a208cd26b07cadade3450fe14d1d93",
    )?;
    line("seq 5000; echo $((6 * 7))", "4999\r\r\n5000\r\r\n42\r")?;
    line(
        "cat > /tmp/x <<end\rone\rtwo\rend\rwc -l /tmp/x",
        "2 /tmp/x",
    )?;
    session.send("poweroff -f\r")?;
    let status = session.wait(SOON)?;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[test]
fn a_virtio_console_is_a_terminal_on_one_cpu() -> Result<()> {
    console(1, "pc")
}

#[test]
fn a_virtio_console_is_a_terminal_on_four_cpus() -> Result<()> {
    console(4, "q35")
}

/// Cards in a slot of PCI Express: put in, worked, taken out in the midst of work, and put in again.
fn hotplug(cpus: u32) -> Result<()> {
    const FUNCTION: &str = "/sys/bus/pci/devices/0000:01:00.0";
    let options = [
        // The slot's own way, not that of ACPI.
        "-global",
        "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
        "-blockdev",
        "null-co,node-name=nothing,size=16777216,read-zeroes=on",
    ];
    let mut session = start_with(cpus, &options, |machine| {
        machine.device = vec!["pcie-root-port,id=socket,chassis=1".into()];
    })?;
    let come = |node: &str| format!("until [ -e {node} ]; do usleep 10000; done; echo ca''me");
    let gone = |path: &str| format!("while [ -e {path} ]; do usleep 10000; done; echo go''ne");
    line(&mut session, "dmesg -n 1", "")?;
    monitor(&mut session, &["device_add edu,id=card,bus=socket"])?;
    line(&mut session, &come("/dev/edu0"), "came")?;
    line(
        &mut session,
        "exec 3<>/dev/edu0; echo 10 >&3; head -n 1 <&3",
        "3628800",
    )?;
    line(
        &mut session,
        &format!("readlink {FUNCTION}"),
        "/devices/pci0000:00/0000:00:01.0/0000:01:00.0",
    )?;
    monitor(&mut session, &["device_del card"])?;
    line(&mut session, &gone(FUNCTION), "gone")?;
    line(&mut session, "ls /dev/edu0", "No such file")?;
    line(&mut session, "dd <&3", "No such device")?;
    let plug = "device_add virtio-blk-pci,drive=nothing,id=card,bus=socket";
    monitor(&mut session, &[plug])?;
    line(&mut session, &come("/dev/vda"), "came")?;
    line(&mut session, "cat /sys/block/vda/size", "32768")?;
    // Somebody who reads as fast as he can, past any cache, until that fails.
    line(
        &mut session,
        "while dd if=/dev/vda of=/dev/null bs=64k iflag=direct; do :; done 2> /dev/null &",
        "",
    )?;
    monitor(&mut session, &["device_del card"])?;
    line(&mut session, &gone(FUNCTION), "gone")?;
    line(
        &mut session,
        "wait; ls /dev/vda /sys/block/vda",
        "No such file",
    )?;
    monitor(&mut session, &[plug])?;
    line(&mut session, &come("/dev/vda"), "came")?;
    line(
        &mut session,
        "dd if=/dev/vda bs=4k count=1 2> /dev/null | wc -c",
        "4096",
    )?;
    session.send("poweroff\r")?;
    let status = session.wait(SOON)?;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[test]
fn cards_come_and_go_on_one_cpu() -> Result<()> {
    hotplug(1)
}

#[test]
fn cards_come_and_go_on_four_cpus() -> Result<()> {
    hotplug(4)
}

/// What `lspci -k`, `lsblk` and `udevadm info` read of a function and of a disk, and drivers that are taken away and given
/// back.
#[test]
fn functions_and_disks_are_shown_in_sysfs() -> Result<()> {
    let nothing = "null-co,node-name=nothing,size=16777216,read-zeroes=on";
    let mut session = start_with(2, &["-blockdev", nothing], |machine| {
        machine.device = vec![
            "edu,addr=4".into(),
            "virtio-blk-pci,drive=nothing,serial=empty,addr=5".into(),
            "pcie-root-port,id=socket,chassis=1,addr=6".into(),
        ];
    })?;
    let mut line = |keys: &str, comes: &str| line(&mut session, keys, comes);
    line("cd /sys/bus/pci/devices/0000:00:04.0; dmesg -n 1", "")?;
    line("echo $(cat vendor device class)", "0x1234 0x11e8 0x00ff00")?;
    line("hexdump -n 4 -e '2/2 \"%04x \"' config", "1234 11e8")?;
    line("sed -n '1s/ /,/gp' resource", "0000,0x00000000")?;
    line(
        "echo $(wc -l < resource) $(wc -l < ../0000:00:06.0/resource)",
        "13 17",
    )?;
    line("echo $(basename $(readlink driver)) $(cat irq)", "edu ")?;
    line(
        "echo $(cat uevent)",
        "DRIVER=edu PCI_CLASS=FF00 PCI_ID=1234:11E8 ",
    )?;
    line(
        "echo ${PWD##*/} > driver/unbind; while [ -e driver ]; do :; done; grep -c DRIVER uevent; ls /dev/edu0",
        "0\r",
    )?;
    line(
        "echo nobody > /sys/bus/pci/drivers/edu/bind",
        "No such device",
    )?;
    line(
        "echo ${PWD##*/} > /sys/bus/pci/drivers/edu/bind; until [ -e /dev/edu0 ]; do :; done; head -n 1 uevent",
        "DRIVER=edu",
    )?;
    line(
        "cd /sys/block/vda; echo $(cat size ro removable hidden serial dev)",
        "32768 0 0 0 empty254:0",
    )?;
    line("ls holders slaves; cat device/uevent", "DRIVER=virtio_blk")?;
    line(
        "cd queue; echo $(cat max_sectors_kb minimum_io_size scheduler zoned)",
        "256 512 [none] none",
    )?;
    line(
        "echo $(cat /sys/dev/block/254:0/uevent)",
        "MAJOR=254 MINOR=0 DEVNAME=vda DEVTYPE=disk",
    )?;
    session.send("poweroff\r")?;
    let status = session.wait(SOON)?;
    ensure!(status.success(), "{status}");
    Ok(())
}
