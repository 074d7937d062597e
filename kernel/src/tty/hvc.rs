//! Consoles of virtual machines as terminals: `/dev/hvc0` and on.
//!
//! Unlike a serial line, such a line has no speed and loses nothing: while the terminal has no room, the far end waits.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use drivers::device::{Published, TerminalEnd, TerminalPort};
use drivers::tty::{Effects, Termios};
use executor::sync::SpinLock;
use fs::{Errno, SliceSource, Source};

use super::driver::Driver;
use super::{Tty, console};
use crate::printk::format::{Stamp, utf8};
use crate::printk::{self, LOG, Read, TEXT_LEN};
use crate::sysfs::{self, Class};

/// Major number of `hvc`.
pub const MAJOR: u32 = 229;
/// Most lines that are served.
pub const LINES: usize = 8;

/// The lines that are there.
static FOUND: [SpinLock<Option<Arc<Tty>>>; LINES] = [const { SpinLock::new(None) }; LINES];

/// The terminal of line `index`, if that is there.
pub fn terminal(index: usize) -> Option<Arc<Tty>> {
    FOUND.get(index)?.lock().clone()
}

/// The line that `console=` names, as in `hvc0`.
pub fn named(name: &str) -> Option<usize> {
    let index = name.strip_prefix("hvc")?.parse().ok()?;
    (index < LINES).then_some(index)
}

/// A line as the terminal's driver.
struct HvcDriver {
    index: usize,
    port: Arc<dyn TerminalPort>,
}

/// The terminal as the line's near end.
struct HvcEnd(Arc<Tty>);

/// What was published of a line, taken back by dropping it.
struct Node {
    index: usize,
    parent: String,
    tty: Arc<Tty>,
}

/// Makes the terminal of a line, below the directory `parent` in sysfs.
pub fn publish(parent: &str, port: Arc<dyn TerminalPort>) -> Option<Published> {
    let (index, tty) = take(&port)?;
    let node = Node {
        index,
        parent: parent.into(),
        tty: tty.clone(),
    };
    let name = node.name();
    console::add_node(&name, 0o600, node.number());
    let class = Class::Char("tty");
    sysfs::add_device(sysfs::tree(), parent, class, &name, node.number());
    if let Some((columns, rows)) = port.size() {
        tty.state.lock().window = [rows, columns, 0, 0];
    }
    port.attach(Arc::new(HvcEnd(tty.clone())));
    if console::is_hvc(index) {
        executor::spawn("hvc-log", print_log(tty)).detach();
    }
    Some(Published::new(node))
}

/// Takes the first number that is free.
fn take(port: &Arc<dyn TerminalPort>) -> Option<(usize, Arc<Tty>)> {
    for (index, place) in FOUND.iter().enumerate() {
        let device = fs::inode::make_dev(MAJOR, index as u32);
        let port = port.clone();
        let driver = Box::new(HvcDriver { index, port });
        let tty = Arc::new(Tty::try_new(device, Termios::serial(), driver).ok()?);
        let mut place = place.lock();
        if place.is_none() {
            *place = Some(tty.clone());
            return Some((index, tty));
        }
    }
    None
}

impl Node {
    fn name(&self) -> String {
        format!("hvc{}", self.index)
    }

    fn number(&self) -> (u32, u32) {
        (MAJOR, self.index as u32)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let gone = FOUND[self.index].lock().take();
        drop(gone);
        console::remove_node(&self.name());
        let class = Class::Char("tty");
        let number = self.number();
        sysfs::remove_device(sysfs::tree(), &self.parent, class, &self.name(), number);
        self.tty.hang_up();
    }
}

impl Driver for HvcDriver {
    fn name(&self) -> String {
        format!("hvc{}", self.index)
    }

    fn react(&self, _: &Tty, effects: Effects) {
        if effects.intersects(Effects::OUTPUT | Effects::STARTED | Effects::UNTHROTTLE) {
            self.port.changed();
        }
    }

    fn input_room(&self) {
        self.port.changed();
    }
}

impl TerminalEnd for HvcEnd {
    fn received(&self, bytes: &[u8]) -> usize {
        // What nobody reads is lost, as on a line that nobody listens to.
        let is_open = self.0.state.lock().opens > 0;
        match is_open {
            true => self.0.receive(bytes),
            false => bytes.len(),
        }
    }

    fn next_output(&self, buf: &mut [u8]) -> usize {
        self.0.take_output(buf)
    }

    fn output_sent(&self) {
        self.0.output_sent();
    }
}

/// Prints the log on a terminal that is a console, from its first record on, until its line is gone.
async fn print_log(tty: Arc<Tty>) {
    let mut next = 0;
    let readers = printk::readers();
    loop {
        readers
            .wait_until(|| (LOG.next_seq() > next).then_some(()))
            .await;
        let mut text = [0; TEXT_LEN];
        let record = match LOG.read(next, &mut text) {
            Read::Record(record) => record,
            Read::NotYet => {
                executor::yield_now().await;
                continue;
            }
            Read::Lost(first) => {
                next = first;
                continue;
            }
        };
        next += 1;
        if record.level() >= printk::console_level() {
            continue;
        }
        let (stamp, text) = (Stamp(record.time_ns), utf8(&text[..record.len]));
        let line = format!("{stamp}{text}\n");
        let mut rest = SliceSource::new(line.as_bytes());
        while rest.remaining() > 0 {
            match tty.write(&mut rest) {
                Ok(n) if n > 0 => {}
                Err(Errno::EAGAIN) => {
                    let room = || (tty.is_writable() || !is_there(&tty)).then_some(());
                    tty.writers.wait_until(room).await;
                }
                _ => return,
            }
            if !is_there(&tty) {
                return;
            }
        }
    }
}

fn is_there(tty: &Arc<Tty>) -> bool {
    let found = FOUND.iter().map(|place| place.lock().clone());
    found.flatten().any(|own| Arc::ptr_eq(&own, tty))
}
