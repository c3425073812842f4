//! The file that is imported, or stdin. It is read once; that nobody wrote to it meanwhile is looked at in the end.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::SystemTime;

/// Something to import.
pub struct Input {
    /// What messages call it; its end may tell the form.
    pub(super) name: String,
    /// Bytes, where that is known beforehand.
    pub(super) length: Option<u64>,
    pub(super) source: Box<dyn Read + Send>,
    pub(super) unchanged: Unchanged,
}

/// Tells whether a file is still what it was.
pub(super) struct Unchanged(Option<(File, Seen)>);

type Seen = (u64, Option<SystemTime>);

impl Input {
    /// Opens a file; `-` is stdin.
    ///
    /// # Errors
    /// Those of the file.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::of("stdin", io::stdin()));
        }
        let file = File::open(path)?;
        let seen = look(&file)?;
        let input = Self::of(&path.display().to_string(), file.try_clone()?);
        // A pipe has no length and no later state.
        Ok(match seen {
            Some(seen) => Self { length: Some(seen.0), unchanged: Unchanged(Some((file, seen))), ..input },
            None => input,
        })
    }

    /// Reads from anything.
    pub fn of(name: &str, source: impl Read + Send + 'static) -> Self {
        Self { name: name.to_owned(), length: None, source: Box::new(source), unchanged: Unchanged(None) }
    }

    /// What messages call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Unchanged {
    /// Whether it is, after this many bytes were read to its end.
    pub(super) fn check(&self, read: u64) -> io::Result<()> {
        let Some((file, before)) = &self.0 else { return Ok(()) };
        if look(file)? == Some(*before) && before.0 == read {
            return Ok(());
        }
        Err(io::Error::other("it was changed while it was read; nothing was imported"))
    }
}

fn look(file: &File) -> io::Result<Option<Seen>> {
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then(|| (metadata.len(), metadata.modified().ok())))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_that_grows_while_it_is_read_is_told() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"a\n").unwrap();
        let input = Input::open(file.path()).unwrap();
        assert_eq!(input.length, Some(2));
        assert!(input.unchanged.check(2).is_ok());
        file.write_all(b"b\n").unwrap();
        assert!(input.unchanged.check(2).is_err() && input.unchanged.check(4).is_err());
    }
}
