//! Where a request's results come from: the file that it opened, in one state, and all others that took part.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::identity::Identity;

/// The file that a request opened, and the others that it was led to: by external links, as sources of virtual
/// datasets, as external storage.
#[derive(Debug)]
pub struct Origin {
    path: PathBuf,
    identity: Identity,
    /// Every file that was looked for, in the state in which it was before it was opened; `None` for one that was not
    /// there, which decides as much as one that is.
    others: Arc<Mutex<BTreeMap<PathBuf, Option<Identity>>>>,
}

impl Origin {
    /// A file that no other one takes part in yet.
    pub fn new(path: PathBuf, identity: Identity) -> Self {
        Self { path, identity, others: Arc::default() }
    }

    /// The same file as one that takes part in what is found in another one: what takes part in it, takes part in both.
    #[must_use]
    pub fn beside(self, main: &Self) -> Self {
        Self { others: Arc::clone(&main.others), ..self }
    }

    /// Whether the file at a path is noted in this state.
    pub fn has(&self, path: &Path, state: Option<Identity>) -> bool {
        self.lock().get(path) == Some(&state)
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which file it is, and in which state it was when it was opened.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Takes note of files that take part. Whether any of them was not known to: what was read of it before now may be of
    /// another state than the one that was noted, and has to be read again.
    #[must_use]
    pub fn note(&self, paths: impl IntoIterator<Item = PathBuf>) -> bool {
        let mut others = self.lock();
        let before = others.len();
        for path in paths {
            others.entry(path).or_insert_with_key(|path| look(path));
        }
        others.len() > before
    }

    /// All others that took part, and their states.
    pub fn others(&self) -> Vec<(PathBuf, Option<Identity>)> {
        self.lock().iter().map(|(path, identity)| (path.clone(), *identity)).collect()
    }

    /// Whether all others are what they were when they were noted.
    pub fn others_are_unchanged(&self) -> bool {
        self.lock().iter().all(|(path, identity)| look(path) == *identity)
    }

    /// How long it takes until another change of one of the others is sure to show.
    pub fn unsettled(&self) -> Duration {
        let others = self.lock();
        if others.is_empty() {
            return Duration::ZERO;
        }
        let now = SystemTime::now();
        others.values().flatten().map(|identity| identity.unsettled(now)).max().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Option<Identity>>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of the regular file that a path leads to now.
fn look(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|metadata| Identity::of(&metadata))
}
