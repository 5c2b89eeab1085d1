//! Numbers: what the folds need to know of an element type.

// One macro for all integers: what is exact for one of them is meant to round for another.
#![allow(clippy::cast_lossless)]

use bytemuck::Pod;
use half::f16;

use super::running::{Exact, Near, NearAndSum, Running};

/// A native element type that statistics are made of.
pub(crate) trait Number: Pod + PartialOrd + Send + Sync {
    /// What minima begin from: nothing is greater.
    const GREATEST: Self;
    /// What maxima begin from: nothing is less.
    const LEAST: Self;
    /// What there is instead of a value if one of them is a NaN.
    const NAN: Self;
    /// How many values a [`Self::Local`] may add up: integers until they could overflow, floats while adding one to the
    /// other is as good as adding them in pairs.
    const LOCAL: usize;
    /// Sum of a few values, quick to add to.
    type Local: Copy + Default + std::ops::Add<Output = Self::Local>;
    /// Sum of any number of values.
    type Total: Total;
    /// The sum of none.
    const NOTHING: Self::Total;
    /// Moments of values that come in any order of cells.
    type Moments: Running<Self>;
    /// The same, and the sum.
    type Running: Running<Self>;

    /// The value as a sum of one.
    fn local(self) -> Self::Local;
    /// Adds a sum of a few.
    fn add_local(total: &mut Self::Total, local: Self::Local);
    /// Adds a value so many times.
    fn add_times(total: &mut Self::Total, value: Self, times: u64);
    /// Adds one value.
    fn add(total: &mut Self::Total, value: Self);
    /// The nearest double.
    fn to_f64(self) -> f64;
    /// The nearest double of a sum.
    fn local_to_f64(local: Self::Local) -> f64;
    /// Whether it is a NaN.
    fn is_nan(self) -> bool;
    /// Whether it is something else than zero, as a NaN is.
    fn is_nonzero(self) -> bool;
}

/// A sum as exact as its kind can be.
pub(crate) trait Total: Copy + Default + Send {
    /// Whether it is a sum of integers, which has low bits that wrap.
    const IS_INTEGER: bool;
    /// Adds another sum.
    fn merge(&mut self, other: Self);
    /// The sum of which [`Self::in_two`] made these.
    fn from_two(high: f64, low: f64) -> Self;
    /// The low 64 bits of a sum of integers.
    fn wrapped(self) -> i64;
    /// The sum as the unevaluated sum of two doubles, of which the second is much smaller.
    fn in_two(self) -> (f64, f64);
}

impl Total for i128 {
    const IS_INTEGER: bool = true;

    #[inline]
    fn merge(&mut self, other: Self) {
        *self = self.wrapping_add(other);
    }

    #[inline]
    fn from_two(high: f64, low: f64) -> Self {
        (high as Self).wrapping_add(low as Self)
    }

    #[inline]
    fn wrapped(self) -> i64 {
        self as i64
    }

    #[inline]
    fn in_two(self) -> (f64, f64) {
        let high = self as f64;
        (high, self.wrapping_sub(high as Self) as f64)
    }
}

/// The sum of two doubles, and what rounding has taken from it, which is a double too (Knuth, The Art of Computer
/// Programming 2, 4.2.2).
#[inline]
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let rest = sum - a;
    (sum, (a - (sum - rest)) + (b - rest))
}

/// A sum of floats, and what rounding has taken from it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Compensated {
    high: f64,
    low: f64,
}

impl Compensated {
    #[inline]
    fn add(&mut self, value: f64) {
        let (sum, lost) = two_sum(self.high, value);
        self.high = sum;
        self.low += lost;
    }

    #[inline]
    fn add_times(&mut self, value: f64, times: u64) {
        // Each half is a double. None of an infinity would be a NaN.
        let halves = [times >> 32 << 32, times & 0xffff_ffff].into_iter().filter(|&half| half > 0);
        for times in halves.map(|half| half as f64) {
            let product = value * times;
            self.add(product);
            self.low += value.mul_add(times, -product);
        }
    }
}

impl Total for Compensated {
    const IS_INTEGER: bool = false;

    #[inline]
    fn merge(&mut self, other: Self) {
        self.add(other.high);
        self.low += other.low;
    }

    #[inline]
    fn from_two(high: f64, low: f64) -> Self {
        Self { high, low }
    }

    #[inline]
    fn wrapped(self) -> i64 {
        0
    }

    #[inline]
    fn in_two(self) -> (f64, f64) {
        (self.high, self.low)
    }
}

macro_rules! integer {
    ($t:ty, $local:ty, $count:expr, $moments:ty, $running:ty) => {
        impl Number for $t {
            const GREATEST: Self = <$t>::MAX;
            const LEAST: Self = <$t>::MIN;
            // There is none.
            const NAN: Self = 0;
            const LOCAL: usize = $count;
            type Local = $local;
            type Total = i128;
            const NOTHING: i128 = 0;
            type Moments = $moments;
            type Running = $running;

            #[inline]
            fn local(self) -> $local {
                <$local>::from(self)
            }

            #[inline]
            fn add_local(total: &mut i128, local: $local) {
                *total = total.wrapping_add(i128::from(local));
            }

            #[inline]
            fn add_times(total: &mut i128, value: Self, times: u64) {
                *total = total.wrapping_add(i128::from(value).wrapping_mul(i128::from(times)));
            }

            #[inline]
            fn add(total: &mut i128, value: Self) {
                *total = total.wrapping_add(i128::from(value));
            }

            #[inline]
            fn to_f64(self) -> f64 {
                self as f64
            }

            #[inline]
            fn local_to_f64(local: $local) -> f64 {
                local as f64
            }

            #[inline]
            fn is_nan(self) -> bool {
                false
            }

            #[inline]
            fn is_nonzero(self) -> bool {
                self != 0
            }
        }
    };
}

// Sums that are added up in fewer bits than they might need, as often as they fit.
integer!(u8, u32, 1 << 24, Exact<u64>, Exact<u64>);
integer!(i8, i32, 1 << 23, Exact<u64>, Exact<u64>);
integer!(u16, u32, 1 << 16, Exact<u64>, Exact<u64>);
integer!(i16, i32, 1 << 15, Exact<u64>, Exact<u64>);
integer!(u32, u64, 1 << 31, Exact<u128>, Exact<u128>);
integer!(i32, i64, 1 << 31, Exact<u128>, Exact<u128>);
integer!(u64, i128, usize::MAX, Near, NearAndSum<i128>);
integer!(i64, i128, usize::MAX, Near, NearAndSum<i128>);

macro_rules! float {
    ($t:ty, $to_f64:expr, $count:expr, $add:expr) => {
        impl Number for $t {
            const GREATEST: Self = <$t>::INFINITY;
            const LEAST: Self = <$t>::NEG_INFINITY;
            const NAN: Self = <$t>::NAN;
            const LOCAL: usize = $count;
            type Local = f64;
            type Total = Compensated;
            const NOTHING: Compensated = Compensated { high: 0.0, low: 0.0 };
            type Moments = Near;
            type Running = NearAndSum<Compensated>;

            #[inline]
            fn local(self) -> f64 {
                $to_f64(self)
            }

            #[inline]
            fn add_local(total: &mut Compensated, local: f64) {
                total.add(local);
            }

            #[inline]
            fn add_times(total: &mut Compensated, value: Self, times: u64) {
                total.add_times($to_f64(value), times);
            }

            #[inline]
            fn add(total: &mut Compensated, value: Self) {
                $add(total, $to_f64(value));
            }

            #[inline]
            fn to_f64(self) -> f64 {
                $to_f64(self)
            }

            #[inline]
            fn local_to_f64(local: f64) -> f64 {
                local
            }

            #[inline]
            fn is_nan(self) -> bool {
                self.is_nan()
            }

            #[inline]
            fn is_nonzero(self) -> bool {
                $to_f64(self) != 0.0
            }
        }
    };
}

// Doubles have bits to spare for sums of narrower floats.
float!(f16, f16::to_f64, 1 << 20, |total: &mut Compensated, value| total.high += value);
float!(f32, f64::from, 1 << 20, |total: &mut Compensated, value| total.high += value);
float!(f64, std::convert::identity, 128, Compensated::add);
