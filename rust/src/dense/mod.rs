//! Reading a dataset, or any selection of it, into an array.

#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

mod check;
mod points;
mod reduce;

pub use check::{Checked, check};
pub use points::{Along, read_points};
pub use reduce::reduce;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::dataset::{Dataset, Facts, Layout};
use crate::element::ElementType;
use crate::error::{Error, Result};
use crate::memory;
use crate::plan::Plan;
use crate::pool::{self, Control};
use crate::reader::{Request, Worker};
use crate::scatter::{Kernel, Output};
use crate::selection::Axis;
use crate::strings::Strings;

/// What the dataset `name` of the file at `path` is.
///
/// # Errors
/// [`crate::Error::FileNotFound`], [`crate::Error::NotFound`] when there is no such dataset,
/// [`crate::Error::ElementType`] when its values have no numeric dtype, [`crate::Error::Unreadable`] and
/// [`crate::Error::Io`] when it cannot be made sense of.
pub fn inspect(path: &Path, name: &[u8]) -> Result<Arc<Dataset>> {
    Request::run(path, |request| request.dataset(name))
}

/// How the dataset `name` of the file at `path` is stored.
///
/// # Errors
/// As [`inspect`]; its values may be of any type.
pub fn facts(path: &Path, name: &[u8]) -> Result<Facts> {
    Request::run(path, |request| request.facts(name))
}

/// Which path reads a dataset: `direct`, `virtual` (each of its sources by its own path), `libhdf5: ` and why, or
/// `none: ` and why.
///
/// # Errors
/// As [`inspect`].
pub fn read_path(path: &Path, name: &[u8]) -> Result<String> {
    Ok(match &inspect(path, name)?.layout {
        Layout::Chunked { missing: Some(missing), .. } => format!("none: filter {missing}"),
        Layout::Compact(_) | Layout::Contiguous(_) | Layout::External(_) | Layout::Chunked { .. } => {
            "direct".into()
        }
        Layout::Virtual(_) => "virtual".into(),
        Layout::Library { reason, .. } => format!("libhdf5: {reason}"),
    })
}

/// Shape of the blocks in which the dataset `name` of the file at `path` is read: its chunks, if it has any.
///
/// # Errors
/// As [`read`].
pub fn blocks(path: &Path, name: &[u8]) -> Result<Vec<u64>> {
    Request::run(path, |request| Ok(memory::copy(request.reader(name)?.grid().chunk())?))
}

/// Reads a selection of a dataset into `out`, a C-contiguous array of the selection's shape whose elements
/// are of type `target`.
///
/// When this fails, `out` holds parts of the result and parts of what it held before.
///
/// # Errors
/// As [`inspect`]; [`crate::Error::Index`] when the selection leaves the dataset,
/// [`crate::Error::Structure`] when it has another number of axes, [`crate::Error::Damaged`] when a chunk
/// cannot be right, [`crate::Error::Filter`] when nothing decodes it, [`crate::Error::Interrupted`].
pub fn read(
    path: &Path,
    name: &[u8],
    selection: &[Axis],
    target: ElementType,
    out: &mut [u8],
    control: &Control<'_>,
) -> Result<()> {
    Request::run(path, |request| {
        let reader = request.reader_of(name, Some(selection))?;
        let kernel =
            Kernel::new(reader.dataset().element, target).map_err(|error| error.at(reader.place()))?;
        let plan = Plan::new(reader.grid().clone(), selection).map_err(|error| error.at(reader.place()))?;
        let output = Output::new(out, &plan, kernel)?.shared(pool::share);
        reader.read(&plan, &output, control)
    })
}

/// Reads a selection of a dataset of variable-length strings: their bytes, in C order.
///
/// They are scattered over the file's global heaps, to which the chunks hold references.
///
/// # Errors
/// As [`read`]; [`crate::Error::ElementType`] when the dataset holds something else.
pub fn read_strings(path: &Path, name: &[u8], selection: &[Axis], control: &Control<'_>) -> Result<Strings> {
    Request::run(path, |request| {
        let reader = request.reader(name)?;
        if reader.dataset().element != ElementType::STRING {
            return Err(Error::ElementType(format!(
                "{} holds no strings of variable length",
                reader.place()
            )));
        }
        let plan = Plan::new(reader.grid().clone(), selection).map_err(|error| error.at(reader.place()))?;
        // Before anything is read: as many as the file or the selection says.
        memory::check(plan.count().saturating_mul(Strings::PLACE))
            .map_err(|error| Error::from(error).at(reader.place()))?;
        let found = Mutex::new(Vec::new());
        pool::for_each(control, plan.jobs(), |worker: &mut Worker, number| {
            let strings = reader.strings(&plan.job(number), plan.lens(), worker)?;
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(memory::push(&mut found, strings)?)
        })?;
        let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        Strings::new(plan.count(), found).map_err(|error| error.at(reader.place()))
    })
}
