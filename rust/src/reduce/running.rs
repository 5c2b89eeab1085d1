//! What is kept of the values of a cell while the elements of a compressed matrix come in any order of cells.
//!
//! Each element goes to another cell than the one before it, so that nothing can be added up side by side ([`super::fold`]):
//! what counts is how much memory an element touches, and that it needs no division. All statistics of a cell are next to
//! each other, and are made into those of [`super::cells`] when a unit is done.

use super::fold::Moments;
use super::number::{Number, two_sum};

/// The number, the mean and the squared deviations of values, and perhaps their sum.
pub(crate) trait Running<T: Number>: Copy + Send {
    /// Of no values.
    const EMPTY: Self;
    /// How many values it may take.
    const MOST: u32;

    /// Takes a value.
    fn add(&mut self, value: T);
    /// How many it took.
    fn count(&self) -> u32;
    /// What came of them, of which there was one at least.
    fn moments(&self) -> Moments;
    /// Their sum; nothing, if it is not kept.
    fn total(&self) -> T::Total;
}

/// Sums of integers of up to 32 bits and of their squares, which are exact.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exact<S> {
    sum: i64,
    squares: S,
    count: u32,
}

macro_rules! exact {
    ($t:ty, $squares:ty) => {
        impl Running<$t> for Exact<$squares> {
            const EMPTY: Self = Self { sum: 0, squares: 0, count: 0 };
            // Of a value of 32 bits, the square has 64; a sum of so many of them, times their number, 128 at most.
            const MOST: u32 = 1 << 31;

            #[inline]
            fn add(&mut self, value: $t) {
                let value = i64::from(value);
                self.count += 1;
                self.sum += value;
                self.squares += <$squares>::from(value.unsigned_abs() * value.unsigned_abs());
            }

            #[inline]
            fn count(&self) -> u32 {
                self.count
            }

            #[inline]
            fn moments(&self) -> Moments {
                let count = f64::from(self.count);
                // Whole and rest, so that the mean is as exact as two doubles are.
                let (whole, rest) = (self.sum / i64::from(self.count), self.sum % i64::from(self.count));
                let (mean, low) = two_sum(whole as f64, rest as f64 / count);
                let sum = u128::from(self.sum.unsigned_abs());
                let times_count = u128::from(self.count) * u128::from(self.squares) - sum * sum;
                Moments { count, mean, low, m2: times_count as f64 / count }
            }

            #[inline]
            fn total(&self) -> i128 {
                self.sum.into()
            }
        }
    };
}

exact!(u8, u64);
exact!(i8, u64);
exact!(u16, u64);
exact!(i16, u64);
exact!(u32, u128);
exact!(i32, u128);

/// Sums of how far values are from the first of them, and of the squares of that: what rounding takes from the squared
/// deviations is no more than the number of values times what it takes from one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Near {
    center: f64,
    deviations: f64,
    squares: f64,
    count: u32,
}

impl Near {
    const EMPTY: Self = Self { center: 0.0, deviations: 0.0, squares: 0.0, count: 0 };

    #[inline]
    fn add(&mut self, value: f64) {
        if self.count == 0 {
            self.center = value;
        }
        let deviation = value - self.center;
        self.count += 1;
        self.deviations += deviation;
        self.squares += deviation * deviation;
    }

    #[inline]
    fn moments(&self) -> Moments {
        let count = f64::from(self.count);
        let step = self.deviations / count;
        let (mean, low) = two_sum(self.center, step);
        let m2 = self.squares - self.deviations * step;
        // Not by `max`, which would make a zero of a NaN. That of an infinity alone is one too.
        let m2 = if !self.center.is_finite() {
            f64::NAN
        } else if m2 < 0.0 {
            0.0
        } else {
            m2
        };
        Moments { count, mean, low, m2 }
    }
}

impl<T: Number> Running<T> for Near {
    const EMPTY: Self = Self::EMPTY;
    // Few, for what rounding takes.
    const MOST: u32 = 64;

    #[inline]
    fn add(&mut self, value: T) {
        self.add(value.to_f64());
    }

    #[inline]
    fn count(&self) -> u32 {
        self.count
    }

    #[inline]
    fn moments(&self) -> Moments {
        self.moments()
    }

    #[inline]
    fn total(&self) -> T::Total {
        T::NOTHING
    }
}

/// The same, and the sum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NearAndSum<S> {
    near: Near,
    sum: S,
}

impl<T: Number> Running<T> for NearAndSum<T::Total> {
    const EMPTY: Self = Self { near: Near::EMPTY, sum: T::NOTHING };
    const MOST: u32 = <Near as Running<T>>::MOST;

    #[inline]
    fn add(&mut self, value: T) {
        self.near.add(value.to_f64());
        T::add(&mut self.sum, value);
    }

    #[inline]
    fn count(&self) -> u32 {
        self.near.count
    }

    #[inline]
    fn moments(&self) -> Moments {
        self.near.moments()
    }

    #[inline]
    fn total(&self) -> T::Total {
        self.sum
    }
}

/// All statistics of a cell.
#[derive(Clone, Copy)]
pub(crate) struct All<T: Number> {
    /// Of all values, or of those that are not NaN where the others are left out.
    pub(crate) running: T::Running,
    pub(crate) min: T,
    pub(crate) max: T,
    pub(crate) nonzero: u32,
    pub(crate) nans: u32,
}

impl<T: Number> All<T> {
    pub(crate) const EMPTY: Self =
        Self { running: T::Running::EMPTY, min: T::GREATEST, max: T::LEAST, nonzero: 0, nans: 0 };

    /// Takes a value; a NaN is only counted, if it is to be left out.
    #[inline(always)]
    pub(crate) fn add(&mut self, value: T, skips_nan: bool) {
        let is_nan = value.is_nan();
        if !(is_nan && skips_nan) {
            self.running.add(value);
        }
        self.nans += u32::from(is_nan);
        self.nonzero += u32::from(value.is_nonzero());
        self.min = if value < self.min { value } else { self.min };
        self.max = if value > self.max { value } else { self.max };
    }

    /// Whether it has to be settled before it takes another value.
    #[inline(always)]
    pub(crate) fn is_full(&self) -> bool {
        self.running.count() >= T::Running::MOST || self.nans == u32::MAX
    }

    /// Whether it took any.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.running.count() == 0 && self.nans == 0
    }
}

/// What is kept of each cell of a result.
pub(crate) enum Scattered<T: Number> {
    /// Nothing: each kind of statistics takes the elements by itself.
    Nothing,
    /// Means and variances.
    Moments(Vec<T::Moments>),
    /// All.
    All(Vec<All<T>>),
}
