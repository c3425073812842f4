//! proxy.toml: layers merged, all mistakes reported at once. The request path never sees what is in here, only what was compiled from it.

pub mod problem;
pub mod sections;
pub mod units;

use std::path::PathBuf;

use sections::Config;

/// Where the layers above the built-in one come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file; `None` = look at the usual places, and do without if none is there.
    pub file: Option<PathBuf>,
    /// The environment's `SIDEGATE__SECTION__KEY` variables.
    pub environment: Vec<(String, String)>,
    /// Flags: path and value, `("store.url", "redis://…")`.
    pub flags: Vec<(String, String)>,
}

/// A configuration that was read and parsed, and what is wrong with it.
#[derive(Debug)]
pub struct Loaded {
    /// All layers merged, file paths made absolute; what could not be parsed has its default, and `problems` says so.
    pub config: Config,
    /// What is wrong so far; compiling the configuration adds to it.
    pub problems: problem::Problems,
}

/// Reads and merges the layers. Never fails as a whole: what is wrong is in `problems`.
#[must_use]
pub fn load(_sources: &Sources) -> Loaded {
    todo!()
}

impl Loaded {
    /// Compiles everything that `serve` would (`app::compile`), adding its problems.
    /// The problems as a person reads them: file:line:column, the line, a caret, what to do.
    #[must_use]
    pub fn report(&self) -> String {
        todo!()
    }
}
