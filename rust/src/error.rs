//! The one error type of the engine, and where in a file an error was met.

use std::fmt;
use std::path::{Path, PathBuf};

/// What every fallible function of the engine returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Where something went wrong: a file, perhaps one of its datasets, perhaps one of that dataset's chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: PathBuf,
    dataset: Option<String>,
    chunk: Option<Vec<u64>>,
}

impl Place {
    /// A whole file.
    pub fn file(path: &Path) -> Self {
        Self { file: path.to_owned(), dataset: None, chunk: None }
    }

    /// A dataset (or group) of a file. A name that is not UTF-8 is shown with replacement characters.
    pub fn dataset(path: &Path, name: &[u8]) -> Self {
        Self { file: path.to_owned(), dataset: Some(String::from_utf8_lossy(name).into_owned()), chunk: None }
    }

    /// The chunk of this dataset whose first element has these indices.
    #[must_use]
    pub fn chunk(&self, offset: &[u64]) -> Self {
        Self { chunk: Some(offset.to_vec()), ..self.clone() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.file.display())?;
        if let Some(dataset) = &self.dataset {
            write!(f, ", dataset '{dataset}'")?;
        }
        if let Some(chunk) = &self.chunk {
            write!(f, ", chunk at {chunk:?}")?;
        }
        Ok(())
    }
}

/// Everything that can go wrong, one variant for each exception that Python users see.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no file of this name.
    #[error("no such file: '{}'", .0.display())]
    FileNotFound(PathBuf),
    /// The operating system refused to open or read.
    #[error("cannot read {place}: {source}")]
    Io {
        /// What was being read.
        place: Place,
        /// The operating system's own error.
        source: std::io::Error,
    },
    /// libhdf5 refused to open or read; or the file is not one of HDF5's.
    #[error("cannot read {place}: {message}")]
    Unreadable {
        /// What was being read.
        place: Place,
        /// What is the matter with it, in libhdf5's words where they are its own.
        message: String,
    },
    /// Bytes that cannot be right: a checksum, a length, an address.
    #[error("damaged data in {place}: {message}")]
    Damaged {
        /// Which bytes.
        place: Place,
        /// What is the matter with them.
        message: String,
    },
    /// The file changed while it was being read, again and again.
    #[error("{place} kept changing while it was being read; try again when nothing writes to it")]
    Changing {
        /// The file.
        place: Place,
    },
    /// The file is not in the state in which it was found before, by an earlier request of the same operation or when the
    /// array that reads it was made.
    #[error(
        "cannot read {place}: it was changed {}, and results of two of its states do not go together; {}",
        if *.expected { "after the array that reads it was made" } else { "while one operation read it" },
        if *.expected { "make the array again" } else { "begin the operation again" }
    )]
    Changed {
        /// The file.
        place: Place,
        /// The state was noted before the operation began.
        expected: bool,
    },
    /// The file has no such dataset.
    #[error("{place}: {message}")]
    NotFound {
        /// What was looked for.
        place: Place,
        /// Why it is not there: no such link, a group, ...
        message: String,
    },
    /// An index outside of an axis.
    #[error("{0}")]
    Index(String),
    /// A structure that cannot be the array or matrix that was asked for.
    #[error("{0}")]
    Structure(String),
    /// An element type that numpy has no equivalent for, or that cannot be converted.
    #[error("{0}")]
    ElementType(String),
    /// A filter that nothing at hand decodes.
    #[error("{place}: {message}")]
    Filter {
        /// The dataset.
        place: Place,
        /// The filter's name and id, and what would help.
        message: String,
    },
    /// More memory than there is.
    #[error("{0}")]
    OutOfMemory(String),
    /// The caller asked to stop (Ctrl-C).
    #[error("interrupted")]
    Interrupted,
    /// A defect of this package.
    #[error("internal error, please report it: {0}")]
    Internal(String),
}

impl Error {
    /// The same error, saying of which place it is where it does not already.
    #[must_use]
    pub(crate) fn at(self, place: &Place) -> Self {
        match self {
            Self::Index(message) => Self::Index(format!("{place}: {message}")),
            Self::Structure(message) => Self::Structure(format!("{place}: {message}")),
            Self::OutOfMemory(message) => Self::OutOfMemory(format!("{place}: {message}")),
            Self::ElementType(message) => Self::ElementType(format!("{place}: {message}")),
            other => other,
        }
    }
}
