//! What the configuration's files hold, as digests: whether anything has changed is seen by looking again, through symbolic
//! links too, so that the directory swap of a mounted `ConfigMap` or Secret is a change like any other.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};

/// Files and what they hold; `None` = it could not be read.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fingerprint(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl Fingerprint {
    /// Of the configuration file with its text, and of `files`, which are read now.
    pub(super) fn new(text: Option<(&Path, Option<&str>)>, files: Vec<PathBuf>) -> Self {
        let mut all: BTreeMap<_, _> = files.into_iter().map(read).collect();
        all.extend(text.map(|(path, text)| (path.to_owned(), text.map(|text| hash(text.as_bytes())))));
        Self(all)
    }

    /// The same files, read now.
    #[must_use]
    pub fn again(&self) -> Self {
        Self(self.0.keys().cloned().map(read).collect())
    }

    /// Whether a file holds the same in both.
    #[must_use]
    pub fn agrees(&self, other: &Self, file: &Path) -> bool {
        self.0.get(file) == other.0.get(file)
    }
}

/// Digests of short secrets could be guessed from.
impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn read(path: PathBuf) -> (PathBuf, Option<[u8; 32]>) {
    let content = std::fs::read(&path).ok().map(|bytes| hash(&bytes));
    (path, content)
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_swapped_directory_is_a_change_and_a_rewritten_same_text_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (version, text) in [("..1", "a"), ("..2", "b")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("secret"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/secret", at("secret")).unwrap();
        let first = Fingerprint::new(None, vec![at("secret"), at("missing")]);
        std::fs::write(at("..1").join("secret"), "a").unwrap();
        assert_eq!(first.again(), first);
        symlink("..2", at("..new")).unwrap();
        std::fs::rename(at("..new"), at("..data")).unwrap();
        let second = first.again();
        assert_ne!(second, first);
        assert!(!second.agrees(&first, &at("secret")) && second.agrees(&first, &at("missing")));
        std::fs::write(at("missing"), "").unwrap();
        assert_ne!(second.again(), second, "a file that appears is a change");
    }
}
