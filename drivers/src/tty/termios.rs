//! Terminal settings: the flags, and the layouts in which user programs see them.

use bitflags::bitflags;

/// Control characters in [`Termios::cc`].
pub const NCCS: usize = 19;

/// The value of a control character that is switched off.
pub const DISABLED_CHAR: u8 = 0;

/// A position in [`Termios::cc`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[expect(missing_docs, reason = "the names are those of termios(3)")]
pub enum Cc {
    Intr = 0,
    Quit = 1,
    Erase = 2,
    Kill = 3,
    Eof = 4,
    Time = 5,
    Min = 6,
    Switch = 7,
    Start = 8,
    Stop = 9,
    Susp = 10,
    Eol = 11,
    Reprint = 12,
    Discard = 13,
    Werase = 14,
    Lnext = 15,
    Eol2 = 16,
}

bitflags! {
    /// `c_iflag`: what is done to received bytes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct InputFlags: u32 {
        #[allow(missing_docs)] const IGNBRK = 0x1;
        #[allow(missing_docs)] const BRKINT = 0x2;
        #[allow(missing_docs)] const IGNPAR = 0x4;
        #[allow(missing_docs)] const PARMRK = 0x8;
        #[allow(missing_docs)] const INPCK = 0x10;
        #[allow(missing_docs)] const ISTRIP = 0x20;
        #[allow(missing_docs)] const INLCR = 0x40;
        #[allow(missing_docs)] const IGNCR = 0x80;
        #[allow(missing_docs)] const ICRNL = 0x100;
        #[allow(missing_docs)] const IUCLC = 0x200;
        #[allow(missing_docs)] const IXON = 0x400;
        #[allow(missing_docs)] const IXANY = 0x800;
        #[allow(missing_docs)] const IXOFF = 0x1000;
        #[allow(missing_docs)] const IMAXBEL = 0x2000;
        #[allow(missing_docs)] const IUTF8 = 0x4000;
        const _ = !0;
    }
}

bitflags! {
    /// `c_oflag`: what is done to written bytes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct OutputFlags: u32 {
        #[allow(missing_docs)] const OPOST = 0x1;
        #[allow(missing_docs)] const OLCUC = 0x2;
        #[allow(missing_docs)] const ONLCR = 0x4;
        #[allow(missing_docs)] const OCRNL = 0x8;
        #[allow(missing_docs)] const ONOCR = 0x10;
        #[allow(missing_docs)] const ONLRET = 0x20;
        /// The tab delay field; both bits set ([`OutputFlags::XTABS`]) expand tabs to spaces.
        const TABDLY = 0x1800;
        #[allow(missing_docs)] const XTABS = 0x1800;
        const _ = !0;
    }
}

bitflags! {
    /// `c_cflag`: the line itself.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ControlFlags: u32 {
        /// The speed field, `BOTHER` included.
        const CBAUD = 0x100f;
        /// The bit that selects the upper half of the speed table; alone it is `BOTHER`.
        const CBAUDEX = 0x1000;
        #[allow(missing_docs)] const CSIZE = 0x30;
        #[allow(missing_docs)] const CS6 = 0x10;
        #[allow(missing_docs)] const CS7 = 0x20;
        #[allow(missing_docs)] const CS8 = 0x30;
        #[allow(missing_docs)] const CSTOPB = 0x40;
        #[allow(missing_docs)] const CREAD = 0x80;
        #[allow(missing_docs)] const PARENB = 0x100;
        #[allow(missing_docs)] const PARODD = 0x200;
        #[allow(missing_docs)] const HUPCL = 0x400;
        #[allow(missing_docs)] const CLOCAL = 0x800;
        /// The input speed field, sixteen bits above the output speed.
        const CIBAUD = 0x100f_0000;
        #[allow(missing_docs)] const CMSPAR = 0x4000_0000;
        #[allow(missing_docs)] const CRTSCTS = 0x8000_0000;
        const _ = !0;
    }
}

bitflags! {
    /// `c_lflag`: line editing, echo and signals.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LocalFlags: u32 {
        #[allow(missing_docs)] const ISIG = 0x1;
        #[allow(missing_docs)] const ICANON = 0x2;
        #[allow(missing_docs)] const XCASE = 0x4;
        #[allow(missing_docs)] const ECHO = 0x8;
        #[allow(missing_docs)] const ECHOE = 0x10;
        #[allow(missing_docs)] const ECHOK = 0x20;
        #[allow(missing_docs)] const ECHONL = 0x40;
        #[allow(missing_docs)] const NOFLSH = 0x80;
        #[allow(missing_docs)] const TOSTOP = 0x100;
        #[allow(missing_docs)] const ECHOCTL = 0x200;
        #[allow(missing_docs)] const ECHOPRT = 0x400;
        #[allow(missing_docs)] const ECHOKE = 0x800;
        #[allow(missing_docs)] const FLUSHO = 0x1000;
        #[allow(missing_docs)] const PENDIN = 0x4000;
        #[allow(missing_docs)] const IEXTEN = 0x8000;
        #[allow(missing_docs)] const EXTPROC = 0x10000;
        const _ = !0;
    }
}

/// `B9600` in the speed field.
const B9600: u32 = 0xd;
/// `B38400` in the speed field.
const B38400: u32 = 0xf;

/// Speeds by their code in the speed field: 0-15, then `CBAUDEX` codes 1-15.
const BAUD_TABLE: [u32; 31] = [
    0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400, 57600,
    115_200, 230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000, 1_500_000,
    2_000_000, 2_500_000, 3_000_000, 3_500_000, 4_000_000,
];

/// The control characters every terminal starts with: `^C ^\ DEL ^U ^D`, MIN 1, `^Q ^S ^Z ^R ^O ^W ^V`.
const INITIAL_CC: [u8; NCCS] = [
    3, 0o34, 0o177, 0o25, 4, 0, 1, 0, 0o21, 0o23, 0o32, 0, 0o22, 0o17, 0o27, 0o26, 0, 0, 0,
];

/// The settings of one terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Termios {
    /// Input flags.
    pub iflag: InputFlags,
    /// Output flags.
    pub oflag: OutputFlags,
    /// Control flags.
    pub cflag: ControlFlags,
    /// Local flags.
    pub lflag: LocalFlags,
    /// The line discipline number; kept for the program, always 0 (`N_TTY`) in effect.
    pub line: u8,
    /// Control characters, indexed by [`Cc`].
    pub cc: [u8; NCCS],
    /// Input speed in bits per second.
    pub ispeed: u32,
    /// Output speed in bits per second.
    pub ospeed: u32,
}

impl Termios {
    /// The settings a pseudo-terminal starts with (Linux's `tty_std_termios`, with the control flags of a pty).
    pub const fn pty() -> Self {
        Self::cooked(
            B38400 | ControlFlags::CS8.bits() | ControlFlags::CREAD.bits(),
            38400,
        )
    }

    /// The settings a serial line starts with: 9600 8N1, modem lines ignored.
    pub const fn serial() -> Self {
        let line = ControlFlags::CS8.bits() | ControlFlags::CREAD.bits();
        Self::cooked(
            B9600 | line | ControlFlags::HUPCL.bits() | ControlFlags::CLOCAL.bits(),
            9600,
        )
    }

    const fn cooked(cflag: u32, speed: u32) -> Self {
        use LocalFlags as L;
        Self {
            iflag: InputFlags::ICRNL.union(InputFlags::IXON),
            oflag: OutputFlags::OPOST.union(OutputFlags::ONLCR),
            cflag: ControlFlags::from_bits_retain(cflag),
            lflag: L::ISIG
                .union(L::ICANON)
                .union(L::ECHO)
                .union(L::ECHOE)
                .union(L::ECHOK)
                .union(L::ECHOCTL)
                .union(L::ECHOKE)
                .union(L::IEXTEN),
            line: 0,
            cc: INITIAL_CC,
            ispeed: speed,
            ospeed: speed,
        }
    }

    /// Returns one control character.
    pub const fn cc(&self, which: Cc) -> u8 {
        self.cc[which as usize]
    }

    /// Whether `byte` is the control character `which`, and that character is not switched off.
    pub const fn is_cc(&self, which: Cc, byte: u8) -> bool {
        byte != DISABLED_CHAR && self.cc(which) == byte
    }

    /// The output speed in bits per second that the flags name, or the explicit one under `BOTHER`.
    pub fn output_baud(&self) -> u32 {
        decode_baud(self.cflag.bits() & ControlFlags::CBAUD.bits(), self.ospeed)
    }

    /// The input speed; a zero field means "as output".
    pub fn input_baud(&self) -> u32 {
        match (self.cflag.bits() & ControlFlags::CIBAUD.bits()) >> 16 {
            0 => self.output_baud(),
            code => decode_baud(code, self.ispeed),
        }
    }

    /// Sets both speeds to `baud`, in the field where the table has it and as `BOTHER` where not.
    pub fn set_baud(&mut self, baud: u32) {
        let code = match BAUD_TABLE.iter().position(|&b| b == baud) {
            Some(i) if i < 16 => i as u32,
            Some(i) => ControlFlags::CBAUDEX.bits() | (i as u32 - 15),
            None => ControlFlags::CBAUDEX.bits(),
        };
        let rest = self.cflag.bits() & !ControlFlags::CBAUD.bits();
        self.cflag = ControlFlags::from_bits_retain(rest | code);
        self.ispeed = baud;
        self.ospeed = baud;
    }

    /// Applies the options of a `console=` word: speed, parity (`n`, `o`, `e`), bits, and `r` for RTS/CTS; what is left out or
    /// makes no sense stays (`115200n8`).
    pub fn set_line_options(&mut self, options: &str) {
        let digits = options.bytes().take_while(u8::is_ascii_digit).count();
        let (baud, rest) = options.split_at(digits);
        if let Ok(baud @ 1..) = baud.parse() {
            self.set_baud(baud);
        }
        let mut rest = rest.bytes();
        let parity = match rest.next() {
            Some(b'n') => ControlFlags::empty(),
            Some(b'e') => ControlFlags::PARENB,
            Some(b'o') => ControlFlags::PARENB | ControlFlags::PARODD,
            _ => return,
        };
        self.cflag
            .remove(ControlFlags::PARENB | ControlFlags::PARODD);
        self.cflag.insert(parity);
        if let Some(bits @ b'5'..=b'8') = rest.next() {
            self.cflag.remove(ControlFlags::CSIZE);
            self.cflag
                .insert(ControlFlags::from_bits_retain(u32::from(bits - b'5') << 4));
            self.cflag
                .set(ControlFlags::CRTSCTS, rest.next() == Some(b'r'));
        }
    }

    /// Bits per character, 5 to 8.
    pub fn char_bits(&self) -> u8 {
        5 + ((self.cflag.bits() & ControlFlags::CSIZE.bits()) >> 4) as u8
    }

    /// Bits on the wire for one character: start, data, parity and stop bits.
    pub fn frame_bits(&self) -> u8 {
        let stop = if self.cflag.contains(ControlFlags::CSTOPB) {
            2
        } else {
            1
        };
        1 + self.char_bits() + u8::from(self.cflag.contains(ControlFlags::PARENB)) + stop
    }

    /// `struct termios` (TCGETS): 36 bytes.
    pub fn to_termios(&self) -> [u8; TERMIOS_LEN] {
        let mut out = [0; TERMIOS_LEN];
        out[..TERMIOS_LEN].copy_from_slice(&self.to_termios2()[..TERMIOS_LEN]);
        out
    }

    /// `struct termios2` (TCGETS2): 44 bytes.
    pub fn to_termios2(&self) -> [u8; TERMIOS2_LEN] {
        let mut out = [0; TERMIOS2_LEN];
        out[0..4].copy_from_slice(&self.iflag.bits().to_ne_bytes());
        out[4..8].copy_from_slice(&self.oflag.bits().to_ne_bytes());
        out[8..12].copy_from_slice(&self.cflag.bits().to_ne_bytes());
        out[12..16].copy_from_slice(&self.lflag.bits().to_ne_bytes());
        out[16] = self.line;
        out[17..36].copy_from_slice(&self.cc);
        out[36..40].copy_from_slice(&self.ispeed.to_ne_bytes());
        out[40..44].copy_from_slice(&self.ospeed.to_ne_bytes());
        out
    }

    /// `struct termio` (TCGETA), the System V form: 18 bytes, the low halves of the flags.
    pub fn to_termio(&self) -> [u8; TERMIO_LEN] {
        let mut out = [0; TERMIO_LEN];
        out[0..2].copy_from_slice(&(self.iflag.bits() as u16).to_ne_bytes());
        out[2..4].copy_from_slice(&(self.oflag.bits() as u16).to_ne_bytes());
        out[4..6].copy_from_slice(&(self.cflag.bits() as u16).to_ne_bytes());
        out[6..8].copy_from_slice(&(self.lflag.bits() as u16).to_ne_bytes());
        out[8] = self.line;
        out[9..17].copy_from_slice(&self.cc[..8]);
        out
    }

    /// These settings with what `struct termios` sets; speeds follow the flags.
    #[must_use]
    pub fn with_termios(&self, raw: &[u8; TERMIOS_LEN]) -> Self {
        let mut new = self.with_common(raw);
        new.resolve_baud();
        new
    }

    /// These settings with what `struct termios2` sets.
    #[must_use]
    pub fn with_termios2(&self, raw: &[u8; TERMIOS2_LEN]) -> Self {
        let mut new = self.with_common(
            raw[..TERMIOS_LEN]
                .as_array()
                .expect("a prefix of that length"),
        );
        new.ispeed = word(raw, 36);
        new.ospeed = word(raw, 40);
        new.resolve_baud();
        new
    }

    /// These settings with what `struct termio` sets: low halves of the flags, eight control characters.
    #[must_use]
    pub fn with_termio(&self, raw: &[u8; TERMIO_LEN]) -> Self {
        let half = |old: u32, at: usize| {
            old & !0xffff | u32::from(u16::from_ne_bytes([raw[at], raw[at + 1]]))
        };
        let mut new = *self;
        new.iflag = InputFlags::from_bits_retain(half(self.iflag.bits(), 0));
        new.oflag = OutputFlags::from_bits_retain(half(self.oflag.bits(), 2));
        new.cflag = ControlFlags::from_bits_retain(half(self.cflag.bits(), 4));
        new.lflag = LocalFlags::from_bits_retain(half(self.lflag.bits(), 6));
        new.line = raw[8];
        new.cc[..8].copy_from_slice(&raw[9..17]);
        new.resolve_baud();
        new
    }

    /// These settings but for what `locked` keeps as it was in `old`: a `struct termios` whose set flag bits, and whose line
    /// discipline and characters other than zero, mean "not to be changed" (`TIOCSLCKTRMIOS`).
    #[must_use]
    pub fn keeping(&self, old: &Self, locked: &[u8; TERMIOS_LEN]) -> Self {
        let (was, mut raw) = (old.to_termios2(), self.to_termios2());
        for (at, (&lock, (new, &was))) in locked.iter().zip(raw.iter_mut().zip(&was)).enumerate() {
            let lock = if at < FLAGS_LEN || lock == 0 {
                lock
            } else {
                !0
            };
            *new = *new & !lock | was & lock;
        }
        self.with_termios2(&raw)
    }

    fn with_common(&self, raw: &[u8; TERMIOS_LEN]) -> Self {
        let mut new = *self;
        new.iflag = InputFlags::from_bits_retain(word(raw, 0));
        new.oflag = OutputFlags::from_bits_retain(word(raw, 4));
        new.cflag = ControlFlags::from_bits_retain(word(raw, 8));
        new.lflag = LocalFlags::from_bits_retain(word(raw, 12));
        new.line = raw[16];
        new.cc.copy_from_slice(&raw[17..36]);
        new
    }

    /// Brings the explicit speeds in line with the speed fields.
    fn resolve_baud(&mut self) {
        self.ispeed = self.input_baud();
        self.ospeed = self.output_baud();
    }
}

/// How many bytes of `struct termios` are flags: what follows are the line discipline and characters.
const FLAGS_LEN: usize = 16;
/// Length of `struct termio`.
pub const TERMIO_LEN: usize = 18;
/// Length of `struct termios` as the kernel has it (C libraries have a longer one of their own).
pub const TERMIOS_LEN: usize = 36;
/// Length of `struct termios2`.
pub const TERMIOS2_LEN: usize = 44;

fn word(raw: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]])
}

fn decode_baud(code: u32, explicit: u32) -> u32 {
    let extended = ControlFlags::CBAUDEX.bits();
    match code {
        c if c == extended => explicit,
        c if c & extended != 0 => BAUD_TABLE
            .get((c & 0xf) as usize + 15)
            .copied()
            .unwrap_or(0),
        c => BAUD_TABLE[(c & 0xf) as usize],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_line_starts_at_9600_8n1() {
        let t = Termios::serial();
        assert_eq!(
            (
                t.output_baud(),
                t.input_baud(),
                t.char_bits(),
                t.frame_bits()
            ),
            (9600, 9600, 8, 10)
        );
        assert_eq!(t.cflag.bits(), 0xcbd);
    }

    #[test]
    fn baud_codes_round_trip() {
        let mut t = Termios::serial();
        for &baud in &BAUD_TABLE {
            t.set_baud(baud);
            assert_eq!(t.output_baud(), baud);
        }
        t.set_baud(123_456);
        assert_eq!(
            t.cflag.bits() & ControlFlags::CBAUD.bits(),
            ControlFlags::CBAUDEX.bits()
        );
        assert_eq!(t.output_baud(), 123_456);
    }

    #[test]
    fn user_layouts_round_trip() {
        let mut t = Termios::pty();
        t.cc[Cc::Eol2 as usize] = 7;
        let other = Termios::serial();
        assert_eq!(other.with_termios(&t.to_termios()), t);
        assert_eq!(other.with_termios2(&t.to_termios2()), t);
        let half = other.with_termio(&t.to_termio());
        assert_eq!(half.cflag, t.cflag);
        assert_eq!(
            half.cc[Cc::Eol2 as usize],
            0,
            "the old form does not reach the later characters"
        );
    }

    #[test]
    fn console_options_set_what_they_name() {
        let mut t = Termios::serial();
        t.set_line_options("115200");
        assert_eq!((t.output_baud(), t.char_bits()), (115_200, 8));
        t.set_line_options("19200e7r");
        assert_eq!((t.output_baud(), t.char_bits()), (19200, 7));
        assert!(
            t.cflag
                .contains(ControlFlags::PARENB | ControlFlags::CRTSCTS)
        );
        assert!(!t.cflag.contains(ControlFlags::PARODD));
        t.set_line_options("n8");
        assert_eq!(
            (t.output_baud(), t.char_bits(), t.frame_bits()),
            (19200, 8, 10)
        );
        let before = t;
        for nonsense in ["", "0", "x", "99999999999"] {
            t.set_line_options(nonsense);
            assert_eq!(t, before, "{nonsense}");
        }
    }

    #[test]
    fn what_is_locked_is_kept() {
        let (old, new) = (Termios::serial(), Termios::pty());
        assert_eq!(new.keeping(&old, &[0; TERMIOS_LEN]), new);
        assert_eq!(new.keeping(&old, &[0xff; TERMIOS_LEN]), old);
        let mut changed = old;
        changed.lflag.toggle(LocalFlags::ECHO | LocalFlags::ISIG);
        changed.cc[Cc::Intr as usize] = 1;
        changed.cc[Cc::Quit as usize] = 2;
        let mut locked = [0; TERMIOS_LEN];
        locked[12..16].copy_from_slice(&LocalFlags::ECHO.bits().to_ne_bytes());
        locked[17 + Cc::Intr as usize] = 4;
        let got = changed.keeping(&old, &locked);
        assert_eq!(got.lflag, old.lflag ^ LocalFlags::ISIG);
        assert_eq!((got.cc(Cc::Intr), got.cc(Cc::Quit)), (3, 2));
    }

    #[test]
    fn unknown_flag_bits_survive() {
        let mut raw = Termios::pty().to_termios();
        raw[3] = 0x80;
        assert_eq!(Termios::pty().with_termios(&raw).to_termios()[3], 0x80);
    }

    #[test]
    fn disabled_character_never_matches() {
        let t = Termios::pty();
        assert!(!t.is_cc(Cc::Eol, 0));
        assert!(t.is_cc(Cc::Intr, 3));
    }
}
