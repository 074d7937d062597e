//! The pair of 8259 interrupt controllers, as a driver over their ports.
//!
//! The second one's output is the first one's line 2. A line that goes away before the CPU has asked for its vector comes as
//! line 7 of its chip without being in service there: that one is nobody's, and must not be ended, or a real one would be.
//!
//! Source: Intel 8259A data sheet (231468-003).

/// How the chips are reached.
pub trait Ports {
    /// Reads a port.
    fn read(&mut self, port: u16) -> u8;

    /// Writes a port.
    fn write(&mut self, port: u16, value: u8);
}

/// Lines of both chips.
pub const LINES: u32 = 16;
/// The first chip's line where the second one arrives.
pub const CASCADE: u32 = 2;

const FIRST: u16 = 0x20;
const SECOND: u16 = 0xa0;
/// Which lines are levels, of both chips: a register of the chipset beside them.
const LEVELS: u16 = 0x4d0;
/// Lines that are edges whatever is asked: timer, keyboard, the cascade, the clock, the floating-point unit.
const ALWAYS_EDGES: u16 = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 8 | 1 << 13;

const INITIALISE: u8 = 0x11;
const MODE_8086: u8 = 0x01;
const END_OF: u8 = 0x60;
const SHOW_REQUESTED: u8 = 0x0a;
const SHOW_IN_SERVICE: u8 = 0x0b;

/// What an interrupt of the chips turns out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// One of the line that it says.
    Real,
    /// Nobody's: the line went away.
    Spurious,
}

/// Both chips.
#[derive(Debug)]
pub struct Pic<P> {
    ports: P,
    /// Lines that are held off, a bit each.
    masked: u16,
}

/// The command port of the chip that has `line`, and the line's number there.
const fn chip(line: u32) -> (u16, u8) {
    if line < 8 {
        (FIRST, line as u8)
    } else {
        (SECOND, line as u8 & 7)
    }
}

impl<P: Ports> Pic<P> {
    /// The chips behind `ports`, of which nothing is known yet.
    pub const fn new(ports: P) -> Self {
        Self {
            ports,
            masked: u16::MAX,
        }
    }

    /// Has the lines come as the vectors from `vector` on, all of them held off.
    pub fn init(&mut self, vector: u8) {
        for (base, vector, wiring) in [(FIRST, vector, 1 << CASCADE), (SECOND, vector + 8, 2)] {
            self.ports.write(base, INITIALISE);
            self.ports.write(base + 1, vector);
            self.ports.write(base + 1, wiring);
            self.ports.write(base + 1, MODE_8086);
        }
        self.masked = u16::MAX;
        self.write_mask(FIRST);
        self.write_mask(SECOND);
    }

    /// Lets the second chip's lines reach the first one.
    pub fn join(&mut self) {
        self.unmask(CASCADE);
    }

    fn write_mask(&mut self, base: u16) {
        let [first, second] = self.masked.to_le_bytes();
        let mask = if base == FIRST { first } else { second };
        self.ports.write(base + 1, mask);
    }

    /// Holds `line` off.
    pub fn mask(&mut self, line: u32) {
        self.masked |= 1 << line;
        self.write_mask(chip(line).0);
    }

    /// Lets `line` through.
    pub fn unmask(&mut self, line: u32) {
        self.masked &= !(1 << line);
        self.write_mask(chip(line).0);
    }

    /// Has `line` be a level or an edge, where that can be chosen.
    pub fn set_level(&mut self, line: u32, level: bool) {
        let bit = 1_u16 << line & !ALWAYS_EDGES;
        let [bit_first, bit_second] = bit.to_le_bytes();
        for (port, bit) in [(LEVELS, bit_first), (LEVELS + 1, bit_second)] {
            if bit != 0 {
                let old = self.ports.read(port);
                self.ports
                    .write(port, if level { old | bit } else { old & !bit });
            }
        }
    }

    /// The interrupt of `line` that is in service is over.
    pub fn end(&mut self, line: u32) {
        let (base, number) = chip(line);
        self.ports.write(base, END_OF | number);
        if base == SECOND {
            self.ports.write(FIRST, END_OF | CASCADE as u8);
        }
    }

    /// Whether an interrupt that came as `line`'s is one. To be asked once for each, before anything is ended; what is
    /// spurious has been dealt with.
    pub fn arrived(&mut self, line: u32) -> Arrival {
        let (base, number) = chip(line);
        // Only the last line of each chip stands in for others.
        if number != 7 {
            return Arrival::Real;
        }
        self.ports.write(base, SHOW_IN_SERVICE);
        let in_service = self.ports.read(base);
        self.ports.write(base, SHOW_REQUESTED);
        if in_service & 1 << number != 0 {
            return Arrival::Real;
        }
        // The first chip knows nothing of it: for it the second one did interrupt.
        if base == SECOND {
            self.ports.write(FIRST, END_OF | CASCADE as u8);
        }
        Arrival::Spurious
    }
}

#[cfg(test)]
mod tests;
