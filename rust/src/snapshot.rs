//! One state of each file for all requests of one operation.
//!
//! A request is of one state of its file by itself. What is put together from several requests is not, unless each finds
//! the files as those before it did. So whoever makes several requests binds a [`Snapshot`] to its thread meanwhile: the
//! first request that reads a file notes its state there, and each later one fails that finds another.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::path::{Path, PathBuf, absolute};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::error::{Error, Place, Result};
use crate::identity::{Identity, Stamp};

/// The state of a file that can be told on every machine that shares it: size in bytes and time of modification; `None`
/// where there is no file.
pub type Content = Option<(u64, Stamp)>;

/// States of the files that one operation has read, by their paths.
#[derive(Debug, Default)]
pub struct Snapshot {
    files: Mutex<Files>,
    /// The first file that was found in another state, and whether its state was expected.
    broken: OnceLock<(PathBuf, bool)>,
}

#[derive(Debug, Default)]
struct Files {
    states: HashMap<PathBuf, State>,
    /// For each file by its one path without links: by which of its paths it is known. Empty where one path is known only.
    canonical: HashMap<PathBuf, PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// As a request found it; `None` if it was looked for and not there.
    Found(Option<Identity>),
    /// As whoever made the snapshot said.
    Expected(Content),
}

impl State {
    /// Whether this state, which was noted, is the one of a file that is found now.
    fn agrees(self, found: Option<&Identity>) -> bool {
        match self {
            Self::Found(known) => known.as_ref() == found,
            Self::Expected(content) => content == found.map(Identity::content),
        }
    }

    fn content(self) -> Content {
        match self {
            Self::Found(identity) => identity.as_ref().map(Identity::content),
            Self::Expected(content) => content,
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Snapshot>>> = const { RefCell::new(None) };
}

/// Binds a snapshot to the calling thread, whose requests are of its states from now on; `None` for none. The one before.
pub fn bind_snapshot(snapshot: Option<Arc<Snapshot>>) -> Option<Arc<Snapshot>> {
    CURRENT.replace(snapshot)
}

/// The snapshot that the calling thread's requests are of, if any.
pub fn current_snapshot() -> Option<Arc<Snapshot>> {
    CURRENT.with_borrow(Clone::clone)
}

impl Snapshot {
    /// Checks that a file which is found now is in the state that the operation knows it in, if it does. Nothing is noted.
    ///
    /// # Errors
    /// [`Error::Changed`].
    pub fn check(&self, path: &Path, found: &Identity) -> Result<()> {
        match self.lock().known(path) {
            Some(state) if !state.agrees(Some(found)) => Err(self.changed(path, state)),
            _ => Ok(()),
        }
    }

    /// Notes the state in which a request found a file (`None`: not at all).
    ///
    /// # Errors
    /// [`Error::Changed`] when it is known in another state.
    pub fn note(&self, path: &Path, found: Option<Identity>) -> Result<()> {
        let mut files = self.lock();
        match files.known(path) {
            Some(state) if !state.agrees(found.as_ref()) => return Err(self.changed(path, state)),
            _ => {}
        }
        files.put(path, State::Found(found));
        Ok(())
    }

    /// Notes states of files that later requests have to find.
    ///
    /// # Errors
    /// [`Error::Changed`] when one is known in another state.
    pub fn expect(&self, states: impl IntoIterator<Item = (PathBuf, Content)>) -> Result<()> {
        let mut files = self.lock();
        for (path, content) in states {
            match files.known(&path) {
                Some(state) if state.content() != content => {
                    return Err(self.changed(&path, State::Expected(content)));
                }
                Some(_) => {}
                None => files.put(&path, State::Expected(content)),
            }
        }
        Ok(())
    }

    /// Notes that a file could not be read any more, or did not keep still. If the operation knows it, it was changed:
    /// whatever is made of this error, [`Snapshot::verify`] tells.
    pub fn lost(&self, path: &Path) {
        if let Some(state @ (State::Found(Some(_)) | State::Expected(Some(_)))) = self.lock().known(path) {
            let _ = self.changed(path, state);
        }
    }

    /// Checks, at the end of an operation, that every request found all files as those before it did. Who made a request
    /// may have gone on after its error.
    ///
    /// # Errors
    /// [`Error::Changed`].
    pub fn verify(&self) -> Result<()> {
        match self.broken.get() {
            Some((path, expected)) => Err(Error::Changed { place: Place::file(path), expected: *expected }),
            None => Ok(()),
        }
    }

    /// The state in which a file is known, by its path; `None` if no request has found it.
    pub fn identity(&self, path: &Path) -> Option<Identity> {
        match self.lock().states.get(path) {
            Some(State::Found(identity)) => *identity,
            _ => None,
        }
    }

    /// All states, in a form for other machines, with absolute paths.
    pub fn contents(&self) -> Vec<(PathBuf, Content)> {
        let whole = |path: &PathBuf| absolute(path).unwrap_or_else(|_| path.clone());
        self.lock().states.iter().map(|(path, state)| (whole(path), state.content())).collect()
    }

    fn changed(&self, path: &Path, known: State) -> Error {
        let expected = matches!(known, State::Expected(_));
        self.broken.get_or_init(|| (path.to_owned(), expected));
        Error::Changed { place: Place::file(path), expected }
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    /// The state of a file, known by this path or by another one that leads to it.
    fn known(&mut self, path: &Path) -> Option<State> {
        if let Some(state) = self.states.get(path) {
            return Some(*state);
        }
        // Most operations have one file, by one path, and need not ask for all folders on the way to it.
        if self.states.is_empty() {
            return None;
        }
        if self.canonical.is_empty() {
            let paths = self.states.keys();
            self.canonical =
                paths.filter_map(|path| Some((fs::canonicalize(path).ok()?, path.clone()))).collect();
        }
        let other = self.canonical.get(&fs::canonicalize(path).ok()?)?;
        self.states.get(other).copied()
    }

    fn put(&mut self, path: &Path, state: State) {
        match self.states.entry(path.to_owned()) {
            Entry::Occupied(mut known) => {
                known.insert(state);
            }
            Entry::Vacant(place) => {
                place.insert(state);
                if !self.canonical.is_empty()
                    && let Ok(canonical) = fs::canonicalize(path)
                {
                    self.canonical.insert(canonical, path.to_owned());
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn identity(path: &Path) -> Identity {
        Identity::of(&fs::metadata(path).unwrap())
    }

    #[test]
    fn a_file_is_of_one_state_by_whatever_path() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "one").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let (snapshot, before) = (Snapshot::default(), identity(&file));
        snapshot.check(&file, &before).unwrap();
        snapshot.note(&file, Some(before)).unwrap();
        snapshot.note(&link, Some(before)).unwrap();
        fs::write(&file, "three").unwrap();
        let after = identity(&file);
        for path in [&file, &link, &folder.path().join(".").join("file")] {
            assert!(matches!(snapshot.check(path, &after), Err(Error::Changed { expected: false, .. })));
            assert!(snapshot.note(path, Some(after)).is_err());
            assert!(snapshot.note(path, None).is_err());
            snapshot.check(path, &before).unwrap();
        }
        assert_eq!(snapshot.identity(&file), Some(before));
        assert!(matches!(snapshot.verify(), Err(Error::Changed { expected: false, .. })));
    }

    #[test]
    fn states_are_expected_of_the_next_request() {
        let folder = tempfile::tempdir().unwrap();
        let (file, none) = (folder.path().join("file"), folder.path().join("none"));
        fs::write(&file, "one").unwrap();
        let first = Snapshot::default();
        first.note(&file, Some(identity(&file))).unwrap();
        first.note(&none, None).unwrap();
        let second = Snapshot::default();
        second.expect(first.contents()).unwrap();
        second.expect(first.contents()).unwrap();
        second.check(&file, &identity(&file)).unwrap();
        fs::write(&file, "three").unwrap();
        assert!(matches!(second.check(&file, &identity(&file)), Err(Error::Changed { expected: true, .. })));
        assert!(second.note(&none, Some(identity(&file))).is_err());
        assert!(second.expect([(file.clone(), None)]).is_err());
        assert!(matches!(second.verify(), Err(Error::Changed { expected: true, .. })));
        first.verify().unwrap();
        first.lost(&none);
        first.verify().unwrap();
        first.lost(&file);
        first.verify().unwrap_err();
    }

    #[test]
    fn a_snapshot_is_one_threads_own() {
        let snapshot = Arc::new(Snapshot::default());
        assert!(bind_snapshot(Some(Arc::clone(&snapshot))).is_none());
        std::thread::spawn(|| assert!(current_snapshot().is_none())).join().unwrap();
        assert!(Arc::ptr_eq(&current_snapshot().unwrap(), &snapshot));
        assert!(bind_snapshot(None).is_some());
        assert!(current_snapshot().is_none());
    }
}
