//! What is said of bytes that are not decoded.

use crate::memory::NoMemory;

/// What is the matter with some bytes, whoever reads them.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// They cannot be right.
    Damaged(String),
    /// There is no memory for so many.
    OutOfMemory(usize),
}

/// Bytes went through a filter in a way that is not of the direct path. That is no fault: a plugin of libhdf5 may know it.
#[derive(Debug, PartialEq, Eq)]
pub struct Declined {
    /// The filter's number.
    pub filter: u32,
    /// What it did that others of its kind do not; empty if nothing of that filter is known.
    pub what: String,
}

/// Why some bytes were not decoded. The two are types of their own, so that nobody reports as an error what only the direct
/// path cannot read.
#[derive(Debug, PartialEq, Eq)]
pub enum Complaint {
    /// Nobody can decode them.
    Fault(Fault),
    /// Something else than the direct path may decode them.
    Declined(Declined),
}

impl From<Fault> for Complaint {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Declined> for Complaint {
    fn from(declined: Declined) -> Self {
        Self::Declined(declined)
    }
}

impl From<NoMemory> for Fault {
    fn from(NoMemory(bytes): NoMemory) -> Self {
        Self::OutOfMemory(bytes)
    }
}

impl From<String> for Complaint {
    fn from(message: String) -> Self {
        Self::Fault(message.into())
    }
}

impl From<&str> for Complaint {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self::Damaged(message)
    }
}

pub(super) fn wrong_length(found: usize, expected: usize) -> Fault {
    format!("{found} bytes where there should be {expected}").into()
}
