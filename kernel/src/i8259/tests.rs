//! The driver against the chips' registers, played.

use super::*;

/// One chip, as far as the driver uses it.
#[derive(Clone, Copy, Default, Debug)]
struct Chip {
    requested: u8,
    in_service: u8,
    masked: u8,
    vector: u8,
    /// Words of the initialisation still to come.
    expects: u8,
    shows_service: bool,
}

impl Chip {
    /// The most urgent line that is to be served now.
    fn urgent(&self) -> Option<u8> {
        let wanted = self.requested & !self.masked;
        let line = wanted.trailing_zeros() as u8;
        (wanted != 0 && line < self.in_service.trailing_zeros() as u8).then_some(line)
    }

    /// The CPU asks: the line, which is in service now, or the last one for nothing.
    fn acknowledge(&mut self) -> u8 {
        let Some(line) = self.urgent() else {
            return 7;
        };
        self.requested &= !(1 << line);
        self.in_service |= 1 << line;
        line
    }

    fn command(&mut self, value: u8) {
        match value {
            INITIALISE => {
                *self = Self {
                    expects: 3,
                    ..Self::default()
                }
            }
            SHOW_REQUESTED | SHOW_IN_SERVICE => self.shows_service = value == SHOW_IN_SERVICE,
            _ if value & 0xf8 == END_OF => self.in_service &= !(1 << (value & 7)),
            _ => panic!("command {value:#x}"),
        }
    }

    fn data(&mut self, value: u8) {
        match self.expects {
            0 => self.masked = value,
            3 => self.vector = value & 0xf8,
            _ => {}
        }
        self.expects = self.expects.saturating_sub(1);
    }
}

/// Both chips and the register of levels.
#[derive(Default, Debug)]
struct Machine {
    chips: [Chip; 2],
    levels: [u8; 2],
}

impl Ports for Machine {
    fn read(&mut self, port: u16) -> u8 {
        match port {
            LEVELS | 0x4d1 => self.levels[usize::from(port - LEVELS)],
            FIRST | SECOND => {
                let chip = &self.chips[usize::from(port == SECOND)];
                if chip.shows_service {
                    chip.in_service
                } else {
                    chip.requested
                }
            }
            _ => panic!("port {port:#x} is read"),
        }
    }

    fn write(&mut self, port: u16, value: u8) {
        match port {
            LEVELS | 0x4d1 => self.levels[usize::from(port - LEVELS)] = value,
            FIRST | SECOND => self.chips[usize::from(port == SECOND)].command(value),
            0x21 | 0xa1 => self.chips[usize::from(port == 0xa1)].data(value),
            _ => panic!("port {port:#x} is written"),
        }
    }
}

impl Machine {
    /// A device pulls its line, or lets it go.
    fn pull(&mut self, line: u32, on: bool) {
        let chip = &mut self.chips[line as usize / 8];
        let bit = 1 << (line % 8);
        chip.requested = if on {
            chip.requested | bit
        } else {
            chip.requested & !bit
        };
        self.cascade();
    }

    fn cascade(&mut self) {
        if self.chips[1].urgent().is_some() {
            self.chips[0].requested |= 1 << CASCADE;
        }
    }

    /// The vector that the CPU gets when it asks.
    fn vector(&mut self) -> u8 {
        let line = self.chips[0].acknowledge();
        if u32::from(line) == CASCADE {
            let line = self.chips[1].acknowledge();
            return self.chips[1].vector + line;
        }
        self.chips[0].vector + line
    }

    fn in_service(&self) -> [u8; 2] {
        self.chips.map(|chip| chip.in_service)
    }
}

fn started() -> Pic<Machine> {
    let mut pic = Pic::new(Machine::default());
    pic.init(0x20);
    pic.join();
    pic
}

#[test]
fn every_line_comes_as_its_vector_and_is_ended() {
    let mut pic = started();
    for line in (0..LINES).filter(|line| *line != CASCADE) {
        pic.ports.pull(line, true);
        assert_eq!(
            pic.ports.chips[0].urgent().filter(|_| line < 8),
            None,
            "held off"
        );
        pic.unmask(line);
        pic.ports.cascade();
        assert_eq!(u32::from(pic.ports.vector()), 0x20 + line);
        assert_eq!(pic.arrived(line), Arrival::Real);
        pic.end(line);
        assert_eq!(pic.ports.in_service(), [0, 0], "line {line}");
        pic.mask(line);
    }
    assert_eq!(
        pic.ports.chips.map(|chip| chip.masked),
        [!(1 << CASCADE), 0xff]
    );
}

#[test]
fn a_line_that_went_away_is_nobodys_and_ends_nothing() {
    let mut pic = started();
    pic.unmask(3);
    pic.unmask(7);
    // One that is being served stays so.
    pic.ports.pull(3, true);
    assert_eq!(pic.ports.vector(), 0x23);
    assert_eq!(pic.ports.vector(), 0x27);
    assert_eq!(pic.arrived(7), Arrival::Spurious);
    assert_eq!(pic.ports.in_service(), [1 << 3, 0]);
    // The real one is told from it, and the chip shows again what it showed before.
    pic.end(3);
    pic.ports.pull(7, true);
    assert_eq!(pic.ports.vector(), 0x27);
    assert_eq!(pic.arrived(7), Arrival::Real);
    assert!(!pic.ports.chips[0].shows_service);
}

#[test]
fn the_second_chips_spurious_one_is_ended_at_the_first() {
    let mut pic = started();
    pic.unmask(15);
    pic.unmask(12);
    pic.ports.pull(12, true);
    // Gone before the CPU asks, but the first chip has seen the second one.
    pic.ports.pull(12, false);
    assert_eq!(pic.ports.vector(), 0x2f);
    assert_eq!(pic.ports.in_service(), [1 << CASCADE, 0]);
    assert_eq!(pic.arrived(15), Arrival::Spurious);
    assert_eq!(pic.ports.in_service(), [0, 0]);
}

#[test]
fn levels_are_chosen_but_for_lines_that_are_edges() {
    let mut pic = started();
    for line in [0, 1, 2, 8, 13, 5, 10] {
        pic.set_level(line, true);
    }
    assert_eq!(pic.ports.levels, [1 << 5, 1 << 2]);
    pic.set_level(10, false);
    assert_eq!(pic.ports.levels, [1 << 5, 0]);
}
