//! `/dev/rtc0`: the battery-backed clock as programs see it, with its alarm and its interrupts.
//!
//! Contexts: the top half notes what happened and wakes readers; everything else is tasks'. Lock: [`Rtc::state`], which the
//! top half takes.
//!
//! Source: rtc(4), Linux's `drivers/rtc/dev.c`.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use conquer_once::noblock::OnceCell;
use executor::sync::{SpinLockIrq, WaitQueue};
use executor::time::HrTimer;
use fs::device::{self, Device, DeviceKind, Opened};
use fs::inode::Inode;
use fs::{Cap, Errno, File, FileOps, PollEvents, PollTable, Result, Sink, UserMemory};

use crate::arch::{line, rtc};
use crate::calendar::DateTime;
use crate::devtmpfs;
use crate::irq::{Answer, Irq, Request};
use crate::process::current;
use crate::pseudofs::{Out, put};

/// Number of the device.
pub const NUMBER: (u32, u32) = (249, 0);
/// Highest rate of the periodic interrupt.
const MAX_RATE: u64 = 8192;
/// Highest rate that any program may ask for.
pub const MAX_USER_RATE: u64 = 64;
/// Rate that nobody has set.
const DEFAULT_RATE: u64 = 1024;
/// The chip's alarm has no date.
const DAY: i64 = 86_400;

/// In what is read: something happened.
const HAPPENED: u64 = 0x80;

/// What may change.
#[derive(Clone, Copy)]
struct State {
    /// What read(2) gives: what happened, and from bit 8 on how often.
    events: u64,
    rate: u64,
    periodic: bool,
    update: bool,
    /// When the alarm comes, in s since 1970, and whether it is to interrupt.
    alarm: i64,
    alarm_on: bool,
}

/// The clock.
struct Rtc {
    state: SpinLockIrq<State>,
    readers: Arc<WaitQueue>,
    timer: HrTimer,
    /// One program at a time.
    open: AtomicBool,
    _irq: Irq,
}

static RTC: OnceCell<Arc<Rtc>> = OnceCell::uninit();

fn rtc() -> Result<&'static Arc<Rtc>> {
    RTC.try_get().map_err(|_| Errno::ENODEV)
}

/// Whether there is such a clock.
pub fn is_there() -> bool {
    rtc().is_ok()
}

/// Looks for the clock, and makes its device.
///
/// # Context
/// Task, at the end of the boot.
pub fn init() {
    if rtc::time().is_none() {
        log::warn!("rtc: no clock answers");
        return;
    }
    rtc::enable(rtc::UPDATED | rtc::ALARM | rtc::PERIODIC, false);
    let answer = |_: u32| match rtc::take_events() {
        0 => Answer::NONE,
        events => {
            if let Ok(rtc) = rtc() {
                rtc.happened(events);
            }
            Answer::HANDLED
        }
    };
    let irq = match line::request(line::isa(8), Request::new("rtc0").handler(answer)) {
        Ok(irq) => irq,
        Err(error) => {
            log::error!("rtc: no interrupt: {error:?}");
            return;
        }
    };
    let made = Arc::new(Rtc {
        state: SpinLockIrq::new(State {
            events: 0,
            rate: DEFAULT_RATE,
            periodic: false,
            update: false,
            alarm: 0,
            alarm_on: false,
        }),
        readers: Arc::new(WaitQueue::new()),
        timer: HrTimer::new(|now| {
            let rtc = rtc().ok()?;
            rtc.happened(rtc::PERIODIC);
            let state = rtc.state.with(|state| *state);
            state
                .periodic
                .then(|| now.add_ns(1_000_000_000 / state.rate))
        }),
        open: AtomicBool::new(false),
        _irq: irq,
    });
    // Fails only if it was done before.
    let _ = RTC.try_init_once(|| made);
    let published = device::register(DeviceKind::Char, "rtc", NUMBER, 1, Arc::new(Opener))
        .and_then(|()| devtmpfs::add("rtc0", 0o600, NUMBER));
    if let Err(error) = published {
        log::error!("rtc: no node for rtc0: {error}");
    }
}

impl Rtc {
    /// Notes what happened, and lets readers see it.
    ///
    /// # Context
    /// Any.
    fn happened(&self, events: u8) {
        self.state.with(|state| {
            state.events = (state.events & !0xff).wrapping_add(0x100)
                | state.events & 0xff
                | u64::from(events)
                | HAPPENED;
            if events & rtc::ALARM != 0 {
                // It comes once.
                state.alarm_on = false;
            }
        });
        if events & rtc::ALARM != 0 {
            rtc::enable(rtc::ALARM, false);
        }
        self.readers.wake_all();
    }

    fn set_periodic(&self, on: bool) {
        let rate = self.state.with(|state| {
            state.periodic = on;
            state.rate
        });
        if on {
            let next = executor::time::Instant::now().add_ns(1_000_000_000 / rate);
            self.timer.arm(next);
        } else {
            self.timer.cancel();
        }
    }

    fn set_update(&self, on: bool) {
        self.state.with(|state| state.update = on);
        rtc::enable(rtc::UPDATED, on);
    }

    fn set_alarm(&self, on: bool) {
        self.state.with(|state| state.alarm_on = on);
        rtc::enable(rtc::ALARM, on);
    }

    /// Has the alarm come at `at`, in s since 1970.
    fn alarm_at(&self, at: i64) {
        self.state.with(|state| state.alarm = at);
        rtc::set_alarm(DateTime::from_unix(at));
    }
}

/// Opens the device for one program at a time.
struct Opener;

impl Device for Opener {
    fn open(&self, _: u64, _: &Arc<Inode>, _: u32) -> Result<Opened> {
        let rtc = rtc()?;
        if rtc.open.swap(true, Ordering::AcqRel) {
            return Err(Errno::EBUSY);
        }
        rtc.state.with(|state| state.events = 0);
        Ok(Opened::stream(Arc::new(OpenRtc(rtc.clone()))))
    }
}

/// The open device.
struct OpenRtc(Arc<Rtc>);

impl Drop for OpenRtc {
    fn drop(&mut self) {
        // Its interrupts go with who asked for them; the alarm stays.
        self.0.set_periodic(false);
        self.0.set_update(false);
        self.0.open.store(false, Ordering::Release);
    }
}

const RTC_AIE_ON: u32 = 0x7001;
const RTC_AIE_OFF: u32 = 0x7002;
const RTC_UIE_ON: u32 = 0x7003;
const RTC_UIE_OFF: u32 = 0x7004;
const RTC_PIE_ON: u32 = 0x7005;
const RTC_PIE_OFF: u32 = 0x7006;
const RTC_ALM_SET: u32 = 0x4024_7007;
const RTC_ALM_READ: u32 = 0x8024_7008;
const RTC_RD_TIME: u32 = 0x8024_7009;
const RTC_SET_TIME: u32 = 0x4024_700a;
const RTC_IRQP_READ: u32 = 0x8008_700b;
const RTC_IRQP_SET: u32 = 0x4008_700c;
const RTC_WKALM_SET: u32 = 0x4028_700f;
const RTC_WKALM_RD: u32 = 0x8028_7010;

/// Numbers in `struct rtc_time`.
const FIELDS: usize = 9;

fn write_time(mem: &dyn UserMemory, at: u64, time: DateTime) -> Result<()> {
    let (weekday, yearday) = time.days();
    let fields: [i32; FIELDS] = [
        time.second.into(),
        time.minute.into(),
        time.hour.into(),
        time.day.into(),
        i32::from(time.month) - 1,
        time.year - 1900,
        weekday.into(),
        yearday.into(),
        0,
    ];
    let mut bytes = [0; FIELDS * 4];
    for (to, field) in bytes.chunks_exact_mut(4).zip(fields) {
        to.copy_from_slice(&field.to_ne_bytes());
    }
    mem.write(at, &bytes)
}

/// Reads a `struct rtc_time`; months from 0, years from 1900.
fn read_fields(mem: &dyn UserMemory, at: u64) -> Result<[i32; FIELDS]> {
    let mut bytes = [0; FIELDS * 4];
    mem.read(at, &mut bytes)?;
    let mut fields = [0; FIELDS];
    for (field, from) in fields.iter_mut().zip(bytes.chunks_exact(4)) {
        *field = i32::from_ne_bytes([from[0], from[1], from[2], from[3]]);
    }
    Ok(fields)
}

fn time_of(fields: [i32; FIELDS]) -> Result<DateTime> {
    let small = |value: i32| u8::try_from(value).map_err(|_| Errno::EINVAL);
    let time = DateTime {
        second: small(fields[0])?,
        minute: small(fields[1])?,
        hour: small(fields[2])?,
        day: small(fields[3])?,
        month: small(fields[4])?.checked_add(1).ok_or(Errno::EINVAL)?,
        year: fields[5].checked_add(1900).ok_or(Errno::EINVAL)?,
    };
    // A day that the month does not have would come back as another one.
    let exact = time.is_plausible() && DateTime::from_unix(time.to_unix()) == time;
    exact.then_some(time).ok_or(Errno::EINVAL)
}

fn now() -> Result<DateTime> {
    rtc::time().ok_or(Errno::EIO)
}

impl FileOps for OpenRtc {
    fn read(&self, _: &File, _: &mut u64, buf: &mut dyn Sink) -> Result<usize> {
        let len = match buf.remaining() {
            4 => 4,
            8.. => 8,
            _ => return Err(Errno::EINVAL),
        };
        let events = self
            .0
            .state
            .with(|state| core::mem::take(&mut state.events));
        if events == 0 {
            return Err(Errno::EAGAIN);
        }
        if buf.put(&events.to_ne_bytes()[..len]) < len {
            // Still there for another attempt.
            self.0.state.with(|state| state.events |= events);
            return Err(Errno::EFAULT);
        }
        Ok(len)
    }

    fn poll(&self, _: &File, table: Option<&mut PollTable<'_>>) -> PollEvents {
        if let Some(table) = table {
            table.register(&self.0.readers);
        }
        if self.0.state.with(|state| state.events != 0) {
            PollEvents::READ
        } else {
            PollEvents::empty()
        }
    }

    fn ioctl(&self, _: &File, cmd: u32, arg: u64, mem: &dyn UserMemory) -> Result<u64> {
        let allowed = |cap: Cap| {
            let capable = current().cred().capable(cap);
            capable.then_some(()).ok_or(Errno::EACCES)
        };
        let rtc = &self.0;
        let state = rtc.state.with(|state| *state);
        match cmd {
            RTC_RD_TIME => write_time(mem, arg, now()?)?,
            RTC_SET_TIME => {
                allowed(Cap::SysTime)?;
                rtc::set_time(time_of(read_fields(mem, arg)?)?);
            }
            RTC_ALM_READ => write_time(mem, arg, DateTime::from_unix(state.alarm))?,
            RTC_ALM_SET => {
                // Only the time of day counts: today's, or else tomorrow's.
                let now = now()?;
                let mut fields = read_fields(mem, arg)?;
                fields[3] = now.day.into();
                fields[4] = i32::from(now.month) - 1;
                fields[5] = now.year - 1900;
                let at = time_of(fields)?.to_unix();
                rtc.alarm_at(if at <= now.to_unix() { at + DAY } else { at });
            }
            RTC_WKALM_RD => {
                mem.write(arg, &[u8::from(state.alarm_on), 0, 0, 0])?;
                write_time(mem, arg.wrapping_add(4), DateTime::from_unix(state.alarm))?;
            }
            RTC_WKALM_SET => {
                let mut head = [0; 4];
                mem.read(arg, &mut head)?;
                let at = time_of(read_fields(mem, arg.wrapping_add(4))?)?.to_unix();
                let now = now()?.to_unix();
                if at <= now {
                    return Err(Errno::ETIME);
                }
                if at - now > DAY {
                    return Err(Errno::EDOM);
                }
                rtc.alarm_at(at);
                rtc.set_alarm(head[0] != 0);
            }
            RTC_AIE_ON => rtc.set_alarm(true),
            RTC_AIE_OFF => rtc.set_alarm(false),
            RTC_UIE_ON => rtc.set_update(true),
            RTC_UIE_OFF => rtc.set_update(false),
            RTC_PIE_ON => {
                if state.rate > MAX_USER_RATE {
                    allowed(Cap::SysResource)?;
                }
                rtc.set_periodic(true);
            }
            RTC_PIE_OFF => rtc.set_periodic(false),
            RTC_IRQP_READ => mem.write(arg, &state.rate.to_ne_bytes())?,
            RTC_IRQP_SET => {
                if arg > MAX_USER_RATE {
                    allowed(Cap::SysResource)?;
                }
                if !(1..=MAX_RATE).contains(&arg) {
                    return Err(Errno::EINVAL);
                }
                rtc.state.with(|state| state.rate = arg);
                if state.periodic {
                    rtc.set_periodic(true);
                }
            }
            _ => return Err(Errno::ENOTTY),
        }
        Ok(0)
    }
}

/// Shows the date of the clock.
///
/// # Errors
/// `EIO` if it does not answer.
pub fn show_date(out: &mut Out) -> Result<()> {
    let time = now()?;
    put!(out, "{:04}-{:02}-{:02}\n", time.year, time.month, time.day);
    Ok(())
}

/// Shows the time of day of the clock.
///
/// # Errors
/// As [`show_date`].
pub fn show_time(out: &mut Out) -> Result<()> {
    let time = now()?;
    put!(
        out,
        "{:02}:{:02}:{:02}\n",
        time.hour,
        time.minute,
        time.second
    );
    Ok(())
}

/// Shows the clock's seconds since 1970.
///
/// # Errors
/// As [`show_date`].
pub fn show_since_epoch(out: &mut Out) -> Result<()> {
    put!(out, "{}\n", now()?.to_unix());
    Ok(())
}

/// Shows `/proc/driver/rtc`.
///
/// # Errors
/// As [`show_date`]; `ENODEV` if there is no clock.
pub fn show_driver(out: &mut Out) -> Result<()> {
    let state = rtc()?.state.with(|state| *state);
    let alarm = DateTime::from_unix(state.alarm);
    let (decimal, hours_24, battery) = rtc::condition();
    let yes = |on: bool| if on { "yes" } else { "no" };
    put!(out, "rtc_time\t: ");
    show_time(out)?;
    put!(out, "rtc_date\t: ");
    show_date(out)?;
    put!(
        out,
        "alrm_time\t: {:02}:{:02}:{:02}\n",
        alarm.hour,
        alarm.minute,
        alarm.second
    );
    put!(
        out,
        "alrm_date\t: {:04}-{:02}-{:02}\n",
        alarm.year,
        alarm.month,
        alarm.day
    );
    put!(
        out,
        "alarm_IRQ\t: {}\nalrm_pending\t: no\n",
        yes(state.alarm_on)
    );
    put!(out, "update IRQ enabled\t: {}\n", yes(state.update));
    put!(out, "periodic IRQ enabled\t: {}\n", yes(state.periodic));
    put!(out, "periodic IRQ frequency\t: {}\n", state.rate);
    put!(
        out,
        "max user IRQ frequency\t: {MAX_USER_RATE}\n24hr\t\t: {}\n",
        yes(hours_24)
    );
    put!(
        out,
        "periodic_IRQ\t: {}\nupdate_IRQ\t: {}\n",
        yes(state.periodic),
        yes(state.update)
    );
    put!(
        out,
        "HPET_emulated\t: no\nBCD\t\t: {}\nDST_enable\t: no\n",
        yes(decimal)
    );
    let battery = if battery { "okay" } else { "dead" };
    put!(
        out,
        "periodic_freq\t: {}\nbatt_status\t: {battery}\n",
        state.rate
    );
    Ok(())
}
