//! Dentries: names that lead to inodes, and the cache of them.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use crate::inode::Inode;
use crate::sync::SpinLock;

/// Where a dentry hangs; changes by rename.
#[derive(Clone)]
struct Place {
    parent: Option<Arc<Dentry>>,
    name: Arc<[u8]>,
}

/// A name in a directory. The inode it leads to never changes: a name that is taken or freed gets a new dentry.
pub struct Dentry {
    inode: Option<Arc<Inode>>,
    place: SpinLock<Place>,
}

impl fmt::Debug for Dentry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dentry({:?})", self.name().escape_ascii())
    }
}

impl Dentry {
    /// Makes the root of a file system; also an object without a directory, such as a pipe.
    pub fn root(inode: Arc<Inode>, name: &[u8]) -> Arc<Dentry> {
        Arc::new(Dentry {
            inode: Some(inode),
            place: SpinLock::new(Place {
                parent: None,
                name: Arc::from(Box::from(name)),
            }),
        })
    }

    /// Returns the inode; `None` if the name is known not to exist.
    #[inline]
    pub fn inode(&self) -> Option<&Arc<Inode>> {
        self.inode.as_ref()
    }

    /// Returns the name.
    pub fn name(&self) -> Arc<[u8]> {
        self.place.lock().name.clone()
    }

    /// Returns the directory's dentry; `None` for a root.
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.place.lock().parent.clone()
    }
}
