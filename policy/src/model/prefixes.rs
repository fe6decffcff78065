//! The prefixes of one resource: a list of each family, so that a large one is no longer in memory
//! than it must be and is compared with the one before it in little time.

use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Prefixes of both families, sorted, each once; copies share them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    v4: Arc<[Ipv4Net]>,
    v6: Arc<[Ipv6Net]>,
}

/// What two lists of prefixes do not have in common.
pub(crate) struct Difference {
    pub(crate) gone: Vec<IpNet>,
    pub(crate) new: Vec<IpNet>,
    /// Prefixes that are not at equal ends of both lists.
    pub(crate) compared: usize,
}

impl FromIterator<IpNet> for Prefixes {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push(net),
                IpNet::V6(net) => v6.push(net),
            }
        }
        Self {
            v4: sorted(v4),
            v6: sorted(v6),
        }
    }
}

impl Prefixes {
    /// All of them, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + '_ {
        let v4 = self.v4.iter().copied().map(IpNet::from);
        v4.chain(self.v6.iter().copied().map(IpNet::from))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is to be taken out of and put into these to have the others.
    pub(crate) fn difference(&self, after: &Self) -> Difference {
        let mut difference = Difference {
            gone: Vec::new(),
            new: Vec::new(),
            compared: 0,
        };
        difference.add(&self.v4, &after.v4);
        difference.add(&self.v6, &after.v6);
        difference
    }
}

impl Difference {
    fn add<T: Copy + Ord + Into<IpNet>>(&mut self, before: &Arc<[T]>, after: &Arc<[T]>) {
        if Arc::ptr_eq(before, after) {
            return;
        }
        let (before, after) = differing(before, after);
        self.compared += before.len() + after.len();
        self.gone.extend(without(before, after).map(Into::into));
        self.new.extend(without(after, before).map(Into::into));
    }
}

fn sorted<T: Ord>(mut nets: Vec<T>) -> Arc<[T]> {
    if nets.is_empty() {
        return Arc::default();
    }
    nets.sort_unstable();
    nets.dedup();
    nets.into()
}

/// What two sorted lists have between the equal elements at their beginnings and ends.
fn differing<'a, T: PartialEq>(a: &'a [T], b: &'a [T]) -> (&'a [T], &'a [T]) {
    let differ = |(a, b): (&T, &T)| a != b;
    let shorter = a.len().min(b.len());
    let front = a.iter().zip(b).position(differ).unwrap_or(shorter);
    let (a, b) = (&a[front..], &b[front..]);
    let mut ends = a.iter().rev().zip(b.iter().rev());
    let back = ends.position(differ).unwrap_or(shorter - front);
    (&a[..a.len() - back], &b[..b.len() - back])
}

/// The elements of one sorted list that another does not have.
fn without<'a, T: Copy + Ord>(list: &'a [T], other: &'a [T]) -> impl Iterator<Item = T> + 'a {
    let mut other = other.iter().peekable();
    list.iter().copied().filter(move |element| {
        while other.next_if(|next| *next < element).is_some() {}
        other.peek() != Some(&element)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_lists_differ() {
        let (a, b) = ([1, 2, 4, 5, 7, 9], [1, 3, 4, 6, 7, 8, 9]);
        let (a, b) = differing(&a, &b);
        assert_eq!((a, b), (&[2, 4, 5, 7][..], &[3, 4, 6, 7, 8][..]));
        assert_eq!(without(a, b).collect::<Vec<_>>(), [2, 5]);
        assert_eq!(without(b, a).collect::<Vec<_>>(), [3, 6, 8]);
        assert_eq!(differing(&[1, 1], &[1]), (&[1][..], &[][..]));
    }
}
