//! Behaviour of the whole discipline, against what Linux's does.

use std::string::String;
use std::vec::Vec;

use super::ldisc::{Effects, LineDiscipline, Port};
use super::read::{ReadOutcome, ReadTimeout};
use super::receive::Received;
use super::termios::{Cc, InputFlags as I, LocalFlags as L, OutputFlags as O, Termios};

/// A device that keeps what it is given, up to a limit.
struct Screen {
    out: Vec<u8>,
    limit: usize,
}

impl Port for Screen {
    fn room(&self) -> usize {
        self.limit - self.out.len()
    }
    fn put(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room(), "more put than there is room");
        self.out.extend_from_slice(bytes);
    }
    fn discard(&mut self) {
        self.out.clear();
    }
}

struct Bench {
    ldisc: LineDiscipline,
    screen: Screen,
    seen: Effects,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Termios)) -> Self {
        let mut termios = Termios::pty();
        change(&mut termios);
        let ldisc = LineDiscipline::try_new(termios).unwrap();
        Bench {
            ldisc,
            screen: Screen {
                out: Vec::new(),
                limit: 1 << 20,
            },
            seen: Effects::empty(),
        }
    }

    fn raw(change: impl FnOnce(&mut Termios)) -> Self {
        Self::new(|t| {
            t.iflag = I::empty();
            t.oflag = O::empty();
            t.lflag = L::empty();
            change(t);
        })
    }

    fn set(&mut self, change: impl FnOnce(&mut Termios)) {
        let mut termios = *self.ldisc.termios();
        change(&mut termios);
        self.seen |= self.ldisc.set_termios(termios, &mut self.screen);
    }

    fn type_in(&mut self, bytes: impl AsRef<[u8]>) -> usize {
        let (n, effects) = self.ldisc.receive(bytes.as_ref(), &mut self.screen);
        self.seen |= effects;
        n
    }

    fn print(&mut self, bytes: impl AsRef<[u8]>) {
        self.seen |= self.ldisc.write(bytes.as_ref(), &mut self.screen);
    }

    /// What is on the screen since the last look.
    fn shown(&mut self) -> String {
        String::from_utf8_lossy(&core::mem::take(&mut self.screen.out)).into_owned()
    }

    fn effects(&mut self) -> Effects {
        core::mem::take(&mut self.seen)
    }

    fn read(&mut self, want: usize) -> Option<Vec<u8>> {
        self.read_as(want, false)
    }

    fn read_as(&mut self, want: usize, eager: bool) -> Option<Vec<u8>> {
        let mut got = Vec::new();
        let (outcome, effects) = self.ldisc.read(want, eager, &mut |run| {
            got.extend_from_slice(run);
            run.len()
        });
        self.seen |= effects;
        match outcome {
            ReadOutcome::Done(n) => {
                assert_eq!(n, got.len());
                Some(got)
            }
            ReadOutcome::NotYet => None,
        }
    }
}

fn some(bytes: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    Some(bytes.as_ref().to_vec())
}

#[test]
fn line_is_readable_only_when_ended() {
    let mut b = Bench::new(|_| ());
    b.type_in("ls");
    assert_eq!((b.read(10), b.ldisc.input_len()), (None, 0));
    assert!(!b.ldisc.readable(true));
    b.type_in("\r");
    assert!(b.effects().contains(Effects::WAKE_READERS));
    assert!(b.ldisc.readable(true));
    assert_eq!(b.ldisc.input_len(), 3);
    assert_eq!(b.read(10), some("ls\n"));
    assert_eq!(b.shown(), "ls\r\n");
}

#[test]
fn one_read_takes_one_line_and_a_short_one_part_of_it() {
    let mut b = Bench::new(|_| ());
    b.type_in("one\ntwo\n");
    assert_eq!(b.read(2), some("on"));
    assert_eq!(b.read(100), some("e\n"));
    assert_eq!(b.read(4), some("two\n"));
    assert_eq!(b.read(1), None);
}

#[test]
fn end_of_file_hands_over_the_line_without_a_newline() {
    let mut b = Bench::new(|_| ());
    b.type_in("ab\x04\x04cd\n");
    assert_eq!(b.ldisc.input_len(), 5);
    assert_eq!(b.read(10), some("ab"));
    assert_eq!(b.read(10), some(""));
    assert_eq!(b.read(10), some("cd\n"));
    assert_eq!(b.shown(), "abcd\r\n", "the EOF character is not echoed");
}

#[test]
fn end_of_file_behind_a_full_buffer_goes_with_it() {
    let mut b = Bench::new(|_| ());
    b.type_in("ab\x04x\n");
    assert_eq!(b.read(2), some("ab"));
    assert_eq!(b.read(2), some("x\n"));
}

#[test]
fn other_line_ends_are_kept() {
    let mut b = Bench::new(|t| {
        t.cc[Cc::Eol as usize] = b';';
        t.cc[Cc::Eol2 as usize] = b',';
    });
    b.type_in("a;b,c\n");
    assert_eq!(b.read(10), some("a;"));
    assert_eq!(b.read(10), some("b,"));
    assert_eq!(b.read(10), some("c\n"));
    assert_eq!(b.shown(), "a;b,c\r\n");
    b.set(|t| t.lflag.remove(L::IEXTEN));
    b.type_in("a,b\n");
    assert_eq!(b.read(10), some("a,b\n"), "EOL2 belongs to IEXTEN");
}

#[test]
fn erase_rubs_out_one_character() {
    let mut b = Bench::new(|_| ());
    b.type_in("abc\x7f\x7fx\n");
    assert_eq!(b.read(10), some("ax\n"));
    assert_eq!(b.shown(), "abc\x08 \x08\x08 \x08x\r\n");
    b.type_in("\x7f\n");
    assert_eq!(b.shown(), "\r\n", "nothing to erase shows nothing");
}

#[test]
fn erase_takes_whole_utf8_characters() {
    let mut b = Bench::new(|t| t.iflag.insert(I::IUTF8));
    b.type_in("aé€\x7f\x7f\n");
    assert_eq!(b.read(10), some("a\n"));
    assert_eq!(b.shown(), "aé€\x08 \x08\x08 \x08\r\n");
    let mut b = Bench::new(|_| ());
    b.type_in("é\x7f\n");
    assert_eq!(b.read(10), some(b"\xc3\n"));
}

#[test]
fn erase_of_a_control_character_takes_two_cells() {
    let mut b = Bench::new(|_| ());
    b.type_in("\x01\x7f\n");
    assert_eq!(b.shown(), "^A\x08 \x08\x08 \x08\r\n");
    assert_eq!(b.read(10), some("\n"));
    let mut b = Bench::new(|t| t.lflag.remove(L::ECHOCTL));
    b.type_in("\x01\x7f\n");
    assert_eq!(b.shown(), "\x01\r\n");
}

#[test]
fn erase_of_a_tab_goes_back_to_where_it_began() {
    let mut b = Bench::new(|_| ());
    b.print("$ ");
    b.type_in("ab\t\x7f\n");
    assert_eq!(b.shown(), "$ ab\t\x08\x08\x08\x08\r\n");
    b.type_in("\ta\t\x7f\x7f\x7f\n");
    assert_eq!(
        b.shown(),
        "\ta\t\x08\x08\x08\x08\x08\x08\x08\x08 \x08\x08\x08\x08\x08\x08\x08\x08\x08\r\n"
    );
}

#[test]
fn word_erase_stops_before_the_word_ahead() {
    let mut b = Bench::new(|_| ());
    b.type_in("foo bar_1  \x17\n");
    assert_eq!(b.read(20), some("foo \n"));
    b.type_in("foo\x17x\n");
    assert_eq!(b.read(20), some("x\n"));
    b.set(|t| t.lflag.remove(L::IEXTEN));
    b.type_in("a\x17\n");
    assert_eq!(b.read(20), some("a\x17\n"));
}

#[test]
fn kill_rubs_out_or_shows_itself() {
    let mut b = Bench::new(|_| ());
    b.type_in("ab\x15c\n");
    assert_eq!(b.shown(), "ab\x08 \x08\x08 \x08c\r\n");
    assert_eq!(b.read(9), some("c\n"));
    b.set(|t| t.lflag.remove(L::ECHOKE));
    b.type_in("ab\x15c\n");
    assert_eq!(b.shown(), "ab^U\r\nc\r\n");
    assert_eq!(b.read(9), some("c\n"));
    b.set(|t| t.lflag.remove(L::ECHOK));
    b.type_in("ab\x15c\n");
    assert_eq!(b.shown(), "ab^Uc\r\n");
    b.set(|t| t.lflag.remove(L::ECHO));
    assert_eq!(b.read(9), some("c\n"));
    b.type_in("ab\x15c\n");
    assert_eq!((b.shown(), b.read(9)), (String::new(), some("c\n")));
}

#[test]
fn printing_erase_shows_what_goes_between_slashes() {
    let mut b = Bench::new(|t| t.lflag.insert(L::ECHOPRT));
    b.type_in("abc\x7f\x7fx\n");
    assert_eq!(b.shown(), "abc\\cb/x\r\n");
    b.type_in("a\x7f\n");
    assert_eq!(
        b.shown(),
        "a\\a/\r\n",
        "an emptied line closes the slashes at once"
    );
}

#[test]
fn erase_without_echoe_shows_the_erase_character() {
    let mut b = Bench::new(|t| t.lflag.remove(L::ECHOE));
    b.type_in("a\x7f\n");
    assert_eq!(b.shown(), "a^?\r\n");
}

#[test]
fn literal_next_takes_the_meaning_away() {
    let mut b = Bench::new(|_| ());
    b.type_in("\x16\x03\x16\n\x16\x16\n");
    assert_eq!(b.read(9), some("\x03\n\x16\n"));
    assert!(!b.effects().contains(Effects::SIGINT));
    assert_eq!(b.shown(), "^\x08^C^\x08^J^\x08^V\r\n");
}

#[test]
fn literal_next_is_translated_only_by_strip() {
    let mut b = Bench::new(|_| ());
    b.type_in("\x16\r\n");
    assert_eq!(b.read(9), some("\r\n"));
}

#[test]
fn reprint_shows_the_line_again() {
    let mut b = Bench::new(|_| ());
    b.type_in("ab\x01\x12\n");
    assert_eq!(b.shown(), "ab^A^R\r\nab^A\r\n");
    assert_eq!(b.read(9), some("ab\x01\n"));
}

#[test]
fn newline_alone_can_be_echoed() {
    let mut b = Bench::new(|t| {
        t.lflag.remove(L::ECHO);
        t.lflag.insert(L::ECHONL);
    });
    b.type_in("secret\n");
    assert_eq!(b.shown(), "\r\n");
}

#[test]
fn signal_characters_signal_flush_and_echo() {
    for (byte, effect, shown) in [
        (3, Effects::SIGINT, "^C"),
        (0o34, Effects::SIGQUIT, "^\\"),
        (0o32, Effects::SIGTSTP, "^Z"),
    ] {
        let mut b = Bench::new(|_| ());
        b.type_in("done\nhalf");
        b.shown();
        b.type_in([byte]);
        let effects = b.effects();
        assert!(effects.contains(effect | Effects::FLUSHED_INPUT | Effects::FLUSHED_OUTPUT));
        assert_eq!(b.shown(), shown);
        assert_eq!(b.read(9), None);
        b.type_in("x\n");
        assert_eq!(b.read(9), some("x\n"));
    }
}

#[test]
fn noflsh_keeps_the_queues() {
    let mut b = Bench::new(|t| t.lflag.insert(L::NOFLSH));
    b.type_in("done\nha\x03lf\n");
    assert!(b.effects().contains(Effects::SIGINT));
    assert_eq!(b.shown(), "done\r\nha^Clf\r\n");
    assert_eq!(b.read(9), some("done\n"));
    assert_eq!(b.read(9), some("half\n"));
}

#[test]
fn without_isig_signal_characters_are_data() {
    let mut b = Bench::new(|t| t.lflag.remove(L::ISIG));
    b.type_in("\x03\n");
    assert!(!b.effects().contains(Effects::SIGINT));
    assert_eq!(b.read(9), some("\x03\n"));
}

#[test]
fn disabled_signal_character_is_data() {
    let mut b = Bench::new(|t| t.cc[Cc::Intr as usize] = 0);
    b.type_in("\0\x03\n");
    assert!(!b.effects().contains(Effects::SIGINT));
    assert_eq!(b.read(9), some("\0\x03\n"));
}

#[test]
fn stop_and_start_characters_control_output() {
    let mut b = Bench::new(|_| ());
    b.type_in("\x13");
    assert!(b.effects().contains(Effects::STOPPED));
    assert!(b.ldisc.is_stopped());
    b.type_in("a");
    assert!(b.ldisc.is_stopped(), "only IXANY starts by any byte");
    b.type_in("\x11\n");
    assert!(
        b.effects()
            .contains(Effects::STARTED | Effects::WAKE_WRITERS)
    );
    assert!(!b.ldisc.is_stopped());
    assert_eq!(b.read(9), some("a\n"));
    b.set(|t| t.iflag.insert(I::IXANY));
    b.type_in("\x13b");
    assert!(!b.ldisc.is_stopped());
}

#[test]
fn signal_character_starts_output() {
    let mut b = Bench::new(|_| ());
    b.type_in("\x13\x03");
    assert!(!b.ldisc.is_stopped());
}

#[test]
fn switching_flow_control_off_starts_output() {
    let mut b = Bench::new(|_| ());
    b.type_in("\x13");
    b.set(|t| t.iflag.remove(I::IXON));
    assert!(!b.ldisc.is_stopped());
    assert!(
        b.effects()
            .contains(Effects::FLOW_CHANGED | Effects::STARTED)
    );
}

#[test]
fn output_stopped_by_request_starts_only_by_request() {
    let mut b = Bench::new(|_| ());
    b.seen |= b.ldisc.suspend_output();
    b.type_in("\x11");
    assert!(b.ldisc.is_stopped());
    b.seen |= b.ldisc.resume_output(&mut b.screen);
    assert!(!b.ldisc.is_stopped());
}

#[test]
fn input_translations() {
    let mut b = Bench::raw(|t| t.iflag = I::INLCR | I::IGNCR);
    b.type_in("a\rb\nc");
    assert_eq!(b.read(9), some("ab\rc"));
    let mut b = Bench::raw(|t| t.iflag = I::ICRNL);
    b.type_in("a\rb\nc");
    assert_eq!(b.read(9), some("a\nb\nc"));
    let mut b = Bench::raw(|t| {
        t.iflag = I::ISTRIP | I::IUCLC;
        t.lflag = L::IEXTEN;
    });
    b.type_in(b"A\xe2Z");
    assert_eq!(b.read(9), some("abz"));
    let mut b = Bench::raw(|t| t.iflag = I::IUCLC);
    b.type_in("A");
    assert_eq!(b.read(9), some("A"), "IUCLC belongs to IEXTEN");
}

#[test]
fn parity_marks_and_doubled_bytes() {
    let mut b = Bench::raw(|t| t.iflag = I::PARMRK | I::INPCK);
    b.type_in(b"a\xffb");
    let (taken, effects) = b
        .ldisc
        .receive_error(Received::Damaged(b'!'), &mut b.screen);
    assert!(taken && effects.contains(Effects::WAKE_READERS));
    let _ = b.ldisc.receive_error(Received::Break, &mut b.screen);
    assert_eq!(b.read(20), some(b"a\xff\xffb\xff\0!\xff\0\0"));
}

#[test]
fn damaged_bytes_follow_the_flags() {
    for (flags, got) in [
        (I::empty(), &b"!"[..]),
        (I::INPCK, &b"\0"[..]),
        (I::INPCK.union(I::IGNPAR), &b""[..]),
        (I::IGNPAR, &b"!"[..]),
    ] {
        let mut b = Bench::raw(|t| t.iflag = flags);
        let _ = b
            .ldisc
            .receive_error(Received::Damaged(b'!'), &mut b.screen);
        assert_eq!(b.read_as(9, true).unwrap_or_default(), got, "{flags:?}");
    }
}

#[test]
fn breaks_follow_the_flags() {
    let mut b = Bench::raw(|t| t.iflag = I::IGNBRK | I::BRKINT);
    let (_, effects) = b.ldisc.receive_error(Received::Break, &mut b.screen);
    assert_eq!((effects, b.read(9)), (Effects::empty(), None));
    let mut b = Bench::raw(|t| t.iflag = I::BRKINT);
    b.type_in("lost");
    let (_, effects) = b.ldisc.receive_error(Received::Break, &mut b.screen);
    assert!(effects.contains(Effects::SIGINT | Effects::FLUSHED_INPUT));
    let mut b = Bench::raw(|_| ());
    let _ = b.ldisc.receive_error(Received::Break, &mut b.screen);
    assert_eq!(b.read(9), some("\0"));
}

#[test]
fn output_translations() {
    for (flags, text, shown) in [
        (O::empty(), "a\tb\n\r", "a\tb\n\r"),
        (O::OPOST, "a\n", "a\n"),
        (O::OPOST | O::ONLCR, "a\nb\n", "a\r\nb\r\n"),
        (O::OPOST | O::OCRNL, "a\rb", "a\nb"),
        (O::OPOST | O::ONOCR, "\ra\r\rb", "a\rb"),
        (O::OPOST | O::ONOCR | O::ONLRET, "a\n\rb", "a\nb"),
        (O::OPOST | O::ONOCR, "a\n\rb", "a\n\rb"),
        (O::OPOST | O::OLCUC, "aBc1\n", "ABC1\n"),
        (
            O::OPOST | O::XTABS | O::ONLCR,
            "\ta\t12345678\tx\n\t",
            "        a       12345678        x\r\n        ",
        ),
        (O::OPOST | O::XTABS, "ab\x08\t|", "ab\x08       |"),
    ] {
        let mut b = Bench::new(|t| t.oflag = flags);
        b.print(text);
        assert_eq!(b.shown(), shown, "{flags:?} {text:?}");
    }
}

#[test]
fn utf8_counts_one_column_per_character() {
    let mut b = Bench::new(|t| {
        t.iflag.insert(I::IUTF8);
        t.oflag.insert(O::XTABS);
    });
    b.print("é\t|");
    assert_eq!(b.shown(), "é       |");
}

#[test]
fn write_limit_always_fits() {
    for flags in [O::empty(), O::OPOST | O::ONLCR, O::OPOST | O::XTABS] {
        for text in ["\t", "\n", "x"] {
            let mut b = Bench::new(|t| t.oflag = flags);
            b.screen.limit = 100;
            let n = b.ldisc.write_limit(100);
            b.print(text.repeat(n));
            assert!(n > 0);
        }
    }
}

#[test]
fn echo_waits_for_room_and_comes_before_later_output() {
    let mut b = Bench::new(|_| ());
    b.screen.limit = 2;
    b.type_in("abcd\n");
    assert_eq!(b.screen.out, b"ab");
    assert!(b.ldisc.echo_waits());
    b.screen.limit = 100;
    b.print("x");
    assert_eq!(b.shown(), "abcd\r\nx");
    assert!(!b.ldisc.echo_waits());
}

#[test]
fn drained_port_gets_waiting_echo() {
    let mut b = Bench::new(|_| ());
    b.screen.limit = 0;
    b.type_in("a");
    b.screen.limit = 10;
    let effects = b.ldisc.port_drained(&mut b.screen);
    assert!(effects.contains(Effects::OUTPUT | Effects::WAKE_WRITERS));
    assert_eq!(b.shown(), "a");
}

#[test]
fn long_line_keeps_its_first_bytes_and_its_end() {
    let mut b = Bench::new(|t| t.lflag.remove(L::ECHO));
    let text = "x".repeat(5000);
    assert_eq!(b.type_in(&text), 5000);
    b.type_in("\n");
    let line = b.read(9000).unwrap();
    assert_eq!((line.len(), line.last()), (4096, Some(&b'\n')));
}

#[test]
fn finished_line_holds_back_what_does_not_fit() {
    let mut b = Bench::new(|t| t.lflag.remove(L::ECHO));
    b.type_in("a\n");
    assert_eq!(b.type_in("x".repeat(5000)), 4095 - 2);
    assert!(b.effects().contains(Effects::THROTTLE));
    assert_eq!(b.read(9), some("a\n"));
    assert!(b.effects().contains(Effects::UNTHROTTLE));
    assert_eq!(b.type_in("y\n"), 2);
}

#[test]
fn raw_queue_holds_4095_bytes_and_throttles() {
    let mut b = Bench::raw(|_| ());
    assert_eq!(b.type_in("x".repeat(3000)), 3000);
    assert!(!b.effects().contains(Effects::THROTTLE));
    assert_eq!(b.type_in("x".repeat(3000)), 1095);
    assert!(b.effects().contains(Effects::THROTTLE));
    assert_eq!(b.type_in("x"), 0);
    assert_eq!(b.read(3000).unwrap().len(), 3000);
    assert!(!b.effects().contains(Effects::UNTHROTTLE));
    assert_eq!(b.read(3000).unwrap().len(), 1095);
    assert!(b.effects().contains(Effects::UNTHROTTLE));
}

#[test]
fn parity_marking_never_overfills() {
    let mut b = Bench::new(|t| {
        t.iflag = I::PARMRK;
        t.lflag = L::ICANON;
    });
    assert_eq!(b.type_in([0xff; 6000]), 6000);
    b.type_in("\n");
    let line = b.read(9000).unwrap();
    assert!(line.len() <= 4096);
    assert_eq!(line.last(), Some(&b'\n'));
}

#[test]
fn vmin_waits_for_so_many_bytes() {
    let mut b = Bench::raw(|t| t.cc[Cc::Min as usize] = 3);
    b.type_in("ab");
    assert_eq!(b.read(10), None);
    assert!(!b.ldisc.readable(true));
    assert_eq!(b.read(2), some("ab"), "no more than is asked for");
    b.type_in("ab");
    assert_eq!(
        b.read_as(10, true),
        some("ab"),
        "one who does not wait takes what there is"
    );
    b.type_in("abcd");
    assert!(b.ldisc.readable(true));
    assert_eq!(b.read(10), some("abcd"));
}

#[test]
fn vtime_says_how_long_to_wait() {
    let mut b = Bench::raw(|t| t.cc[Cc::Min as usize] = 0);
    assert_eq!(
        b.ldisc.read_timeout(),
        Some(ReadTimeout::FromStart { tenths: 0 })
    );
    b.set(|t| t.cc[Cc::Time as usize] = 7);
    assert_eq!(
        b.ldisc.read_timeout(),
        Some(ReadTimeout::FromStart { tenths: 7 })
    );
    b.set(|t| t.cc[Cc::Min as usize] = 2);
    assert_eq!(
        b.ldisc.read_timeout(),
        None,
        "the time between bytes begins with the first"
    );
    b.type_in("a");
    assert_eq!(
        b.ldisc.read_timeout(),
        Some(ReadTimeout::BetweenBytes { tenths: 7 })
    );
    b.set(|t| t.lflag.insert(L::ICANON));
    assert_eq!(b.ldisc.read_timeout(), None);
}

#[test]
fn leaving_canonical_mode_hands_over_the_unfinished_line() {
    let mut b = Bench::new(|_| ());
    b.type_in("half");
    b.set(|t| t.lflag.remove(L::ICANON));
    assert_eq!(b.read(9), some("half"));
}

#[test]
fn entering_canonical_mode_makes_a_line_of_what_waits() {
    let mut b = Bench::raw(|_| ());
    b.type_in("half");
    b.set(|t| t.lflag.insert(L::ICANON));
    assert_eq!(b.read(9), some("half"));
    b.type_in("more");
    assert_eq!(b.read(9), None);
}

#[test]
fn echo_in_raw_mode_shows_newline_as_control() {
    let mut b = Bench::raw(|t| t.lflag = L::ECHO | L::ECHOCTL);
    b.type_in("a\n");
    assert_eq!(b.shown(), "a^J");
}

#[test]
fn external_processing_leaves_everything_alone() {
    let mut b = Bench::new(|t| t.lflag.insert(L::EXTPROC));
    b.type_in("a\x03\x7f");
    assert_eq!(b.read(9), some("a\x03\x7f"));
    assert_eq!(b.shown(), "");
}

#[test]
fn flushes_drop_what_they_name() {
    let mut b = Bench::new(|_| ());
    b.type_in("a\nb");
    let effects = b.ldisc.flush_input();
    assert!(effects.contains(Effects::FLUSHED_INPUT));
    assert_eq!((b.read(9), b.shown()), (None, String::from("a\r\nb")));
    b.print("x");
    let effects = b.ldisc.flush_output(&mut b.screen);
    assert!(effects.contains(Effects::FLUSHED_OUTPUT | Effects::WAKE_WRITERS));
    assert_eq!(b.shown(), "");
}

#[test]
fn reader_that_faults_loses_nothing() {
    let mut b = Bench::new(|_| ());
    b.type_in("abcdef\n");
    let mut left = 2;
    let (outcome, _) = b.ldisc.read(9, false, &mut |run| {
        let n = run.len().min(left);
        left -= n;
        n
    });
    assert_eq!(outcome, ReadOutcome::Done(2));
    assert_eq!(b.read(9), some("cdef\n"));
}

/// Random bytes, settings and reads: nothing panics, no bound is broken, and the queue always drains.
#[test]
fn random_use_stays_in_bounds() {
    let mut seed = 7u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut b = Bench::new(|_| ());
    for _ in 0..20_000 {
        match random() % 8 {
            0 => {
                let (i, l, o) = (
                    random() as u32 & 0x7fff,
                    random() as u32 & 0x1ffff,
                    random() as u32 & 0x1fff,
                );
                b.set(|t| {
                    t.iflag = I::from_bits_retain(i);
                    t.lflag = L::from_bits_retain(l);
                    t.oflag = O::from_bits_retain(o);
                });
            }
            1 => {
                let room = b.screen.room();
                let n = b.ldisc.write_limit(room).min(300);
                let text: Vec<u8> = (0..n).map(|_| random() as u8 % 0x30).collect();
                if !b.ldisc.echo_waits() {
                    b.print(text);
                }
            }
            2 => drop(b.read_as(random() as usize % 600, random() & 1 == 0)),
            3 => b.screen.out.clear(),
            4 => {
                b.screen.limit = random() as usize % 3000;
                b.screen.out.clear();
            }
            5 => drop(
                b.ldisc
                    .receive_error(Received::Damaged(random() as u8), &mut b.screen),
            ),
            _ => {
                let text: Vec<u8> = (0..random() % 700).map(|_| random() as u8).collect();
                let taken = b.type_in(&text);
                assert!(taken <= text.len());
            }
        }
        assert!(b.ldisc.input_len() <= 4096);
    }
    b.set(|t| t.lflag = L::empty());
    while b.read_as(100, true).is_some() {}
    assert_eq!(b.ldisc.input_len(), 0);
}
