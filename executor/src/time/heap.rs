//! A heap whose nodes are the timers themselves.
//!
//! A pairing heap: adding melds a single node with the root in one step; taking any node out melds its children, O(log n)
//! amortised. Nothing is allocated and nothing recurses. (Fredman, Sedgewick, Sleator, Tarjan: The pairing heap,
//! Algorithmica 1, 1986.)

use core::ptr::{self, NonNull};

use super::{Instant, queue::TimerNode};

/// When a node's turn comes: by time, and among equals by arrival.
pub(super) type Key = (Instant, u64);

/// A node's links. They belong to the heap while the node is in it.
pub(super) struct Links {
    pub(super) key: Key,
    /// The first child.
    child: *mut TimerNode,
    /// The parent of a first child, the sibling before of another, null at the root.
    prev: *mut TimerNode,
    /// The sibling after.
    next: *mut TimerNode,
}

impl Links {
    pub(super) const fn new() -> Self {
        Self {
            key: (Instant::MAX, 0),
            child: ptr::null_mut(),
            prev: ptr::null_mut(),
            next: ptr::null_mut(),
        }
    }
}

/// The heap: the first to come is its root.
pub(super) struct Heap {
    root: *mut TimerNode,
}

// SAFETY: the heap is used under its queue's lock only, and nodes are `Send`.
unsafe impl Send for Heap {}

/// The links of a node.
///
/// # Safety
/// The node is in the heap whose lock the caller holds, or about to enter it; no other reference to its links is held.
unsafe fn links<'a>(node: NonNull<TimerNode>) -> &'a mut Links {
    // SAFETY: nodes in a heap live, and the lock gives them to us.
    unsafe { node.as_ref().links() }
}

/// Joins two trees; the root of the result is the one that comes first.
///
/// # Safety
/// Both are roots, of trees of the caller's heap, with neither `prev` nor `next`.
unsafe fn meld(a: NonNull<TimerNode>, b: NonNull<TimerNode>) -> NonNull<TimerNode> {
    // SAFETY: by the contract.
    let (ka, kb) = unsafe { (links(a).key, links(b).key) };
    let (top, below) = if kb < ka { (b, a) } else { (a, b) };
    // SAFETY: by the contract; `top` and `below` are different nodes.
    unsafe {
        let first = links(top).child;
        links(below).next = first;
        links(below).prev = top.as_ptr();
        if let Some(first) = NonNull::new(first) {
            links(first).prev = below.as_ptr();
        }
        links(top).child = below.as_ptr();
    }
    top
}

/// Melds a row of siblings into one tree: in pairs from the left, then the pairs from the right.
///
/// # Safety
/// `first` and its `next`s are trees of the caller's heap that have been cut off it.
unsafe fn meld_row(first: *mut TimerNode) -> *mut TimerNode {
    // Pairs are chained through `next`, the latest first.
    let mut pairs: *mut TimerNode = ptr::null_mut();
    let mut rest = first;
    while let Some(a) = NonNull::new(rest) {
        // SAFETY: the row is ours; each node is detached before it is melded.
        unsafe {
            let b = NonNull::new(links(a).next);
            detach(a);
            let pair = match b {
                Some(b) => {
                    rest = links(b).next;
                    detach(b);
                    meld(a, b)
                }
                None => {
                    rest = ptr::null_mut();
                    a
                }
            };
            links(pair).next = pairs;
            pairs = pair.as_ptr();
        }
    }
    let Some(mut tree) = NonNull::new(pairs) else {
        return ptr::null_mut();
    };
    // SAFETY: as above.
    unsafe {
        let mut rest = links(tree).next;
        links(tree).next = ptr::null_mut();
        while let Some(pair) = NonNull::new(rest) {
            rest = links(pair).next;
            links(pair).next = ptr::null_mut();
            tree = meld(tree, pair);
        }
    }
    tree.as_ptr()
}

/// Makes a node a root by itself.
///
/// # Safety
/// As [`links`]; nobody refers to the node as a sibling or child any more.
unsafe fn detach(node: NonNull<TimerNode>) {
    // SAFETY: by the contract.
    let links = unsafe { links(node) };
    links.prev = ptr::null_mut();
    links.next = ptr::null_mut();
}

impl Heap {
    pub(super) const fn new() -> Self {
        Self {
            root: ptr::null_mut(),
        }
    }

    /// The node whose turn comes first.
    #[inline]
    pub(super) fn first(&self) -> Option<NonNull<TimerNode>> {
        NonNull::new(self.root)
    }

    /// When the first node's turn comes.
    #[inline]
    pub(super) fn first_deadline(&self) -> Option<Instant> {
        // SAFETY: the root is in this heap, which the caller has locked to call this.
        self.first().map(|root| unsafe { links(root) }.key.0)
    }

    /// Adds a node. True if it comes first now.
    ///
    /// # Safety
    /// Under the queue's lock; the node is in no heap and stays where it is until it is taken out.
    pub(super) unsafe fn insert(&mut self, node: NonNull<TimerNode>, key: Key) -> bool {
        // SAFETY: the node is about to enter this heap.
        *unsafe { links(node) } = Links {
            key,
            ..Links::new()
        };
        self.root = match self.first() {
            // SAFETY: both are roots.
            Some(root) => unsafe { meld(root, node) }.as_ptr(),
            None => node.as_ptr(),
        };
        self.root == node.as_ptr()
    }

    /// Calls `f` with each node, in no order.
    ///
    /// # Safety
    /// Under the queue's lock.
    pub(super) unsafe fn each(&self, mut f: impl FnMut(NonNull<TimerNode>)) {
        let mut at = self.first();
        while let Some(node) = at {
            f(node);
            // SAFETY: the nodes met are in this heap, whose links the lock gives to us.
            at = unsafe { Self::after(node) };
        }
    }

    /// The node after `node`, where children come before siblings: each link is followed once in each direction.
    ///
    /// # Safety
    /// As [`Heap::each`]; the node is in this heap.
    unsafe fn after(node: NonNull<TimerNode>) -> Option<NonNull<TimerNode>> {
        // SAFETY: by the contract.
        if let Some(child) = NonNull::new(unsafe { links(node) }.child) {
            return Some(child);
        }
        let mut at = node;
        loop {
            // SAFETY: siblings and parents of a node of the heap are nodes of it.
            if let Some(next) = NonNull::new(unsafe { links(at) }.next) {
                return Some(next);
            }
            // Back to the first of the row, and then up.
            loop {
                // SAFETY: as above.
                let prev = NonNull::new(unsafe { links(at) }.prev)?;
                // SAFETY: as above.
                let was_first = unsafe { links(prev) }.child == at.as_ptr();
                at = prev;
                if was_first {
                    break;
                }
            }
        }
    }

    /// Takes a node out.
    ///
    /// # Safety
    /// Under the queue's lock; the node is in this heap.
    pub(super) unsafe fn remove(&mut self, node: NonNull<TimerNode>) {
        // SAFETY: all nodes touched are in this heap.
        unsafe {
            let row = links(node).child;
            links(node).child = ptr::null_mut();
            let (prev, next) = (links(node).prev, links(node).next);
            detach(node);
            let children = meld_row(row);
            let Some(prev) = NonNull::new(prev) else {
                self.root = children;
                return;
            };
            if links(prev).child == node.as_ptr() {
                links(prev).child = next;
            } else {
                links(prev).next = next;
            }
            if let Some(next) = NonNull::new(next) {
                links(next).prev = prev.as_ptr();
            }
            if let Some(children) = NonNull::new(children) {
                let root = NonNull::new_unchecked(self.root);
                self.root = meld(root, children).as_ptr();
            }
        }
    }
}
