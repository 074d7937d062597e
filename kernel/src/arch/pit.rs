//! The 8254: channel 2 as a reference to calibrate by where there is nothing better, and channel 0 as a device that
//! interrupts.

#![allow(unsafe_code, reason = "port I/O")]

use x86_64::instructions::port::Port;

/// Ticks per second.
pub const HZ: u64 = 1_193_182;

const CHANNEL_0: u16 = 0x40;
const CHANNEL_2: u16 = 0x42;
const COMMAND: u16 = 0x43;
const SPEAKER: u16 = 0x61;

/// Starts channel 2 counting down from 65535; it takes 55 ms to zero.
///
/// # Context
/// Boot.
pub fn start() {
    // Gate on, speaker off.
    let control = read(SPEAKER) & !0b11 | 0b01;
    write(SPEAKER, control);
    // Channel 2, low byte then high byte, mode 0 (one-shot), binary.
    write(COMMAND, 0b1011_0000);
    write(CHANNEL_2, 0xff);
    write(CHANNEL_2, 0xff);
}

/// Ticks since [`start`], up to 65535.
pub fn elapsed() -> u64 {
    // Latch the count of channel 2, then read both halves.
    write(COMMAND, 0b1000_0000);
    let low = read(CHANNEL_2);
    let high = read(CHANNEL_2);
    u64::from(u16::MAX - u16::from_le_bytes([low, high]))
}

/// Makes channel 0 interrupt once, `ticks` from now.
pub fn fire_once(ticks: u16) {
    // Channel 0, low byte then high byte, mode 0, binary.
    write(COMMAND, 0b0011_0000);
    let [low, high] = ticks.to_le_bytes();
    write(CHANNEL_0, low);
    write(CHANNEL_0, high);
}

/// Makes channel 0 interrupt every `ticks`.
pub fn fire_every(ticks: u16) {
    // Channel 0, low byte then high byte, mode 2, binary.
    write(COMMAND, 0b0011_0100);
    let [low, high] = ticks.to_le_bytes();
    write(CHANNEL_0, low);
    write(CHANNEL_0, high);
}

/// Stops channel 0, which firmware leaves interrupting 18 times a second.
pub fn silence() {
    // Channel 0, mode 0, and no count: its output stays low.
    write(COMMAND, 0b0011_0000);
}

fn read(port: u16) -> u8 {
    // SAFETY: the ports are the 8254's and the speaker's, which this module alone uses.
    unsafe { Port::new(port).read() }
}

fn write(port: u16, value: u8) {
    // SAFETY: as in `read`.
    unsafe { Port::new(port).write(value) }
}
