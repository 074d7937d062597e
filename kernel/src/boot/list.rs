//! A list of bounded length, for what is read before there is an allocator.

use core::fmt;

/// Up to `N` values in place.
#[derive(Clone, Copy)]
pub struct List<T: Copy, const N: usize> {
    items: [Option<T>; N],
    len: usize,
}

impl<T: Copy, const N: usize> List<T, N> {
    /// An empty list.
    pub const fn new() -> Self {
        Self {
            items: [None; N],
            len: 0,
        }
    }

    /// Appends `item`, or gives it back when the list is full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        match self.items.get_mut(self.len) {
            None => Err(item),
            Some(slot) => {
                *slot = Some(item);
                self.len += 1;
                Ok(())
            }
        }
    }

    /// The values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        self.items[..self.len].iter().flatten().copied()
    }
}

impl<T: Copy, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy + fmt::Debug, const N: usize> fmt::Debug for List<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::List;

    #[test]
    fn a_full_list_gives_the_item_back() {
        let mut list = List::<u8, 2>::new();
        assert_eq!(
            [list.push(1), list.push(2), list.push(3)],
            [Ok(()), Ok(()), Err(3)]
        );
        assert_eq!(list.iter().collect::<Vec<_>>(), [1, 2]);
    }
}
