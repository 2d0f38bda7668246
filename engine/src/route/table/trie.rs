//! Radix tries over byte strings in one flat array. A look-up costs what the key is long, however many strings there are:
//! one step for each byte where strings part, and no step searches.

/// No value, and no choice: what an index says where there is nothing.
pub(super) const NONE: u32 = u32::MAX;

/// The nodes, each in one piece: a step through a large trie is a cache miss or two, not one for each of its parts.
///
/// A node is a head, a label and a row of children, numbers in little endian:
/// - the value of the string that ends here (4 bytes);
/// - the length of the label (4), the bytes between the parent's branching and this node's own;
/// - `low` (1) and `span` (2): children are those for the bytes `low..low + span`;
/// - the label;
/// - where the child of each of these bytes stands (4 each); 0 is a root and no node's child: there is none.
#[derive(Debug, Default)]
pub(super) struct Trie {
    nodes: Vec<u8>,
}

/// One node, read.
struct Node<'t> {
    value: u32,
    low: u8,
    span: u16,
    label: &'t [u8],
    children: &'t [u8],
}

const HEAD: usize = 11;

impl<'t> Node<'t> {
    #[inline]
    fn read(bytes: &'t [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let [v0, v1, v2, v3, l0, l1, l2, l3, low, s0, s1] = *head;
        let (label, children) = rest.split_at_checked(u32::from_le_bytes([l0, l1, l2, l3]) as usize)?;
        let value = u32::from_le_bytes([v0, v1, v2, v3]);
        Some(Self { value, low, span: u16::from_le_bytes([s0, s1]), label, children })
    }

    #[inline]
    fn child(&self, byte: u8) -> Option<usize> {
        let offset = u16::from(byte.wrapping_sub(self.low));
        if offset >= self.span {
            return None;
        }
        let place = self.children.get(usize::from(offset) * 4..)?.first_chunk()?;
        Some(u32::from_le_bytes(*place) as usize).filter(|place| *place != 0)
    }
}

/// How the bytes of a key are read.
pub(super) trait Key: Copy {
    fn byte(self, at: usize) -> Option<u8>;
    /// Whether `label` stands at `at`.
    fn has(self, at: usize, label: &[u8]) -> bool;
}

/// As they are.
#[derive(Clone, Copy)]
pub(super) struct Exact<'a>(pub &'a [u8]);

/// In lower case.
#[derive(Clone, Copy)]
pub(super) struct Folded<'a>(pub &'a [u8]);

/// In lower case, the last one first.
#[derive(Clone, Copy)]
pub(super) struct FoldedBackwards<'a>(pub &'a [u8]);

impl Key for Exact<'_> {
    #[inline]
    fn byte(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    #[inline]
    fn has(self, at: usize, label: &[u8]) -> bool {
        self.0[at..].starts_with(label)
    }
}

impl Key for Folded<'_> {
    #[inline]
    fn byte(self, at: usize) -> Option<u8> {
        self.0.get(at).map(u8::to_ascii_lowercase)
    }

    #[inline]
    fn has(self, at: usize, label: &[u8]) -> bool {
        self.0[at..].get(..label.len()).is_some_and(|part| part.eq_ignore_ascii_case(label))
    }
}

impl Key for FoldedBackwards<'_> {
    #[inline]
    fn byte(self, at: usize) -> Option<u8> {
        self.0.iter().nth_back(at).map(u8::to_ascii_lowercase)
    }

    #[inline]
    fn has(self, at: usize, label: &[u8]) -> bool {
        let rest = &self.0[..self.0.len() - at];
        rest.len() >= label.len()
            && rest.iter().rev().zip(label).all(|(byte, other)| byte.to_ascii_lowercase() == *other)
    }
}

impl Trie {
    pub(super) fn new(strings: Vec<(Vec<u8>, u32)>) -> Self {
        let mut trie = Self::default();
        trie.add(strings);
        trie.shrink_to_fit();
        trie
    }

    pub(super) fn shrink_to_fit(&mut self) {
        self.nodes.shrink_to_fit();
    }

    /// Strings with their values, as a tree of their own; no string comes twice, no value is `NONE`. Says the root: `NONE`
    /// where there is no string.
    pub(super) fn add(&mut self, mut strings: Vec<(Vec<u8>, u32)>) -> u32 {
        if strings.is_empty() {
            return NONE;
        }
        strings.sort();
        let nodes = &mut self.nodes;
        let root = place(nodes);
        // What is still to be made: the strings below a node, the bytes that lead there, where its parent names it.
        let mut open = vec![(0..strings.len(), 0, None)];
        while let Some((range, depth, slot)) = open.pop() {
            let Some((first, last)) = strings[range.clone()].first().zip(strings[range.clone()].last()) else { break };
            let shared = first.0[depth..].iter().zip(&last.0[depth..]).take_while(|(a, b)| a == b).count();
            let end = depth + shared;
            let ends_here = first.0.len() == end;
            let mut start = range.start + usize::from(ends_here);
            let (low, span) = match strings[start..range.end].first() {
                Some((text, _)) => (text[end], u16::from(last.0[end] - text[end]) + 1),
                None => (0, 0),
            };
            if let Some(slot) = slot {
                let place = place(nodes).to_le_bytes();
                nodes[slot..slot + 4].copy_from_slice(&place);
            }
            nodes.extend_from_slice(&(if ends_here { first.1 } else { NONE }).to_le_bytes());
            nodes.extend_from_slice(&(shared as u32).to_le_bytes());
            nodes.push(low);
            nodes.extend_from_slice(&span.to_le_bytes());
            nodes.extend_from_slice(&first.0[depth..end]);
            let children = nodes.len();
            nodes.resize(children + usize::from(span) * 4, 0);
            while start < range.end {
                let byte = strings[start].0[end];
                let below = start..start + strings[start..range.end].partition_point(|(text, _)| text[end] == byte);
                start = below.end;
                open.push((below, end + 1, Some(children + usize::from(byte - low) * 4)));
            }
        }
        root
    }

    /// Calls `visit` with length and value of every string of the first tree that the key begins with, the shortest first.
    #[inline]
    pub(super) fn walk(&self, key: impl Key, visit: impl FnMut(usize, u32)) {
        self.walk_tree(0, key, visit);
    }

    /// The same with any of the trees.
    #[inline]
    pub(super) fn walk_tree(&self, root: u32, key: impl Key, mut visit: impl FnMut(usize, u32)) {
        let (mut place, mut at) = (root as usize, 0);
        while let Some(node) = self.nodes.get(place..).and_then(Node::read) {
            if !node.label.is_empty() && !key.has(at, node.label) {
                return;
            }
            at += node.label.len();
            if node.value != NONE {
                visit(at, node.value);
            }
            let Some(child) = key.byte(at).and_then(|byte| node.child(byte)) else { return };
            place = child;
            at += 1;
        }
    }

    /// The value of exactly this string.
    pub(super) fn get(&self, key: &[u8]) -> Option<u32> {
        let mut found = None;
        self.walk(Exact(key), |len, value| {
            if len == key.len() {
                found = Some(value);
            }
        });
        found
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

/// Where the next node will stand.
fn place(nodes: &[u8]) -> u32 {
    u32::try_from(nodes.len()).expect("the paths of a table take less than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(trie: &Trie, key: impl Key) -> Vec<(usize, u32)> {
        let mut found = Vec::new();
        trie.walk(key, |len, value| found.push((len, value)));
        found
    }

    #[test]
    fn every_beginning_is_visited_and_nothing_else() {
        let strings = ["", "/", "/a", "/api", "/api/", "/api/users", "/apix", "/b", "/\u{e9}", "zz"];
        let trie = Trie::new(strings.iter().zip(0..).map(|(text, value)| (text.as_bytes().to_vec(), value)).collect());
        for key in
            ["", "/", "/a", "/ap", "/api", "/api/u", "/api/users/1", "/apixx", "/c", "/\u{e9}x", "z", "zz", "zzz"]
        {
            let expected: Vec<_> = strings
                .iter()
                .zip(0..)
                .filter(|(text, _)| key.starts_with(**text))
                .map(|(text, value)| (text.len(), value))
                .collect();
            assert_eq!(found(&trie, Exact(key.as_bytes())), expected, "{key}");
            let position = strings.iter().position(|text| *text == key).map(|at| at as u32);
            assert_eq!(trie.get(key.as_bytes()), position, "{key}");
        }
    }

    #[test]
    fn keys_are_folded_and_turned() {
        let trie = Trie::new(vec![(b"/abc".to_vec(), 7), (b"/abcd".to_vec(), 8)]);
        assert_eq!(found(&trie, Folded(b"/ABcDe")), [(4, 7), (5, 8)]);
        assert_eq!(found(&trie, Exact(b"/ABc")), []);
        assert_eq!(found(&trie, FoldedBackwards(b"xDCBa/")), [(4, 7), (5, 8)]);
        assert_eq!(found(&trie, FoldedBackwards(b"xCBa/")), [(4, 7)]);
        assert_eq!(found(&trie, FoldedBackwards(b"a/")), []);
    }

    #[test]
    fn a_trie_of_nothing_finds_nothing() {
        let trie = Trie::new(Vec::new());
        assert!(trie.is_empty());
        assert_eq!(found(&trie, Exact(b"/")), []);
    }

    #[test]
    fn trees_stand_beside_each_other() {
        let mut trie = Trie::default();
        assert_eq!(trie.add(Vec::new()), NONE);
        let roots = [["/a", "/b"], ["/a", "/ab"]].map(|strings| {
            trie.add(strings.iter().zip(1..).map(|(text, value)| (text.as_bytes().to_vec(), value)).collect())
        });
        let found = |root| {
            let mut found = Vec::new();
            trie.walk_tree(root, Exact(b"/abc"), |len, value| found.push((len, value)));
            found
        };
        assert_eq!(found(roots[0]), [(2, 1)]);
        assert_eq!(found(roots[1]), [(2, 1), (3, 2)]);
        assert_eq!(found(NONE), []);
    }

    #[test]
    fn all_bytes_branch() {
        let trie = Trie::new((0..=255u8).map(|byte| (vec![b'/', byte], u32::from(byte))).collect());
        assert!((0..=255u8).all(|byte| trie.get(&[b'/', byte]) == Some(u32::from(byte))));
        assert_eq!(trie.get(b"/"), None);
    }
}
