//! The engine of filebackedarray: reads HDF5 datasets and compressed sparse matrices, in parallel.
//!
//! libhdf5 is asked only where the bytes of a dataset are. Reading, decompressing and putting them where
//! they belong is done here, on all cores: see [`dense`] and [`sparse`] for what it is for, and
//! `docs/architecture.md` for how a request goes through the modules.

#![deny(unsafe_code)]

/// Whether windows, blocks and units are as small as can be, so that small tests have many of each.
const SMALL: bool = cfg!(any(test, feature = "fuzzing"));

#[cfg(feature = "benching")]
pub mod benching;
mod cache;
mod chunks;
mod confine;
mod dataset;
mod element;
mod error;
mod filters;
pub mod fork;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod heap;
mod identity;
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "what is as many as mappings, axes or indices of a block; stretches are asked for"
)]
mod mapping;
mod memory;
mod object;
mod origin;
mod packed;
mod plan;
mod planes;
mod pool;
mod reader;
mod selection;
mod signature;
mod snapshot;
mod source;
#[allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "what is as many as mappings or axes; values are asked for"
)]
mod sources;
mod strings;
mod units;

pub mod contents;
pub mod dense;
pub mod product;
pub mod reduce;
pub mod sparse;
pub mod write;
// The two modules with unsafe code: calls of a C library, and writes by many threads to one array.
#[allow(unsafe_code)]
mod hdf5;
#[allow(unsafe_code)]
mod scatter;

pub use cache::set_budget as set_cache_budget;
pub use chunks::Grid;
pub use confine::{Confined, confine};
pub use dataset::{Dataset, Facts, FilterStep, Layout, Marks, Segment, Virtual};
pub use element::{ElementType, Kind, Order, Padding};
pub use error::{Error, Place, Result};
pub use hdf5::{add_plugins, only_this_file};
pub use identity::{Identity, Stamp};
pub use mapping::{Definition, Mapping, Selected, Slab};
pub use memory::{available as available_memory, limit as memory_limit};
pub use object::{Attribute, Field, Kind as ObjectKind, Member, Object, Values};
pub use plan::PerAxis;
pub use pool::{Control, THREADS_VARIABLE, limit_threads, num_threads, set_num_threads};
pub use selection::Axis;
pub use snapshot::{Content, Snapshot, bind_snapshot, current_snapshot};
pub use source::file_of;
pub use strings::Strings;
