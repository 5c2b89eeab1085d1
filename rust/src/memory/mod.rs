//! Memory: of which all that grows with a file or a selection is asked for here.
//!
//! Rust's own `vec!`, `collect` and `resize` end the process where there is no memory. How long a vector becomes that a
//! file's numbers or a selection size is not in our hands, so such vectors are made by the functions of this module, which
//! return [`NoMemory`]. `clippy.toml` disallows the others in all of the engine; what is as short as a rank, a name or a
//! constant says so where it allows them.

mod bytes;
mod limit;

pub use bytes::{Bytes, LARGE};
pub use limit::{available, limit};

use bytemuck::Zeroable;

/// There is no memory for so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMemory(pub usize);

/// Checks that this process may have `bytes` of memory. Systems that promise more memory than they have would otherwise end
/// the process when it is used.
///
/// # Errors
/// [`NoMemory`] when it may not.
pub fn check(bytes: usize) -> Result<(), NoMemory> {
    match limit() {
        Some(limit) if bytes as u64 > limit => Err(NoMemory(bytes)),
        _ => Ok(()),
    }
}

/// Makes room for `more` elements and no more.
///
/// # Errors
/// [`NoMemory`].
pub fn reserve<T>(vec: &mut Vec<T>, more: usize) -> Result<(), NoMemory> {
    let bytes = vec.len().saturating_add(more).saturating_mul(size_of::<T>());
    if vec.capacity() - vec.len() < more {
        check(bytes)?;
    }
    vec.try_reserve_exact(more).map_err(|_| NoMemory(bytes))
}

/// Makes room for `more` elements, and for more than that where there will be more of them again and again.
///
/// # Errors
/// [`NoMemory`].
pub fn reserve_more<T>(vec: &mut Vec<T>, more: usize) -> Result<(), NoMemory> {
    if vec.capacity() - vec.len() >= more {
        return Ok(());
    }
    let bytes = vec.len().saturating_add(more).saturating_mul(size_of::<T>());
    check(bytes)?;
    vec.try_reserve(more).map_err(|_| NoMemory(bytes))
}

/// An empty vector with room for `len` elements.
///
/// # Errors
/// [`NoMemory`].
pub fn with_capacity<T>(len: usize) -> Result<Vec<T>, NoMemory> {
    let mut vec = Vec::new();
    reserve(&mut vec, len)?;
    Ok(vec)
}

/// `len` zeros.
///
/// # Errors
/// [`NoMemory`].
pub fn zeros<T: Zeroable>(len: usize) -> Result<Vec<T>, NoMemory> {
    let bytes = len.saturating_mul(size_of::<T>());
    check(bytes)?;
    // Pages of the system's that are zero already are not touched.
    bytemuck::allocation::try_zeroed_vec(len).map_err(|()| NoMemory(bytes))
}

/// `len` times the same.
///
/// # Errors
/// [`NoMemory`].
pub fn vec<T: Clone>(value: T, len: usize) -> Result<Vec<T>, NoMemory> {
    let mut vec = Vec::new();
    resize(&mut vec, len, value)?;
    Ok(vec)
}

/// Makes a vector `len` elements long: shorter, or longer by clones of `value`.
///
/// # Errors
/// [`NoMemory`].
pub fn resize<T: Clone>(vec: &mut Vec<T>, len: usize, value: T) -> Result<(), NoMemory> {
    reserve(vec, len.saturating_sub(vec.len()))?;
    #[allow(clippy::disallowed_methods, reason = "there is room")]
    vec.resize(len, value);
    Ok(())
}

/// Appends one element.
///
/// # Errors
/// [`NoMemory`].
pub fn push<T>(vec: &mut Vec<T>, value: T) -> Result<(), NoMemory> {
    if vec.len() == vec.capacity() {
        reserve_more(vec, 1)?;
    }
    vec.push(value);
    Ok(())
}

/// Appends elements.
///
/// # Errors
/// [`NoMemory`].
pub fn append<T: Clone>(vec: &mut Vec<T>, more: &[T]) -> Result<(), NoMemory> {
    reserve_more(vec, more.len())?;
    #[allow(clippy::disallowed_methods, reason = "there is room")]
    vec.extend_from_slice(more);
    Ok(())
}

/// A copy of elements.
///
/// # Errors
/// [`NoMemory`].
pub fn copy<T: Clone>(of: &[T]) -> Result<Vec<T>, NoMemory> {
    let mut vec = with_capacity(of.len())?;
    append(&mut vec, of)?;
    Ok(vec)
}

/// All that an iterator gives.
///
/// # Errors
/// [`NoMemory`].
pub fn collect<T>(from: impl IntoIterator<Item = T>) -> Result<Vec<T>, NoMemory> {
    let from = from.into_iter();
    let mut vec = with_capacity(from.size_hint().0)?;
    for value in from {
        push(&mut vec, value)?;
    }
    Ok(vec)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_memory_for_is_an_error() {
        let len = usize::MAX / 16;
        assert!(zeros::<u64>(len).is_err());
        assert!(vec(7u64, len).is_err());
        assert!(with_capacity::<u64>(len).is_err());
        assert!(collect(0..u64::MAX).is_err());
        let mut short = vec(7u64, 3).unwrap();
        assert!(resize(&mut short, len, 7).is_err());
        assert!(reserve(&mut short, usize::MAX).is_err());
        assert!(reserve_more(&mut short, usize::MAX).is_err());
        assert_eq!(short, [7; 3], "nothing is lost");
    }

    #[test]
    fn vectors_are_as_those_of_the_standard_library() {
        assert_eq!(zeros::<u32>(3).unwrap(), [0; 3]);
        assert_eq!(collect((0..10).filter(|number| number % 3 == 0)).unwrap(), [0, 3, 6, 9]);
        let mut vec = copy(&[1, 2]).unwrap();
        append(&mut vec, &[3]).unwrap();
        push(&mut vec, 4).unwrap();
        assert_eq!(vec, [1, 2, 3, 4]);
        resize(&mut vec, 1, 0).unwrap();
        resize(&mut vec, 2, 9).unwrap();
        assert_eq!(vec, [1, 9]);
    }

    #[test]
    fn no_more_than_the_machine_has() {
        let limit = limit().unwrap();
        assert!(available().unwrap() <= limit);
        assert!(check(usize::try_from(limit).unwrap()).is_ok());
        assert_eq!(check(limit as usize + 1), Err(NoMemory(limit as usize + 1)));
    }
}
