//! Where the snapshot is. What was changed must not come back from it: the file is taken away before the change counts as applied,
//! and what was being written then never takes its place. It knows nothing of what is in the file.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fs, io};

/// Where the file is, or nowhere.
pub(in crate::authn) struct Place {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How often the file was taken away.
    withdrawn: u64,
    /// Whether what is there, if anything, was written by this process: another one may have known any key.
    is_ours: bool,
}

impl Place {
    /// An empty path is nowhere.
    pub(in crate::authn) fn new(path: &Path) -> Self {
        let path = (!path.as_os_str().is_empty()).then(|| path.to_owned());
        Self { path, state: Mutex::default() }
    }

    pub(in crate::authn) const fn is_somewhere(&self) -> bool {
        self.path.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the file was taken away.
    pub(in crate::authn) fn withdrawn(&self) -> u64 {
        self.lock().withdrawn
    }

    /// Something was changed; whether this process had it. Answers whether the file was taken away, and is to be written anew.
    pub(in crate::authn) fn withdraw(&self, was_in_use: bool) -> bool {
        let Some(path) = &self.path else { return false };
        let mut state = self.lock();
        if !was_in_use && state.is_ours {
            return false;
        }
        state.withdrawn += 1;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %path.display(), %error, "the snapshot holds what was changed and cannot be removed");
            }
            _ => state.is_ours = true,
        }
        true
    }

    /// Puts there what was written since the file was taken away that often. If it was again, that is of no use any more.
    pub(in crate::authn) fn put(&self, written: &Path, withdrawn: u64) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut state = self.lock();
        if state.withdrawn != withdrawn {
            return fs::remove_file(written);
        }
        fs::rename(written, path)?;
        state.is_ours = true;
        Ok(())
    }
}
