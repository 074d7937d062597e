//! The driver against the simulated chip.

use std::boxed::Box;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::vec::Vec;

use super::registers::{InterruptEnable, LineControl, LineStatus, ModemControl, ModemStatus};
use super::simulated::SimulatedUart;
use super::uart16550::{Line, Uart16550};
use crate::tty::Termios;
use crate::tty::receive::Received;
use crate::tty::termios::ControlFlags;

#[derive(Default)]
struct Terminal {
    got: Mutex<Vec<u8>>,
    errors: Mutex<Vec<Received>>,
    output: Mutex<VecDeque<u8>>,
    sent: AtomicUsize,
    carrier: Mutex<Option<bool>>,
}

impl Line for Terminal {
    fn received(&self, bytes: &[u8]) {
        self.got.lock().unwrap().extend_from_slice(bytes);
    }
    fn received_error(&self, error: Received) {
        self.errors.lock().unwrap().push(error);
    }
    fn next_output(&self, buf: &mut [u8]) -> usize {
        let mut output = self.output.lock().unwrap();
        let n = buf.len().min(output.len());
        buf[..n]
            .iter_mut()
            .zip(output.drain(..n))
            .for_each(|(to, from)| *to = from);
        n
    }
    fn output_sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }
    fn carrier_changed(&self, present: bool) {
        *self.carrier.lock().unwrap() = Some(present);
    }
}

/// Runs `test` with a started driver; its argument polls the driver once.
fn with_driver(
    test: impl FnOnce(&SimulatedUart, &Uart16550<SimulatedUart>, &Terminal, &mut dyn FnMut()),
) {
    let chip = SimulatedUart::new();
    let uart = Uart16550::probe(chip.clone()).expect("a chip is there");
    uart.start(&Termios::serial());
    let terminal = Terminal::default();
    let mut run: Pin<Box<dyn Future<Output = ()> + '_>> =
        Box::pin(uart.run(&chip.interrupt, &terminal));
    let mut poll = || {
        let state = run.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(state, Poll::Pending);
    };
    poll();
    test(&chip, &uart, &terminal, &mut poll);
}

#[test]
fn absent_chip_is_not_found() {
    let chip = SimulatedUart::new();
    chip.with(|c| c.absent = true);
    assert!(Uart16550::probe(chip).is_none());
}

#[test]
fn received_bytes_reach_the_terminal_in_order() {
    with_driver(|chip, _, terminal, poll| {
        for byte in 0..16 {
            chip.deliver(byte, LineStatus::empty());
        }
        poll();
        chip.deliver(16, LineStatus::empty());
        poll();
        assert_eq!(*terminal.got.lock().unwrap(), (0..=16).collect::<Vec<u8>>());
    });
}

#[test]
fn errors_keep_their_place_and_are_counted() {
    with_driver(|chip, uart, terminal, poll| {
        chip.deliver(b'a', LineStatus::empty());
        chip.deliver(b'b', LineStatus::PARITY_ERROR);
        chip.deliver(b'c', LineStatus::FRAMING_ERROR);
        chip.deliver(0, LineStatus::BREAK | LineStatus::FRAMING_ERROR);
        chip.deliver(b'd', LineStatus::empty());
        poll();
        assert_eq!(*terminal.got.lock().unwrap(), b"ad");
        let errors = [
            Received::Damaged(b'b'),
            Received::Damaged(b'c'),
            Received::Break,
        ];
        assert_eq!(*terminal.errors.lock().unwrap(), errors);
        let counters = &uart.counters;
        assert_eq!(counters.parity.load(Ordering::Relaxed), 1);
        assert_eq!(counters.framing.load(Ordering::Relaxed), 1);
        assert_eq!(counters.breaks.load(Ordering::Relaxed), 1);
        assert_eq!(counters.received.load(Ordering::Relaxed), 5);
    });
}

#[test]
fn overrun_is_counted_and_input_goes_on() {
    with_driver(|chip, uart, terminal, poll| {
        for byte in 0..20 {
            chip.deliver(byte, LineStatus::empty());
        }
        poll();
        assert_eq!(uart.counters.overruns.load(Ordering::Relaxed), 1);
        chip.deliver(99, LineStatus::empty());
        poll();
        assert_eq!(terminal.got.lock().unwrap().last(), Some(&99));
    });
}

#[test]
fn output_goes_in_fifo_loads_and_stops_asking_at_the_end() {
    with_driver(|chip, uart, terminal, poll| {
        let text: Vec<u8> = (0..40).collect();
        terminal.output.lock().unwrap().extend(&text);
        uart.start_output();
        for _ in 0..10 {
            poll();
            chip.take_from_fifo(16);
        }
        chip.with(|c| {
            assert_eq!(c.wire, text);
            assert_eq!(c.lost_output, 0);
            assert_eq!(c.enabled & InterruptEnable::TRANSMITTER_EMPTY.bits(), 0);
        });
        assert_eq!(terminal.sent.load(Ordering::Relaxed), 1);
        assert!(uart.read_idle());
    });
}

#[test]
fn output_is_taken_again_after_a_pause() {
    with_driver(|chip, uart, terminal, poll| {
        for round in 0..5 {
            terminal.output.lock().unwrap().extend([round; 3]);
            uart.start_output();
            poll();
            chip.take_from_fifo(2);
            poll();
            chip.take_from_fifo(2);
            poll();
        }
        chip.with(|c| assert_eq!(c.wire.len(), 15));
        assert_eq!(terminal.sent.load(Ordering::Relaxed), 5);
    });
}

#[test]
fn slow_wire_is_never_overfilled() {
    with_driver(|chip, uart, terminal, poll| {
        terminal.output.lock().unwrap().extend([7; 100]);
        uart.start_output();
        for _ in 0..200 {
            poll();
            chip.take_from_fifo(1);
        }
        chip.with(|c| assert_eq!((c.wire.len(), c.lost_output), (100, 0)));
    });
}

#[test]
fn settings_reach_the_chip() {
    with_driver(|chip, uart, _, _| {
        chip.with(|c| assert_eq!((c.divisor, c.line_control), (12, 0x13)));
        let mut t = Termios::serial();
        t.set_baud(115_200);
        t.cflag.remove(ControlFlags::CSIZE);
        t.cflag.insert(
            ControlFlags::CS7 | ControlFlags::PARENB | ControlFlags::PARODD | ControlFlags::CSTOPB,
        );
        uart.configure(&t);
        chip.with(|c| assert_eq!((c.divisor, c.line_control), (1, 0b0000_1110)));
        chip.with(|c| {
            assert_eq!(
                c.enabled, 0b1101,
                "the divisor does not end up as interrupt mask"
            )
        });
    });
}

#[test]
fn speed_zero_drops_the_modem_lines() {
    with_driver(|chip, uart, _, _| {
        let mut t = Termios::serial();
        t.set_baud(0);
        uart.configure(&t);
        chip.with(|c| assert_eq!(c.modem_control, ModemControl::OUT2.bits()));
        chip.with(|c| assert_eq!(c.divisor, 12, "there is no divisor for speed zero"));
    });
}

#[test]
fn break_and_modem_lines() {
    with_driver(|chip, uart, terminal, poll| {
        uart.set_break(true);
        uart.configure(&Termios::serial());
        chip.with(|c| assert_ne!(c.line_control & LineControl::BREAK.bits(), 0));
        uart.set_break(false);
        chip.with(|c| assert_eq!(c.line_control & LineControl::BREAK.bits(), 0));
        uart.set_modem_control(ModemControl::OUT1, ModemControl::DTR | ModemControl::OUT2);
        assert_eq!(
            uart.modem_control(),
            ModemControl::RTS | ModemControl::OUT1 | ModemControl::OUT2
        );
        chip.with(|c| c.modem_status = (ModemStatus::DCD | ModemStatus::DCD_CHANGED).bits());
        poll();
        assert_eq!(*terminal.carrier.lock().unwrap(), Some(true));
    });
}
