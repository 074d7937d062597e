//! The ordered tree of waiting tasks: an AVL tree whose nodes are the tasks' own [`Node`]s.
//!
//! Each node also knows the least vruntime below it, so that the fair class finds the first *eligible* task in one
//! descent. Insertion and removal allocate nothing; both recurse as deep as the tree is high, which for n nodes is at
//! most 1.44 log2(n + 2): 29 levels for a million tasks.
//!
//! The first node in order stands in front of the tree, so that queues of one or two tasks, which most are, need no
//! descent and no balancing.

use alloc::boxed::Box;
use core::cmp::Ordering;

use crate::fill;
use crate::node::Node;

/// Where a node stands: by `major`, and among equals by `seq`, which is unique in its tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// Deadline or priority. Compared by signed distance, so that virtual times may wrap.
    pub major: u64,
    /// Order of arrival.
    pub seq: i64,
}

impl Key {
    #[inline]
    fn order(self, other: Key) -> Ordering {
        #[cfg(test)]
        tests::COMPARISONS.with(|count| count.set(count.get() + 1));
        (self.major.wrapping_sub(other.major) as i64)
            .cmp(&0)
            .then(self.seq.cmp(&other.seq))
    }
}

/// The tree's part of a node.
#[derive(Debug)]
pub struct Link<T> {
    left: Subtree<T>,
    right: Subtree<T>,
    height: u8,
    /// The least vruntime in the subtree of this node, itself included.
    min_vruntime: u64,
}

impl<T> Default for Link<T> {
    fn default() -> Self {
        Self {
            left: None,
            right: None,
            height: 1,
            min_vruntime: 0,
        }
    }
}

type Subtree<T> = Option<Box<Node<T>>>;

/// An ordered set of nodes.
#[derive(Debug)]
pub struct Tree<T> {
    /// The first node in order; there unless the set is empty.
    front: Subtree<T>,
    /// All others.
    root: Subtree<T>,
    len: usize,
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Tree<T> {
    /// An empty tree.
    pub const fn new() -> Self {
        Self {
            front: None,
            root: None,
            len: 0,
        }
    }

    /// How many nodes there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.front.is_none()
    }

    /// Adds `node` at its key, which no node here has.
    #[inline(always)]
    pub fn insert(&mut self, node: Box<Node<T>>) {
        self.len += 1;
        let later = match self.front.take() {
            None => {
                fill(&mut self.front, node);
                return;
            }
            Some(front) if node.key.order(front.key) == Ordering::Less => {
                fill(&mut self.front, node);
                front
            }
            Some(front) => {
                fill(&mut self.front, front);
                node
            }
        };
        self.insert_later(later);
    }

    fn insert_later(&mut self, mut node: Box<Node<T>>) {
        debug_assert!(node.link.left.is_none() && node.link.right.is_none());
        node.link.height = 1;
        node.link.min_vruntime = node.fair.vruntime;
        self.root = Some(match self.root.take() {
            None => node,
            root => insert(root, node),
        });
    }

    /// The first node in order.
    #[inline]
    pub fn first(&self) -> Option<&Node<T>> {
        self.front.as_deref()
    }

    /// Takes the first node in order.
    #[inline]
    pub fn pop_first(&mut self) -> Option<Box<Node<T>>> {
        let first = self.front.take()?;
        if self.len == 2 {
            self.front = self.root.take();
        } else if let Some(root) = self.root.take() {
            let (next, rest) = pop_first(root);
            self.front = Some(next);
            self.root = rest;
        }
        self.len -= 1;
        Some(first)
    }

    /// Takes the one node of a tree that has no more than that.
    #[inline(always)]
    pub fn pop_only(&mut self) -> Option<Box<Node<T>>> {
        debug_assert!(self.len <= 1);
        self.len = 0;
        self.front.take()
    }

    /// Takes the node at `key`.
    pub fn remove(&mut self, key: Key) -> Option<Box<Node<T>>> {
        if self.first()?.key == key {
            return self.pop_first();
        }
        let (rest, found) = remove(self.root.take(), key);
        self.root = rest;
        self.len -= usize::from(found.is_some());
        found
    }

    /// The first node in order whose vruntime `eligible` accepts. `eligible` must be monotonic: what holds
    /// for a vruntime holds for every lesser one.
    pub fn first_eligible(&self, eligible: impl Fn(u64) -> bool) -> Option<&Node<T>> {
        let front = self.first()?;
        if eligible(front.fair.vruntime) {
            return Some(front);
        }
        let mut at = self.root.as_deref()?;
        loop {
            match at.link.left.as_deref() {
                Some(left) if eligible(left.link.min_vruntime) => at = left,
                _ if eligible(at.fair.vruntime) => return Some(at),
                _ => at = at.link.right.as_deref()?,
            }
        }
    }

    /// Takes some node for which `matches` holds, looking at each in turn.
    pub fn remove_where(
        &mut self,
        mut matches: impl FnMut(&Node<T>) -> bool,
    ) -> Option<Box<Node<T>>> {
        if matches(self.first()?) {
            return self.pop_first();
        }
        let key = find(self.root.as_deref(), &mut matches)?;
        self.remove(key)
    }

    /// Calls `f` for one node after the other, in order, while it says to go on; whether it always did.
    pub fn visit(&self, mut f: impl FnMut(&Node<T>) -> bool) -> bool {
        self.first()
            .is_none_or(|front| f(front) && visit(self.root.as_deref(), &mut f))
    }

    /// Calls `f` for every node, in order.
    pub fn for_each(&self, mut f: impl FnMut(&Node<T>)) {
        if let Some(front) = self.first() {
            f(front);
            walk(self.root.as_deref(), &mut f);
        }
    }
}

fn walk<T>(at: Option<&Node<T>>, f: &mut impl FnMut(&Node<T>)) {
    if let Some(node) = at {
        walk(node.link.left.as_deref(), f);
        f(node);
        walk(node.link.right.as_deref(), f);
    }
}

fn visit<T>(at: Option<&Node<T>>, f: &mut impl FnMut(&Node<T>) -> bool) -> bool {
    at.is_none_or(|node| {
        visit(node.link.left.as_deref(), f) && f(node) && visit(node.link.right.as_deref(), f)
    })
}

fn find<T>(at: Option<&Node<T>>, matches: &mut impl FnMut(&Node<T>) -> bool) -> Option<Key> {
    let node = at?;
    if matches(node) {
        return Some(node.key);
    }
    find(node.link.left.as_deref(), matches).or_else(|| find(node.link.right.as_deref(), matches))
}

/// Height of a subtree and the least vruntime in it, or `otherwise` if it is empty.
#[inline(always)]
fn summary<T>(tree: &Subtree<T>, otherwise: u64) -> (u8, u64) {
    match tree {
        Some(node) => (node.link.height, node.link.min_vruntime),
        None => (0, otherwise),
    }
}

#[inline(always)]
fn height<T>(tree: &Subtree<T>) -> i32 {
    summary(tree, 0).0.into()
}

#[inline(always)]
fn earlier(a: u64, b: u64) -> u64 {
    if (a.wrapping_sub(b) as i64) < 0 { a } else { b }
}

/// Recomputes what a node says of its subtree.
#[inline(always)]
fn update<T>(node: &mut Node<T>) {
    let own = node.fair.vruntime;
    let (left, left_min) = summary(&node.link.left, own);
    let (right, right_min) = summary(&node.link.right, own);
    node.link.min_vruntime = earlier(left_min, earlier(right_min, own));
    node.link.height = 1 + left.max(right);
}

fn rotate_right<T>(mut node: Box<Node<T>>) -> Box<Node<T>> {
    let mut top = node
        .link
        .left
        .take()
        .expect("only a node with a left child is turned right");
    node.link.left = top.link.right.take();
    update(&mut node);
    top.link.right = Some(node);
    update(&mut top);
    top
}

fn rotate_left<T>(mut node: Box<Node<T>>) -> Box<Node<T>> {
    let mut top = node
        .link
        .right
        .take()
        .expect("only a node with a right child is turned left");
    node.link.right = top.link.left.take();
    update(&mut node);
    top.link.left = Some(node);
    update(&mut top);
    top
}

#[inline]
fn balance<T>(mut node: Box<Node<T>>) -> Box<Node<T>> {
    let lean = height(&node.link.left) - height(&node.link.right);
    if !(-1..=1).contains(&lean) {
        return turn(node, lean);
    }
    update(&mut node);
    node
}

/// Balances a node that leans by two.
#[cold]
fn turn<T>(mut node: Box<Node<T>>, lean: i32) -> Box<Node<T>> {
    if lean > 0 {
        let left = node
            .link
            .left
            .take()
            .expect("the left side is the higher one");
        let inner = height(&left.link.right) > height(&left.link.left);
        node.link.left = Some(if inner { rotate_left(left) } else { left });
        return rotate_right(node);
    }
    let right = node
        .link
        .right
        .take()
        .expect("the right side is the higher one");
    let inner = height(&right.link.left) > height(&right.link.right);
    node.link.right = Some(if inner { rotate_right(right) } else { right });
    rotate_left(node)
}

fn insert<T>(tree: Subtree<T>, new: Box<Node<T>>) -> Box<Node<T>> {
    let Some(mut node) = tree else { return new };
    let side = match new.key.order(node.key) {
        Ordering::Less => &mut node.link.left,
        _ => &mut node.link.right,
    };
    *side = Some(insert(side.take(), new));
    balance(node)
}

fn pop_first<T>(mut node: Box<Node<T>>) -> (Box<Node<T>>, Subtree<T>) {
    match node.link.left.take() {
        None => {
            let rest = node.link.right.take();
            (node, rest)
        }
        Some(left) => {
            let (first, rest) = pop_first(left);
            node.link.left = rest;
            (first, Some(balance(node)))
        }
    }
}

fn remove<T>(tree: Subtree<T>, key: Key) -> (Subtree<T>, Subtree<T>) {
    let Some(mut node) = tree else {
        return (None, None);
    };
    let found = match key.order(node.key) {
        Ordering::Less => {
            let (rest, found) = remove(node.link.left.take(), key);
            node.link.left = rest;
            found
        }
        Ordering::Greater => {
            let (rest, found) = remove(node.link.right.take(), key);
            node.link.right = rest;
            found
        }
        Ordering::Equal => {
            let left = node.link.left.take();
            let rest = match node.link.right.take() {
                None => left,
                Some(right) => {
                    let (mut next, rest) = pop_first(right);
                    next.link.left = left;
                    next.link.right = rest;
                    Some(balance(next))
                }
            };
            return (rest, Some(node));
        }
    };
    (Some(balance(node)), found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;
    use core::cell::Cell;

    extern crate std;

    std::thread_local! {
        /// How often this thread's test has compared two keys.
        pub(super) static COMPARISONS: Cell<u64> = const { Cell::new(0) };
    }

    /// An AVL tree of n nodes is at most 1.44 log2(n + 2) high (Adelson-Velsky and Landis, 1962). Insertion and removal
    /// compare once a level, and with the node in front of the tree.
    #[test]
    fn comparisons_grow_no_faster_than_the_logarithm() {
        for n in [10u64, 100, 1000, 10_000, 100_000] {
            let mut next = rng(n);
            let mut tree = Tree::new();
            let bound = (1.44 * (n as f64 + 2.0).log2()).ceil() as u64 + 2;
            let count = |f: &mut dyn FnMut()| {
                let before = COMPARISONS.get();
                f();
                let took = COMPARISONS.get() - before;
                assert!(took <= bound, "{took} comparisons at {n}, bound {bound}");
            };
            for seq in 0..n as i64 {
                let node = node(next(1 << 30), seq, 0);
                let mut node = Some(node);
                count(&mut || tree.insert(node.take().expect("once")));
            }
            for seq in n as i64..n as i64 + 1000 {
                let mut first = None;
                count(&mut || first = tree.pop_first());
                let first = first.expect("the tree is full");
                let major = first.key.major + next(1 << 30);
                let mut again = Some(node(major, seq, 0));
                count(&mut || tree.insert(again.take().expect("once")));
            }
        }
    }

    fn node(major: u64, seq: i64, vruntime: u64) -> Box<Node<u32>> {
        let mut node = Node::new(Policy::default());
        node.key = Key { major, seq };
        node.fair.vruntime = vruntime;
        node
    }

    fn check(tree: &Subtree<u32>) -> (i32, u64) {
        let Some(node) = tree else {
            return (0, u64::MAX);
        };
        let (lh, lm) = check(&node.link.left);
        let (rh, rm) = check(&node.link.right);
        assert!((lh - rh).abs() <= 1, "unbalanced");
        let min = lm.min(rm).min(node.fair.vruntime);
        assert_eq!(node.link.min_vruntime, min);
        assert_eq!(i32::from(node.link.height), 1 + lh.max(rh));
        (1 + lh.max(rh), min)
    }

    /// A small generator, so that the runs repeat.
    fn rng(seed: u64) -> impl FnMut(u64) -> u64 {
        let mut x = seed;
        move |bound| {
            x = x
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (x >> 33) % bound
        }
    }

    #[test]
    fn agrees_with_an_ordered_map_under_random_operations() {
        for seed in 0..50 {
            let mut next = rng(seed);
            let (mut tree, mut model) = (Tree::new(), BTreeMap::new());
            for seq in 0..400i64 {
                match next(5) {
                    0 => {
                        let popped = tree.pop_first().map(|n| n.key);
                        assert_eq!(
                            popped.map(|k| (k.major, k.seq)),
                            model.pop_first().map(|(k, _)| k)
                        );
                    }
                    1 => {
                        let keys: Vec<(u64, i64)> = model.keys().copied().collect();
                        if !keys.is_empty() {
                            let (major, seq) = keys[next(keys.len() as u64) as usize];
                            model.remove(&(major, seq));
                            assert_eq!(
                                tree.remove(Key { major, seq }).map(|n| n.key),
                                Some(Key { major, seq })
                            );
                        }
                        assert!(
                            tree.remove(Key {
                                major: 1000,
                                seq: 0
                            })
                            .is_none()
                        );
                    }
                    _ => {
                        let (major, vruntime) = (next(50), next(1000));
                        tree.insert(node(major, seq, vruntime));
                        model.insert((major, seq), vruntime);
                    }
                }
                check(&tree.root);
                assert_eq!(tree.front.is_none(), model.is_empty());
                assert_eq!(
                    tree.first().map(|n| (n.key.major, n.key.seq)),
                    model.keys().next().copied()
                );
                assert_eq!(tree.len(), model.len());
                let limit = next(1000);
                let expected = model.iter().find(|(_, v)| **v <= limit).map(|(k, _)| *k);
                let got = tree
                    .first_eligible(|v| v <= limit)
                    .map(|n| (n.key.major, n.key.seq));
                assert_eq!(got, expected);
            }
        }
    }

    #[test]
    fn order_survives_the_wrap_of_virtual_time() {
        let mut tree = Tree::new();
        tree.insert(node(5, 0, 0));
        tree.insert(node(u64::MAX - 5, 1, 0));
        assert_eq!(tree.pop_first().expect("two nodes").key.major, u64::MAX - 5);
    }
}
