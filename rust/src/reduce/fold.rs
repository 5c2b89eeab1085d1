//! Folds: how values are gathered into the cells of a statistic.
//!
//! A cell stands for all values that went into it; two cells of different values can be merged into one of both. What
//! comes of floats depends on the order of all this, which is why nothing here knows of threads.

use std::marker::PhantomData;

use super::number::{Number, Total, two_sum};

/// Columns that are added up side by side, so that their sums stay in the processor's first cache.
const STRIP: usize = 64;

/// Values (or rows) whose deviations are added up before they are merged with others.
const PART: usize = 1 << 10;

/// Values that are added up side by side, as far as the machine has vectors: as many sums as its registers hold.
const LANES: usize = 16;

/// A statistic of values of one type.
pub(crate) trait Fold<T: Number> {
    /// What it keeps of values.
    type Cell: Copy + Send;

    /// Of no values.
    const EMPTY: Self::Cell;

    /// Takes one value.
    fn one(cell: &mut Self::Cell, value: T);

    /// Takes all of another cell's values.
    fn merge(cell: &mut Self::Cell, other: Self::Cell);

    /// Takes one value so many times, at least once.
    fn same(cell: &mut Self::Cell, value: T, times: u64);

    /// Takes values into one cell.
    fn run(cell: &mut Self::Cell, values: &[T]) {
        for &value in values {
            Self::one(cell, value);
        }
    }

    /// Takes rows of values, each of which has one for every cell.
    fn rows(cells: &mut [Self::Cell], values: &[T]) {
        for row in values.chunks_exact(cells.len().max(1)) {
            cells.iter_mut().zip(row).for_each(|(cell, &value)| Self::one(cell, value));
        }
    }
}

/// Sums.
pub(crate) struct Sum;

impl<T: Number> Fold<T> for Sum {
    type Cell = T::Total;
    const EMPTY: T::Total = T::NOTHING;

    #[inline]
    fn one(cell: &mut T::Total, value: T) {
        T::add(cell, value);
    }

    #[inline]
    fn merge(cell: &mut T::Total, other: T::Total) {
        cell.merge(other);
    }

    #[inline]
    fn same(cell: &mut T::Total, value: T, times: u64) {
        T::add_times(cell, value, times);
    }

    #[inline]
    fn run(cell: &mut T::Total, values: &[T]) {
        for part in values.chunks(T::LOCAL) {
            T::add_local(cell, sum(part));
        }
    }

    #[inline]
    fn rows(cells: &mut [T::Total], values: &[T]) {
        let width = cells.len();
        if values.len() == width {
            cells.iter_mut().zip(values).for_each(|(cell, &value)| T::add(cell, value));
            return;
        }
        if values.is_empty() {
            return;
        }
        for part in values.chunks(T::LOCAL.saturating_mul(width).min(values.len())) {
            for (number, cells) in cells.chunks_mut(STRIP).enumerate() {
                let sums = strip::<T>(part, width, number * STRIP, cells.len());
                cells.iter_mut().zip(sums).for_each(|(cell, sum)| T::add_local(cell, sum));
            }
        }
    }
}

/// The sum of no more values than may be added up so.
fn sum<T: Number>(values: &[T]) -> T::Local {
    let (blocks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [T::Local::default(); LANES];
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane = *lane + value.local();
        }
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] = lanes[lane] + lanes[lane + width];
        }
    }
    rest.iter().fold(lanes[0], |sum, value| sum + value.local())
}

/// The sums of `len` neighbouring columns of rows that are `width` long.
fn strip<T: Number>(values: &[T], width: usize, first: usize, len: usize) -> [T::Local; STRIP] {
    let mut sums = [T::Local::default(); STRIP];
    let mut next = first;
    let (wide, rest) = sums[..len].as_chunks_mut::<LANES>();
    for sums in wide {
        *sums = columns(values, width, next);
        next += LANES;
    }
    let (narrow, rest) = rest.as_chunks_mut::<4>();
    for sums in narrow {
        *sums = columns(values, width, next);
        next += 4;
    }
    for sum in rest {
        [*sum] = columns(values, width, next);
        next += 1;
    }
    sums
}

/// The sums of so few columns that they stay in the processor's registers.
fn columns<T: Number, const N: usize>(values: &[T], width: usize, first: usize) -> [T::Local; N] {
    let mut sums = [T::Local::default(); N];
    for row in values.chunks_exact(width) {
        let Some(row) = row[first..].first_chunk::<N>() else { break };
        for lane in 0..N {
            sums[lane] = sums[lane] + row[lane].local();
        }
    }
    sums
}

/// How many values there are, their mean, and the sum of their squared deviations from it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Moments {
    pub(crate) count: f64,
    pub(crate) mean: f64,
    /// What the mean lost when it was rounded: where values are far from zero and close to each other, it matters.
    pub(crate) low: f64,
    pub(crate) m2: f64,
}

impl Moments {
    /// Takes all values of another (Chan, Golub and `LeVeque`, 1979, "Updating Formulae and a Pairwise Algorithm for
    /// Computing Sample Variances", equation 2.1).
    #[inline]
    pub(crate) fn merge(&mut self, other: Self) {
        if other.count == 0.0 {
            return;
        }
        if self.count == 0.0 {
            *self = other;
            return;
        }
        let count = self.count + other.count;
        let delta = (other.mean - self.mean) + (other.low - self.low);
        let share = other.count / count;
        (self.mean, self.low) = two_sum(self.mean, self.low + delta * share);
        self.m2 += other.m2 + delta * delta * (self.count * share);
        self.count = count;
    }

    /// Takes one value (Welford, 1962, "Note on a Method for Calculating Corrected Sums of Squares and Products").
    #[inline]
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = (value - self.mean) - self.low;
        let step = delta / self.count;
        (self.mean, self.low) = two_sum(self.mean, self.low + step);
        self.m2 += delta * (delta - step);
    }
}

/// Means and variances.
pub(crate) struct Spread;

impl<T: Number> Fold<T> for Spread {
    type Cell = Moments;
    const EMPTY: Moments = Moments { count: 0.0, mean: 0.0, low: 0.0, m2: 0.0 };

    #[inline]
    fn one(cell: &mut Moments, value: T) {
        cell.add(value.to_f64());
    }

    #[inline]
    fn merge(cell: &mut Moments, other: Moments) {
        cell.merge(other);
    }

    #[inline]
    fn same(cell: &mut Moments, value: T, times: u64) {
        let mut one = <Self as Fold<T>>::EMPTY;
        <Self as Fold<T>>::run(&mut one, &[value]);
        cell.merge(Moments { count: times as f64, ..one });
    }

    #[inline]
    fn run(cell: &mut Moments, values: &[T]) {
        // A few at a time, which stay in the processor's caches for a second look at them.
        for part in values.chunks(PART) {
            let first = &part[..part.len().min(LANES)];
            let guess = first.iter().map(|value| value.to_f64()).sum::<f64>() / first.len() as f64;
            let deviations = |center: f64| {
                let (blocks, rest) = part.as_chunks::<LANES>();
                let (mut squares, mut errors) = ([0.0; LANES], [0.0; LANES]);
                for block in blocks {
                    for lane in 0..LANES {
                        let deviation = block[lane].to_f64() - center;
                        squares[lane] += deviation * deviation;
                        errors[lane] += deviation;
                    }
                }
                for (lane, value) in rest.iter().enumerate() {
                    let deviation = value.to_f64() - center;
                    squares[lane] += deviation * deviation;
                    errors[lane] += deviation;
                }
                Deviations {
                    count: part.len() as f64,
                    center,
                    squares: squares.iter().sum(),
                    error: errors.iter().sum(),
                }
            };
            let mut found = deviations(guess);
            if found.is_off() {
                found = deviations(found.mean());
            }
            cell.merge(found.moments());
        }
    }

    #[inline]
    fn rows(cells: &mut [Moments], values: &[T]) {
        let width = cells.len();
        if values.len() == width {
            for (cell, &value) in cells.iter_mut().zip(values) {
                cell.add(value.to_f64());
            }
            return;
        }
        if values.is_empty() {
            return;
        }
        for part in values.chunks(PART.min(values.len() / width) * width) {
            for (number, cells) in cells.chunks_mut(STRIP).enumerate() {
                let columns = number * STRIP..number * STRIP + cells.len();
                let deviations = |centers: &[f64; STRIP]| {
                    let (mut squares, mut errors) = ([0.0; STRIP], [0.0; STRIP]);
                    for row in part.chunks_exact(width) {
                        for (column, value) in row[columns.clone()].iter().enumerate() {
                            let deviation = value.to_f64() - centers[column];
                            squares[column] += deviation * deviation;
                            errors[column] += deviation;
                        }
                    }
                    std::array::from_fn::<_, STRIP, _>(|column| Deviations {
                        count: (part.len() / width) as f64,
                        center: centers[column],
                        squares: squares[column],
                        error: errors[column],
                    })
                };
                let first = &part[..width * (part.len() / width).min(LANES)];
                let sums = strip::<T>(first, width, columns.start, cells.len());
                let mut found =
                    deviations(&sums.map(|sum| T::local_to_f64(sum) / (first.len() / width) as f64));
                if found[..cells.len()].iter().any(Deviations::is_off) {
                    found = deviations(&found.map(|found| found.mean()));
                }
                cells.iter_mut().zip(found).for_each(|(cell, found)| cell.merge(found.moments()));
            }
        }
    }
}

/// How far values are from a center: the sums of their deviations from it, and of the squares of these.
#[derive(Debug, Clone, Copy)]
struct Deviations {
    count: f64,
    center: f64,
    squares: f64,
    error: f64,
}

impl Deviations {
    #[inline]
    fn mean(&self) -> f64 {
        self.center + self.error / self.count
    }

    /// Whether the center is so far from the mean that digits of the variance are lost.
    #[inline]
    fn is_off(&self) -> bool {
        self.error * self.error > 0.5 * self.squares * self.count
    }

    /// Chan, Golub and `LeVeque`, 1983, "Algorithms for Computing the Sample Variance", the corrected two-pass algorithm:
    /// whatever the center was, it is taken out again.
    #[inline]
    fn moments(&self) -> Moments {
        let m2 = self.squares - self.error * self.error / self.count;
        let (mean, low) = two_sum(self.center, self.error / self.count);
        // Not by `max`, which would make a zero of a NaN.
        Moments { count: self.count, mean, low, m2: if m2 < 0.0 { 0.0 } else { m2 } }
    }
}

/// Least and greatest value, and whether there was a NaN, which neither of them is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<T> {
    pub(crate) min: T,
    pub(crate) max: T,
    pub(crate) has_nan: bool,
}

/// Minima and maxima.
pub(crate) struct Extremes;

impl<T: Number> Fold<T> for Extremes {
    type Cell = Bounds<T>;
    const EMPTY: Bounds<T> = Bounds { min: T::GREATEST, max: T::LEAST, has_nan: false };

    #[inline]
    fn one(cell: &mut Bounds<T>, value: T) {
        if value < cell.min {
            cell.min = value;
        }
        if value > cell.max {
            cell.max = value;
        }
        cell.has_nan |= value.is_nan();
    }

    #[inline]
    fn merge(cell: &mut Bounds<T>, other: Bounds<T>) {
        if other.min < cell.min {
            cell.min = other.min;
        }
        if other.max > cell.max {
            cell.max = other.max;
        }
        cell.has_nan |= other.has_nan;
    }

    #[inline]
    fn same(cell: &mut Bounds<T>, value: T, _: u64) {
        <Self as Fold<T>>::one(cell, value);
    }

    #[inline]
    fn run(cell: &mut Bounds<T>, values: &[T]) {
        let (blocks, rest) = values.as_chunks::<LANES>();
        let (mut min, mut max, mut nan) = ([cell.min; LANES], [cell.max; LANES], [false; LANES]);
        for block in blocks {
            for lane in 0..LANES {
                let value = block[lane];
                min[lane] = if value < min[lane] { value } else { min[lane] };
                max[lane] = if value > max[lane] { value } else { max[lane] };
                nan[lane] |= value.is_nan();
            }
        }
        for lane in 0..LANES {
            <Self as Fold<T>>::merge(cell, Bounds { min: min[lane], max: max[lane], has_nan: nan[lane] });
        }
        for &value in rest {
            <Self as Fold<T>>::one(cell, value);
        }
    }

    #[inline]
    fn rows(cells: &mut [Bounds<T>], values: &[T]) {
        let width = cells.len();
        if values.len() <= width {
            cells.iter_mut().zip(values).for_each(|(cell, &value)| <Self as Fold<T>>::one(cell, value));
            return;
        }
        for (number, cells) in cells.chunks_mut(STRIP).enumerate() {
            let columns = number * STRIP..number * STRIP + cells.len();
            let (mut min, mut max, mut nan) = ([T::GREATEST; STRIP], [T::LEAST; STRIP], [false; STRIP]);
            for row in values.chunks_exact(width) {
                for (lane, &value) in row[columns.clone()].iter().enumerate() {
                    min[lane] = if value < min[lane] { value } else { min[lane] };
                    max[lane] = if value > max[lane] { value } else { max[lane] };
                    nan[lane] |= value.is_nan();
                }
            }
            for (lane, cell) in cells.iter_mut().enumerate() {
                let found = Bounds { min: min[lane], max: max[lane], has_nan: nan[lane] };
                <Self as Fold<T>>::merge(cell, found);
            }
        }
    }
}

/// What another fold makes of the values that are not NaN.
pub(crate) struct OfPresent<F>(PhantomData<F>);

impl<T: Number, F: Fold<T>> Fold<T> for OfPresent<F> {
    type Cell = F::Cell;
    const EMPTY: F::Cell = F::EMPTY;

    #[inline]
    fn one(cell: &mut F::Cell, value: T) {
        if !value.is_nan() {
            F::one(cell, value);
        }
    }

    #[inline]
    fn merge(cell: &mut F::Cell, other: F::Cell) {
        F::merge(cell, other);
    }

    #[inline]
    fn same(cell: &mut F::Cell, value: T, times: u64) {
        if !value.is_nan() {
            F::same(cell, value, times);
        }
    }
}

/// Numbers of values that are not zero.
pub(crate) struct Nonzero;

impl<T: Number> Fold<T> for Nonzero {
    type Cell = u64;
    const EMPTY: u64 = 0;

    #[inline]
    fn one(cell: &mut u64, value: T) {
        *cell += u64::from(value.is_nonzero());
    }

    #[inline]
    fn same(cell: &mut u64, value: T, times: u64) {
        *cell += if value.is_nonzero() { times } else { 0 };
    }

    #[inline]
    fn merge(cell: &mut u64, other: u64) {
        *cell += other;
    }
}

/// Numbers of values that are not NaN.
pub(crate) struct Present;

impl<T: Number> Fold<T> for Present {
    type Cell = u64;
    const EMPTY: u64 = 0;

    #[inline]
    fn one(cell: &mut u64, value: T) {
        *cell += u64::from(!value.is_nan());
    }

    #[inline]
    fn same(cell: &mut u64, value: T, times: u64) {
        *cell += if value.is_nan() { 0 } else { times };
    }

    #[inline]
    fn merge(cell: &mut u64, other: u64) {
        *cell += other;
    }
}

/// Numbers of values.
pub(crate) struct Stored;

impl<T: Number> Fold<T> for Stored {
    type Cell = u64;
    const EMPTY: u64 = 0;

    #[inline]
    fn one(cell: &mut u64, _: T) {
        *cell += 1;
    }

    #[inline]
    fn same(cell: &mut u64, _: T, times: u64) {
        *cell += times;
    }

    #[inline]
    fn merge(cell: &mut u64, other: u64) {
        *cell += other;
    }

    #[inline]
    fn run(cell: &mut u64, values: &[T]) {
        *cell += values.len() as u64;
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a fold makes of the rows of a block, one cell for each column: all at once; one value after the other; column
    /// by column; and two halves merged.
    fn ways<T: Number, F: Fold<T>>(values: &[T], width: usize) -> [Vec<F::Cell>; 4] {
        let rows = values.len() / width;
        let mut at_once = vec![F::EMPTY; width];
        F::rows(&mut at_once, values);
        let mut by_value = vec![F::EMPTY; width];
        for row in values.chunks(width) {
            by_value.iter_mut().zip(row).for_each(|(cell, &value)| F::one(cell, value));
        }
        let mut by_column = vec![F::EMPTY; width];
        for (column, cell) in by_column.iter_mut().enumerate() {
            let values: Vec<T> = values.iter().skip(column).step_by(width).copied().collect();
            F::run(cell, &values);
        }
        let (first, second) = values.split_at(rows / 2 * width);
        let mut halves = vec![F::EMPTY; width];
        F::rows(&mut halves, first);
        let mut others = vec![F::EMPTY; width];
        F::rows(&mut others, second);
        halves.iter_mut().zip(others).for_each(|(cell, other)| F::merge(cell, other));
        [at_once, by_value, by_column, halves]
    }

    proptest! {
        #[test]
        fn integers_are_exact(values in prop::collection::vec(any::<i32>(), 1..3000), width in 1usize..150) {
            let values = &values[..values.len() / width * width];
            prop_assume!(!values.is_empty());
            let column = |number: usize| values.iter().skip(number).step_by(width).copied();
            for sums in ways::<i32, Sum>(values, width) {
                for (number, sum) in sums.into_iter().enumerate() {
                    prop_assert_eq!(sum, column(number).map(i128::from).sum::<i128>());
                }
            }
            for bounds in ways::<i32, Extremes>(values, width) {
                for (number, bounds) in bounds.into_iter().enumerate() {
                    prop_assert_eq!(Some(bounds.min), column(number).min());
                    prop_assert_eq!(Some(bounds.max), column(number).max());
                }
            }
            for counts in ways::<i32, Nonzero>(values, width) {
                for (number, count) in counts.into_iter().enumerate() {
                    prop_assert_eq!(count, column(number).filter(|&value| value != 0).count() as u64);
                }
            }
        }

        #[test]
        fn variances_are_stable(
            values in prop::collection::vec(-1.0..1.0, 2..3000),
            offset in prop::sample::select(vec![0.0, 1.0, 1e6]),
            width in 1usize..100,
        ) {
            let values: Vec<f64> = values[..values.len() / width * width].iter().map(|value: &f64| value + offset).collect();
            prop_assume!(!values.is_empty());
            for spreads in ways::<f64, Spread>(&values, width) {
                for (number, spread) in spreads.into_iter().enumerate() {
                    let column: Vec<f64> = values.iter().skip(number).step_by(width).copied().collect();
                    // In exact arithmetic as far as it matters: distances from the offset are small.
                    let near: Vec<f64> = column.iter().map(|value| value - offset).collect();
                    let mean = near.iter().sum::<f64>() / near.len() as f64;
                    let m2: f64 = near.iter().map(|value| (value - mean) * (value - mean)).sum();
                    prop_assert_eq!(spread.count, near.len() as f64);
                    prop_assert!((spread.mean - offset - mean).abs() <= 1e-15 * (1.0 + offset) * 4.0);
                    prop_assert!((spread.m2 - m2).abs() <= 1e-12 * m2 + 1e-18 * offset * offset * near.len() as f64);
                }
            }
        }
    }

    #[test]
    fn sums_of_doubles_lose_nothing_that_fits() {
        // Added in order, the ones would vanish beside the large numbers.
        let values: Vec<f64> = (0..300).flat_map(|_| [1e16, 1.0, -1e16]).collect();
        let mut cell = <Sum as Fold<f64>>::EMPTY;
        for &value in &values {
            <Sum as Fold<f64>>::one(&mut cell, value);
        }
        let (high, low) = cell.in_two();
        assert_eq!(high + low, 300.0);
    }

    #[test]
    fn nan_is_neither_least_nor_greatest() {
        for cells in ways::<f32, Extremes>(&[1.0, f32::NAN, 3.0, f32::NAN, -2.0, 0.5], 1) {
            assert_eq!((cells[0].min, cells[0].max, cells[0].has_nan), (-2.0, 3.0, true));
        }
        for cells in ways::<f32, OfPresent<Sum>>(&[1.0, f32::NAN, 3.0], 1) {
            assert_eq!(cells[0].in_two(), (4.0, 0.0));
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for cells in ways::<f64, Spread>(&[1.0, f64::INFINITY, 2.0, 3.0], 1) {
            assert!(cells[0].m2.is_nan());
        }
        for cells in ways::<f64, Sum>(&[1.0, f64::INFINITY, 2.0, 3.0], 1) {
            assert_eq!(cells[0].in_two().0, f64::INFINITY);
        }
        for times in [1, 3, 1 << 32, (1 << 40) + 5] {
            let mut cell = <Sum as Fold<f64>>::EMPTY;
            <Sum as Fold<f64>>::same(&mut cell, f64::NEG_INFINITY, times);
            assert_eq!(cell.in_two().0, f64::NEG_INFINITY);
        }
    }
}
