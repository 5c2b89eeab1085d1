//! Huffman codes as deflate has them (RFC 1951, 3.2), and the bits that they are written with.

/// Maximum length of a code, in bits.
pub(super) const LONGEST: usize = 15;

/// Maximum number of symbols of an alphabet: 256 literals, the end of a block, 29 lengths, and two that are never used.
const MOST_SYMBOLS: usize = 288;

/// The order in which the lengths of the codes for code lengths stand (RFC 1951, 3.2.7).
const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Lengths of the codes of some symbols, in bits; 0 for one that does not occur.
pub(super) type Lengths = [u8; MOST_SYMBOLS];

/// Code lengths with which symbols that occur so often take the fewest bits, or nearly, with none of more than `most` bits.
///
/// Minimum redundancy codes in place (Moffat and Katajainen 1995); where they are too long, the longest are cut and some that
/// are shorter made longer, until the codes fit (Kraft's inequality).
pub(super) fn code_lengths(counts: &[u32], most: usize) -> Lengths {
    let mut lengths = [0; MOST_SYMBOLS];
    let mut used = [(0u32, 0u16); MOST_SYMBOLS];
    let mut number = 0;
    for (symbol, &count) in counts.iter().enumerate().filter(|&(_, &count)| count > 0) {
        used[number] = (count, symbol as u16);
        number += 1;
    }
    let used = &mut used[..number];
    if let [(_, only)] = used {
        lengths[usize::from(*only)] = 1;
        return lengths;
    }
    used.sort_unstable();
    let mut tree = [0u32; MOST_SYMBOLS];
    for (node, &(count, _)) in tree.iter_mut().zip(used.iter()) {
        *node = count;
    }
    depths(&mut tree[..number]);
    let mut of_length = [0u32; LONGEST + 1];
    let mut sum = 0u64;
    for &depth in &tree[..number] {
        let length = (depth as usize).min(most);
        of_length[length] += 1;
        sum += 1 << (most - length);
    }
    while sum > 1 << most {
        // One of the longest moves beside a shorter one, which becomes longer by a bit.
        of_length[most] -= 1;
        if let Some(length) = (1..most).rev().find(|&length| of_length[length] > 0) {
            of_length[length] -= 1;
            of_length[length + 1] += 2;
        }
        sum -= 1;
    }
    // The rarest have the longest.
    let mut rarest = used.iter();
    for length in (1..=most).rev() {
        for &(_, symbol) in rarest.by_ref().take(of_length[length] as usize) {
            lengths[usize::from(symbol)] = length as u8;
        }
    }
    lengths
}

/// From counts in increasing order to the depths of the leaves of a Huffman tree, in the same order.
fn depths(tree: &mut [u32]) {
    let number = tree.len();
    if number < 2 {
        return;
    }
    // Each internal node becomes the number of its parent; leaves are taken from `leaf` on, nodes from `root` on.
    let (mut root, mut leaf) = (0, 0);
    for next in 0..number - 1 {
        let mut weight = 0u32;
        for _ in 0..2 {
            if leaf >= number || (root < next && tree[root] < tree[leaf]) {
                weight = weight.saturating_add(tree[root]);
                tree[root] = next as u32;
                root += 1;
            } else {
                weight = weight.saturating_add(tree[leaf]);
                leaf += 1;
            }
        }
        tree[next] = weight;
    }
    tree[number - 2] = 0;
    for next in (0..number - 2).rev() {
        tree[next] = tree[tree[next] as usize] + 1;
    }
    let (mut available, mut used, mut depth) = (1usize, 0usize, 0u32);
    let (mut node, mut next) = (number as isize - 2, number as isize - 1);
    while available > 0 {
        while node >= 0 && tree[node as usize] == depth {
            used += 1;
            node -= 1;
        }
        while available > used {
            tree[next as usize] = depth;
            next -= 1;
            available -= 1;
        }
        available = 2 * used;
        depth += 1;
        used = 0;
    }
}

/// The codes of these lengths, with their first bit lowest, as they are written.
pub(super) fn codes(lengths: &[u8]) -> [u16; MOST_SYMBOLS] {
    let mut of_length = [0u16; LONGEST + 1];
    for &length in lengths.iter().filter(|&&length| length > 0) {
        of_length[usize::from(length)] += 1;
    }
    // The first code of each length.
    let mut next = [0u16; LONGEST + 1];
    for length in 1..=LONGEST {
        next[length] = (next[length - 1] + of_length[length - 1]) << 1;
    }
    let mut codes = [0; MOST_SYMBOLS];
    for (code, &length) in codes.iter_mut().zip(lengths).filter(|(_, length)| **length > 0) {
        let first = &mut next[usize::from(length)];
        *code = first.reverse_bits() >> (16 - u32::from(length));
        *first += 1;
    }
    codes
}

/// Bits, the first of which is the lowest of the first byte.
pub(super) struct Bits<'a> {
    to: &'a mut [u8],
    at: usize,
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    /// Writes into this; what does not fit is lost, and [`Bits::finish`] says so.
    pub(super) fn new(to: &'a mut [u8]) -> Self {
        Self { to, at: 0, held: 0, count: 0 }
    }

    /// Adds up to 32 bits.
    #[inline(always)]
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        self.held |= bits << self.count;
        self.count += count;
        if self.count >= 32 {
            if let Some(place) = self.to.get_mut(self.at..self.at + 4) {
                place.copy_from_slice(&(self.held as u32).to_le_bytes());
            }
            self.at += 4;
            self.held >>= 32;
            self.count -= 32;
        }
    }

    /// Adds the code of each byte: its bits and their number, which is 12 at most.
    pub(super) fn put_all(&mut self, bytes: &[u8], codes: &[(u16, u8); 256]) {
        let (fours, rest) = bytes.as_chunks::<4>();
        for four in fours {
            // Fewer than 8 bits are held, and 48 come.
            while self.count >= 8 {
                if let Some(place) = self.to.get_mut(self.at) {
                    *place = self.held as u8;
                }
                self.at += 1;
                self.held >>= 8;
                self.count -= 8;
            }
            for &byte in four {
                let (code, length) = codes[usize::from(byte)];
                self.held |= u64::from(code) << self.count;
                self.count += u32::from(length);
            }
            if let Some(place) = self.to.get_mut(self.at..self.at + 8) {
                place.copy_from_slice(&self.held.to_le_bytes());
                self.at += (self.count / 8) as usize;
                self.held >>= self.count & !7;
                self.count &= 7;
            }
        }
        while self.count >= 32 {
            self.put(0, 0);
        }
        for &byte in rest {
            let (code, length) = codes[usize::from(byte)];
            self.put(u64::from(code), u32::from(length));
        }
    }

    /// Goes to the beginning of a byte.
    pub(super) fn align(&mut self) {
        while self.count > 0 {
            if let Some(place) = self.to.get_mut(self.at) {
                *place = self.held as u8;
            }
            self.at += 1;
            self.held >>= 8;
            self.count = self.count.saturating_sub(8);
        }
    }

    /// Adds bytes, from the beginning of a byte on.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.align();
        if let Some(place) = self.to.get_mut(self.at..self.at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self.at += bytes.len();
    }

    /// How many bytes were written; `None` if they did not fit.
    pub(super) fn finish(mut self) -> Option<usize> {
        self.align();
        (self.at <= self.to.len()).then_some(self.at)
    }
}

/// The lengths of the codes of a block, as the block begins with them.
pub(super) struct Header {
    /// Symbols of the code for code lengths, with the value and number of the bits that follow.
    symbols: Vec<(u8, u8, u8)>,
    lengths: Lengths,
    codes: [u16; MOST_SYMBOLS],
    literals: usize,
    distances: usize,
    /// How many of the lengths in [`ORDER`] are stated.
    stated: usize,
}

impl Header {
    pub(super) fn new(literals: &[u8], distances: &[u8]) -> Self {
        let trimmed = |lengths: &[u8], least: usize| {
            lengths.iter().rposition(|&length| length > 0).map_or(least, |last| (last + 1).max(least))
        };
        let (literal_count, distance_count) = (trimmed(literals, 257), trimmed(distances, 1));
        let mut symbols = Vec::new();
        let mut counts = [0u32; 19];
        let all: Vec<u8> =
            literals[..literal_count].iter().chain(&distances[..distance_count]).copied().collect();
        let mut rest = all.as_slice();
        while let Some(&length) = rest.first() {
            let run = rest.iter().take_while(|&&other| other == length).count();
            let (taken, symbol): (usize, (u8, u8, u8)) = match (length, run) {
                (0, 11..) => (run.min(138), (18, (run.min(138) - 11) as u8, 7)),
                (0, 3..) => (run, (17, (run - 3) as u8, 3)),
                // The length, and then that it comes again.
                (_, 4..) if length > 0 => {
                    counts[usize::from(length)] += 1;
                    symbols.push((length, 0, 0));
                    let again = (run - 1).min(6);
                    (again + 1, (16, (again - 3) as u8, 2))
                }
                _ => (1, (length, 0, 0)),
            };
            counts[usize::from(symbol.0)] += 1;
            symbols.push(symbol);
            rest = &rest[taken..];
        }
        if counts.iter().filter(|&&count| count > 0).count() == 1 {
            // zlib takes no code for these of a single symbol.
            counts[usize::from(counts[0] > 0)] = 1;
        }
        let lengths = code_lengths(&counts, 7);
        let stated =
            ORDER.iter().rposition(|&symbol| lengths[symbol] > 0).map_or(4, |last| (last + 1).max(4));
        let codes = codes(&lengths[..19]);
        Self { symbols, lengths, codes, literals: literal_count, distances: distance_count, stated }
    }

    /// Bits that it takes.
    pub(super) fn len(&self) -> u64 {
        let symbols = self.symbols.iter();
        let of_symbols: u64 = symbols
            .map(|&(symbol, _, extra)| u64::from(self.lengths[usize::from(symbol)]) + u64::from(extra))
            .sum();
        14 + 3 * self.stated as u64 + of_symbols
    }

    pub(super) fn write(&self, bits: &mut Bits<'_>) {
        bits.put(self.literals as u64 - 257, 5);
        bits.put(self.distances as u64 - 1, 5);
        bits.put(self.stated as u64 - 4, 4);
        for &symbol in &ORDER[..self.stated] {
            bits.put(u64::from(self.lengths[symbol]), 3);
        }
        for &(symbol, value, extra) in &self.symbols {
            let symbol = usize::from(symbol);
            bits.put(u64::from(self.codes[symbol]), u32::from(self.lengths[symbol]));
            bits.put(u64::from(value), u32::from(extra));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Huffman's own algorithm: the bits that the symbols take together.
    fn fewest_bits(counts: &[u32]) -> u64 {
        let mut weights: Vec<u64> =
            counts.iter().filter(|&&count| count > 0).map(|&count| count.into()).collect();
        let mut bits = 0;
        while weights.len() > 1 {
            weights.sort_unstable_by(|left, right| right.cmp(left));
            let sum = weights.pop().unwrap_or(0) + weights.pop().unwrap_or(0);
            bits += sum;
            weights.push(sum);
        }
        bits
    }

    proptest! {
        #[test]
        fn codes_are_complete_and_short(
            counts in prop::collection::vec(prop_oneof![Just(0u32), 1u32..10, 1u32..1_000_000], 2..286),
        ) {
            prop_assume!(counts.iter().filter(|&&count| count > 0).count() > 1);
            for most in [9, LONGEST] {
                let lengths = code_lengths(&counts, most);
                let kraft: u64 = lengths.iter().filter(|&&length| length > 0).map(|&length| 1 << (LONGEST - usize::from(length))).sum();
                prop_assert_eq!(kraft, 1 << LONGEST, "every row of bits is a code");
                prop_assert!(lengths.iter().all(|&length| usize::from(length) <= most));
                prop_assert!(counts.iter().zip(&lengths).all(|(&count, &length)| (count > 0) == (length > 0)));
                let bits: u64 = counts.iter().zip(&lengths).map(|(&count, &length)| u64::from(count) * u64::from(length)).sum();
                if lengths.iter().all(|&length| usize::from(length) < most) {
                    prop_assert_eq!(bits, fewest_bits(&counts));
                }
            }
        }
    }

    #[test]
    fn codes_that_would_be_too_long_are_cut() {
        // Fibonacci's numbers make the deepest trees.
        let mut counts = vec![1u32, 1];
        for next in 2..40 {
            counts.push(counts[next - 1].saturating_add(counts[next - 2]));
        }
        let lengths = code_lengths(&counts, LONGEST);
        assert!(lengths.iter().all(|&length| usize::from(length) <= LONGEST));
        let kraft: u64 = lengths
            .iter()
            .filter(|&&length| length > 0)
            .map(|&length| 1 << (LONGEST - usize::from(length)))
            .sum();
        assert_eq!(kraft, 1 << LONGEST);
    }
}
