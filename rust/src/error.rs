//! The one error type of the engine, and where in a file an error was met.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::memory::NoMemory;

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
        write!(f, "'{}'{}", self.file.display(), self.inside())
    }
}

impl Place {
    /// Where within the file it is.
    fn inside(&self) -> String {
        let dataset = self.dataset.iter().map(|dataset| format!(", dataset '{dataset}'"));
        let chunk = self.chunk.iter().map(|chunk| format!(", chunk at {chunk:?}"));
        dataset.chain(chunk).collect()
    }
}

/// `ENOENT`, `EACCES` and `EISDIR`, the same numbers everywhere.
const NO_ENTRY: i32 = 2;
const NO_ACCESS: i32 = 13;
const IS_DIRECTORY: i32 = 21;
/// `EEXIST`, the same number everywhere.
const EXISTING: i32 = 17;

const EXISTS: &str = "it exists already, and is only replaced when that is asked for";
const OCCUPIED: &str = "another writer is making a new version of it; try again when that is done";

/// The number that C's `errno` has for an error of the operating system.
fn errno(source: &std::io::Error) -> Option<i32> {
    match source.kind() {
        std::io::ErrorKind::NotFound => Some(NO_ENTRY),
        std::io::ErrorKind::PermissionDenied if cfg!(windows) => Some(NO_ACCESS),
        // Windows has numbers of its own.
        _ if cfg!(windows) => None,
        _ => source.raw_os_error(),
    }
}

/// What the operating system says, without the number that Rust adds to it.
fn plain(source: &std::io::Error) -> String {
    let text = source.to_string();
    text.split_once(" (os error ").map_or(text.as_str(), |(plain, _)| plain).to_owned()
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
    /// The path leads to a directory.
    #[error("cannot read {place}: {message}")]
    IsDirectory {
        /// The directory.
        place: Place,
        /// What kind of directory it is.
        message: String,
    },
    /// A lock on the file could not be had.
    #[error("cannot read {place}: {}", self.locked())]
    Locked {
        /// The file.
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
    /// The operating system refused to write.
    #[error("cannot write {place}: {source}")]
    Writing {
        /// What was being written.
        place: Place,
        /// The operating system's own error.
        source: std::io::Error,
    },
    /// libhdf5 refused to write, or what was written is not what is in the file.
    #[error("cannot write {place}: {message}")]
    Unwritable {
        /// What was being written.
        place: Place,
        /// What is the matter.
        message: String,
    },
    /// There is something already, which was not to be replaced.
    #[error("{place}: {}", EXISTS)]
    Exists {
        /// What there is.
        place: Place,
    },
    /// Another writer is making a new version of the file.
    #[error("cannot write {place}: {}", OCCUPIED)]
    Occupied {
        /// The file.
        place: Place,
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
    /// What the caller's own code raised.
    #[error("{0}")]
    Caller(Box<dyn std::error::Error + Send + Sync>),
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
    /// What a lock that cannot be had means, and what to do.
    fn locked(&self) -> String {
        let Self::Locked { source, .. } = self else { return String::new() };
        let why = if source.kind() == std::io::ErrorKind::WouldBlock {
            "another program has it open for writing, and has locked it; close it there".to_owned()
        } else {
            format!("it cannot be locked against being written to ({})", plain(source))
        };
        format!(
            "{why}, or set the environment variable HDF5_USE_FILE_LOCKING to FALSE to read it without a lock, which gives \
             errors or old values while it is written to"
        )
    }

    /// The operating system's error of which this is a case: its number, what it says, and about which file. None for what
    /// is wrong with a file's contents.
    pub fn system(&self) -> Option<(i32, String, &Path)> {
        match self {
            Self::FileNotFound(path) => Some((NO_ENTRY, "No such file or directory".into(), path)),
            Self::Io { place, source } | Self::Writing { place, source } => {
                Some((errno(source)?, format!("{}{}", plain(source), place.inside()), &place.file))
            }
            Self::IsDirectory { place, message } => Some((IS_DIRECTORY, message.clone(), &place.file)),
            Self::Locked { place, source } => Some((errno(source)?, self.locked(), &place.file)),
            Self::Exists { place } => Some((EXISTING, format!("{EXISTS}{}", place.inside()), &place.file)),
            Self::Occupied { place } => Some((libc::EAGAIN, OCCUPIED.into(), &place.file)),
            _ => None,
        }
    }

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

impl From<NoMemory> for Error {
    fn from(NoMemory(bytes): NoMemory) -> Self {
        Self::OutOfMemory(format!("no memory for {bytes} bytes; read it in parts"))
    }
}
