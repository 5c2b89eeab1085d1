//! What decoders of the LZ77 family have in common.

/// Copies `len` bytes to `at` from `distance` before it, where they may be what has just been copied. The
/// caller has checked that `distance` is within 1 and `at`, and that there is room.
pub(super) fn repeat(output: &mut [u8], at: usize, distance: usize, len: usize) {
    let from = at - distance;
    if distance == 1 {
        let byte = output[from];
        output[at..at + len].fill(byte);
        return;
    }
    // What was copied lengthens what can be copied at once, by whole distances until the last time.
    let mut done = 0;
    while done < len {
        let step = (distance + done).min(len - done);
        output.copy_within(from..from + step, at + done);
        done += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_byte_after_byte() {
        for distance in 1..20 {
            for len in 0..100 {
                let start: Vec<u8> = (0..150).collect();
                let (mut found, mut naive) = (start.clone(), start);
                repeat(&mut found, 25, distance, len);
                for i in 25..25 + len {
                    naive[i] = naive[i - distance];
                }
                assert_eq!(found, naive, "distance {distance}, length {len}");
            }
        }
    }
}
