//! What decoders of the LZ77 family have in common.

use super::Complaint;

/// Bytes that are copied at once where there is room: what is too much is overwritten by what comes next.
const STEP: usize = 32;

/// Copies `len` bytes of `input` from `read` on to `at`; `None` when there are not so many, or no room.
#[inline(always)]
pub(super) fn literals(input: &[u8], read: usize, output: &mut [u8], at: usize, len: usize) -> Option<()> {
    if len <= STEP
        && let Some(from) = input.get(read..).and_then(<[u8]>::first_chunk::<STEP>)
        && let Some(to) = output.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<STEP>)
    {
        *to = *from;
        return Some(());
    }
    let from = input.get(read..read.checked_add(len)?)?;
    output.get_mut(at..at.checked_add(len)?)?.copy_from_slice(from);
    Some(())
}

/// Copies `len` bytes to `at` from `distance` before it, where they may be what has just been copied. `at` is
/// within `output`, and `distance` not 0; a complaint is about a stream of `format`.
#[inline(always)]
pub(super) fn repeat(
    format: &str,
    output: &mut [u8],
    at: usize,
    distance: usize,
    len: usize,
) -> Result<(), Complaint> {
    if distance > at {
        return Err(format!("its {format} stream points before its start").into());
    }
    if len > output.len() - at {
        return Err(format!("its {format} stream is too long").into());
    }
    copy(output, at, distance, len);
    Ok(())
}

#[inline(always)]
fn copy(output: &mut [u8], at: usize, distance: usize, len: usize) {
    let from = at - distance;
    if distance == 1 {
        let byte = output[from];
        output[at..at + len].fill(byte);
        return;
    }
    if len <= STEP && distance >= STEP && at + STEP <= output.len() {
        let (before, after) = output.split_at_mut(at);
        if let (Some(from), Some(to)) =
            (before[from..].first_chunk::<STEP>(), after.first_chunk_mut::<STEP>())
        {
            *to = *from;
            return;
        }
    }
    again(output, at, distance, len);
}

fn again(output: &mut [u8], at: usize, distance: usize, len: usize) {
    let from = at - distance;
    // What was copied lengthens what can be copied at once, by whole distances until the last time.
    let mut done = 0;
    while done < len {
        let step = (distance + done).min(len - done);
        output.copy_within(from..from + step, at + done);
        done += step;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_byte_after_byte() {
        for distance in (1..20).chain([31, 32, 33, 50]) {
            for len in 0..100 {
                let start: Vec<u8> = (0..150).collect();
                let (mut found, mut naive) = (start.clone(), start);
                repeat("", &mut found, 50, distance, len).unwrap();
                for i in 50..50 + len {
                    naive[i] = naive[i - distance];
                }
                assert_eq!(found[..50 + len], naive[..50 + len], "distance {distance}, length {len}");
            }
        }
    }

    #[test]
    fn literals_stay_inside() {
        let input: Vec<u8> = (0..40).collect();
        for read in 0..45 {
            for at in 0..45 {
                for len in 0..45 {
                    let mut output = vec![99; 40];
                    let copied = literals(&input, read, &mut output, at, len);
                    assert_eq!(copied.is_some(), read + len <= 40 && at + len <= 40, "{read}, {at}, {len}");
                    if copied.is_some() {
                        assert_eq!(output[at..at + len], input[read..read + len]);
                        assert_eq!(output[..at], vec![99; at]);
                    }
                }
            }
        }
    }
}
