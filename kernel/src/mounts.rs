//! The tree of mounts that all processes see.

use alloc::sync::Arc;

use conquer_once::noblock::OnceCell;
use fs::mount::MountNamespace;

static NAMESPACE: OnceCell<Arc<MountNamespace>> = OnceCell::uninit();

/// Names the tree. Context: boot, once.
pub fn set_namespace(namespace: Arc<MountNamespace>) {
    let _ = NAMESPACE.try_init_once(|| namespace);
}

/// The tree.
///
/// # Panics
/// Before the root file system is there.
pub fn namespace() -> &'static Arc<MountNamespace> {
    NAMESPACE
        .try_get()
        .expect("the root is mounted before anything asks")
}
