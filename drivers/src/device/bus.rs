//! Buses and their devices.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::ops::Deref;

use executor::sync::SpinLock;
use executor::{Scope, ScopedHandle};

use super::heir::with_heir;
use super::model::Deferring;
use super::{Describe, Described, Driver, DriverError, Heir, Interface, Model, Published};

/// Whom a device has.
enum State<D: 'static> {
    /// Nobody.
    Free,
    /// A driver that is finding out whether it can serve it.
    Probing(&'static Driver<D>),
    /// Nobody until what a driver needs is there.
    Deferred,
    /// A driver.
    Bound(&'static Driver<D>),
    /// Nobody any more: it is unplugged.
    Gone,
}

impl<D> State<D> {
    fn driver(&self) -> Option<&'static Driver<D>> {
        match self {
            Self::Probing(driver) | Self::Bound(driver) => Some(driver),
            _ => None,
        }
    }
}

/// A device of a bus whose own kind of devices is `D`, which it dereferences to.
pub struct Device<D: 'static> {
    name: String,
    path: String,
    bus: Weak<Bus<D>>,
    state: SpinLock<State<D>>,
    /// What its driver has spawned; a new one for each driver.
    scope: SpinLock<Arc<Scope>>,
    /// What is to be done if a task of its driver dies.
    wills: SpinLock<Vec<Will>>,
    data: D,
}

/// What a driver leaves for the case that it dies.
type Will = Box<dyn FnOnce() + Send>;

/// Sees to a device one of whose driver's tasks has died.
struct DeviceHeir<D: 'static> {
    bus: Weak<Bus<D>>,
    device: String,
    scope: Weak<Scope>,
}

impl<D: Describe> Heir for DeviceHeir<D> {
    fn died(&self) {
        let Some(scope) = self.scope.upgrade() else {
            return;
        };
        scope.bury();
        if let Some((bus, device)) = self.bus.upgrade().zip(self.device()) {
            // By a task that is in good order.
            executor::spawn("driver-died", async move {
                bus.bereave(&device, &scope).await;
            })
            .detach();
        }
    }
}

impl<D: Describe> DeviceHeir<D> {
    /// The device, unless it has been taken from that driver since.
    fn device(&self) -> Option<Arc<Device<D>>> {
        self.bus.upgrade()?.device(&self.device)
    }
}

impl<D: Describe> Device<D> {
    /// Its name on its bus.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its directory, from the top of sysfs.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The driver that serves it, if one does.
    pub fn driver(&self) -> Option<&'static str> {
        match &*self.state.lock() {
            State::Bound(driver) => Some(driver.name),
            _ => None,
        }
    }

    /// Its bus, unless that is gone.
    pub fn bus(&self) -> Option<Arc<Bus<D>>> {
        self.bus.upgrade()
    }

    /// Whether a driver has put it off.
    pub fn is_deferred(&self) -> bool {
        matches!(&*self.state.lock(), State::Deferred)
    }

    /// Whether it was unplugged.
    pub fn is_gone(&self) -> bool {
        matches!(&*self.state.lock(), State::Gone)
    }

    /// Says that the driver which runs has found its device and serves it from now on.
    ///
    /// # Context
    /// Task: the driver's.
    pub fn bound(&self) {
        let driver = {
            let mut state = self.state.lock();
            let State::Probing(driver) = *state else {
                return;
            };
            *state = State::Bound(driver);
            driver
        };
        if let Some(bus) = self.bus.upgrade() {
            let upper = bus.model.upper();
            upper.bound(bus.name, &self.name, &self.path, driver.name);
            bus.model.bound();
            bus.model.probed.wake_all();
        }
    }

    /// Spawns a task that ends when the device or its driver goes.
    ///
    /// # Context
    /// Task.
    /// # Panics
    /// As [`Scope::spawn`].
    pub fn spawn<F>(&self, name: &'static str, future: F) -> ScopedHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let scope = self.scope.lock().clone();
        let heir: Arc<dyn Heir> = Arc::new(DeviceHeir {
            bus: self.bus.clone(),
            device: self.name.clone(),
            scope: Arc::downgrade(&scope),
        });
        scope.spawn(name, with_heir(heir, future))
    }

    /// Has `will` done if a task of the driver dies by a panic: then its future is never dropped, nor what that owns. For what
    /// others wait for.
    ///
    /// # Context
    /// Task.
    pub fn if_it_dies(&self, will: impl FnOnce() + Send + 'static) {
        self.wills.lock().push(Box::new(will));
    }

    /// Makes what the driver offers reachable for programs, until the answer is dropped.
    ///
    /// # Context
    /// Task.
    /// # Errors
    /// [`DriverError::NoPlace`], or [`DriverError::Gone`] if the bus is gone.
    pub fn publish(&self, interface: Interface) -> Result<Published, DriverError> {
        let published = self.model()?.upper().publish(&self.path, interface);
        let published = published.ok_or(DriverError::NoPlace)?;
        self.if_it_dies(published.revoker());
        Ok(published)
    }

    /// What all buses share.
    ///
    /// # Errors
    /// [`DriverError::Gone`] if the bus is gone.
    pub fn model(&self) -> Result<Arc<Model>, DriverError> {
        let bus = self.bus.upgrade().ok_or(DriverError::Gone)?;
        Ok(bus.model.clone())
    }

    /// Takes the driver away and waits until its tasks are gone; `after` is what the device is then.
    async fn detach(&self, after: State<D>) {
        let (before, scope) = {
            let mut state = self.state.lock();
            let before = core::mem::replace(&mut *state, after);
            (before, core::mem::take(&mut *self.scope.lock()))
        };
        scope.cancel();
        scope.join().await;
        if let (State::Bound(driver), Some(bus)) = (before, self.bus.upgrade()) {
            let upper = bus.model.upper();
            upper.unbound(bus.name, &self.name, &self.path, driver.name);
        }
    }
}

impl<D> Deref for Device<D> {
    type Target = D;
    fn deref(&self) -> &D {
        &self.data
    }
}

impl<D> fmt::Debug for Device<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A bus: its devices and their drivers.
pub struct Bus<D: 'static> {
    name: &'static str,
    model: Arc<Model>,
    own: Weak<Bus<D>>,
    inner: SpinLock<Inner<D>>,
}

struct Inner<D: 'static> {
    devices: Vec<Arc<Device<D>>>,
    drivers: Vec<&'static Driver<D>>,
}

impl<D: Describe> Bus<D> {
    /// An empty bus.
    pub fn new(name: &'static str, model: &Arc<Model>) -> Arc<Self> {
        let bus = Arc::new_cyclic(|own| Self {
            name,
            model: model.clone(),
            own: own.clone(),
            inner: SpinLock::new(Inner {
                devices: Vec::new(),
                drivers: Vec::new(),
            }),
        });
        let deferring: Arc<dyn Deferring> = bus.clone();
        model.add(Arc::downgrade(&deferring));
        model.upper().bus_added(name);
        bus
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The devices there are now. They may go while one looks, and stay as long as one holds them.
    pub fn devices(&self) -> Vec<Arc<Device<D>>> {
        self.inner.lock().devices.clone()
    }

    /// The device of that name.
    pub fn device(&self, name: &str) -> Option<Arc<Device<D>>> {
        let inner = self.inner.lock();
        inner.devices.iter().find(|d| d.name == name).cloned()
    }

    /// Adds a device, whose directory is `path`, and starts the driver that matches, if there is one.
    ///
    /// # Context
    /// Task.
    pub fn add_device(&self, name: &str, path: &str, data: D) -> Arc<Device<D>> {
        let device = Arc::new(Device {
            name: name.to_owned(),
            path: path.to_owned(),
            bus: self.own.clone(),
            state: SpinLock::new(State::Free),
            scope: SpinLock::default(),
            wills: SpinLock::default(),
            data,
        });
        self.model.upper().device_added(&Described {
            bus: self.name,
            name,
            path,
            attributes: device.data.attributes(),
            uevent: device.data.uevent(),
        });
        self.inner.lock().devices.push(device.clone());
        self.attach(&device, None);
        device
    }

    /// Adds a driver, and starts it for each device that matches and has none.
    ///
    /// # Context
    /// Task.
    pub fn add_driver(&self, driver: &'static Driver<D>) {
        self.model.upper().driver_added(self.name, driver.name);
        let devices = {
            let mut inner = self.inner.lock();
            inner.drivers.push(driver);
            inner.devices.clone()
        };
        devices.iter().for_each(|device| {
            self.start(device, driver);
        });
    }

    /// Unplugs a device: its driver's tasks are gone, and their requests have failed, when this is through. False if there
    /// is none of that name.
    ///
    /// # Context
    /// Task; not one of the device's own.
    /// # Cancel safety
    /// The device is taken off the bus at once and its tasks end in any case.
    pub async fn remove_device(&self, name: &str) -> bool {
        let device = {
            let mut inner = self.inner.lock();
            let Some(at) = inner.devices.iter().position(|d| d.name == name) else {
                return false;
            };
            inner.devices.remove(at)
        };
        device.detach(State::Gone).await;
        let upper = self.model.upper();
        upper.device_removed(self.name, &device.name, &device.path);
        true
    }

    /// Takes a driver away from all its devices, and off the bus.
    ///
    /// # Context
    /// Task.
    pub async fn remove_driver(&self, driver: &'static Driver<D>) {
        let devices = {
            let mut inner = self.inner.lock();
            inner.drivers.retain(|own| !core::ptr::eq(*own, driver));
            inner.devices.clone()
        };
        for device in devices {
            let own = device.state.lock().driver();
            if own.is_some_and(|own| core::ptr::eq(own, driver)) {
                device.detach(State::Free).await;
            }
        }
        self.model.upper().driver_removed(self.name, driver.name);
    }

    /// Takes a device's driver away; it has none until one is added or [`Bus::bind`] is called. False if it had none.
    ///
    /// # Context
    /// Task.
    pub async fn unbind(&self, name: &str) -> bool {
        let Some(device) = self.device(name) else {
            return false;
        };
        let has = device.state.lock().driver().is_some();
        if has {
            device.detach(State::Free).await;
        }
        has
    }

    /// Starts the drivers that match a device which has none. False if none does.
    ///
    /// # Context
    /// Task.
    pub fn bind(&self, name: &str) -> bool {
        self.device(name)
            .is_some_and(|device| self.attach(&device, None))
    }

    /// Waits until no driver is still finding out whether it can serve a device.
    pub async fn settle(&self) {
        let busy = |device: &Arc<Device<D>>| matches!(*device.state.lock(), State::Probing(_));
        let settled = || (!self.devices().iter().any(busy)).then_some(());
        self.model.probed.wait_until(settled).await;
    }

    /// Starts the first driver that matches, after `after` if that has failed.
    fn attach(&self, device: &Arc<Device<D>>, after: Option<&'static Driver<D>>) -> bool {
        let drivers = self.inner.lock().drivers.clone();
        let first = after.and_then(|last| drivers.iter().position(|own| core::ptr::eq(*own, last)));
        let mut rest = drivers.iter().skip(first.map_or(0, |at| at + 1));
        rest.any(|driver| self.start(device, driver))
    }

    /// Starts a driver for a device, if they match and the device is free.
    fn start(&self, device: &Arc<Device<D>>, driver: &'static Driver<D>) -> bool {
        if !(driver.matches)(&device.data) {
            return false;
        }
        {
            let mut state = device.state.lock();
            if !matches!(*state, State::Free | State::Deferred) {
                return false;
            }
            *state = State::Probing(driver);
        }
        // Those of a driver that is gone: what they were for went with it.
        drop(core::mem::take(&mut *device.wills.lock()));
        let binds = self.model.binds();
        let (bus, own) = (self.own.clone(), device.clone());
        let life = async move {
            let end = (driver.run)(own.clone()).await;
            if let Some(bus) = bus.upgrade() {
                bus.ended(&own, driver, end, binds);
            }
        };
        device.spawn(driver.name, life).detach();
        true
    }

    /// A task of a device's driver has died, which had `scope`: fails what others wait for, and ends its other tasks.
    async fn bereave(&self, device: &Arc<Device<D>>, scope: &Arc<Scope>) {
        let is_same = || Arc::ptr_eq(&device.scope.lock(), scope);
        if !is_same() {
            // Whoever takes the device from the driver waits for its tasks, and sees to the rest.
            return;
        }
        let wills = core::mem::take(&mut *device.wills.lock());
        wills.into_iter().for_each(|will| will());
        scope.cancel();
        scope.join().await;
        let before = {
            let mut state = device.state.lock();
            if !is_same() {
                return;
            }
            *device.scope.lock() = Arc::default();
            core::mem::replace(&mut *state, State::Free)
        };
        let (bus, name) = (self.name, &device.name);
        if let Some(driver) = before.driver() {
            log::error!("{bus} {name}: {}: its task died", driver.name);
        }
        if let State::Bound(driver) = before {
            let upper = self.model.upper();
            upper.unbound(bus, name, &device.path, driver.name);
        }
        self.model.probed.wake_all();
    }

    /// A driver's future has come to its end by itself.
    fn ended(
        &self,
        device: &Arc<Device<D>>,
        driver: &'static Driver<D>,
        end: Result<(), DriverError>,
        binds: usize,
    ) {
        let (bus, name) = (self.name, &device.name);
        let error = match end {
            // Whatever it spawned goes on.
            Ok(()) => return device.bound(),
            Err(error) => error,
        };
        let was_bound = {
            let mut state = device.state.lock();
            let was_bound = matches!(*state, State::Bound(_));
            match *state {
                State::Gone => return,
                _ if error == DriverError::Defer => *state = State::Deferred,
                _ => *state = State::Free,
            }
            was_bound
        };
        let scope = device.scope.lock().clone();
        if was_bound {
            log::error!("{bus} {name}: {}: {error}", driver.name);
            self.model
                .upper()
                .unbound(bus, name, &device.path, driver.name);
            scope.cancel();
            *device.scope.lock() = Arc::default();
            return;
        }
        self.model.probed.wake_all();
        match error {
            // What it waits for may have come while it was looking.
            DriverError::Defer if self.model.binds() == binds => {}
            DriverError::Defer => {
                self.attach(device, None);
            }
            _ => {
                if error != DriverError::NotMine {
                    log::warn!("{bus} {name}: {}: probe failed: {error}", driver.name);
                }
                self.attach(device, Some(driver));
            }
        }
    }
}

impl<D: Describe> Deferring for Bus<D> {
    fn retry(&self) {
        for device in self.devices() {
            if device.is_deferred() {
                self.attach(&device, None);
            }
        }
    }
}

impl<D> fmt::Debug for Bus<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bus").field(&self.name).finish()
    }
}
