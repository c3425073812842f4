//! proxy.toml: layers merged, all mistakes reported at once. The request path never sees what is in here, only what was compiled from it.

mod checks;
mod deserialize;
mod files;
mod fingerprint;
mod layers;
mod parse;
pub mod path;
pub mod problem;
pub mod profiles;
mod render;
pub mod sections;
mod shorthand;
mod show;
pub mod suggest;
mod tree;
pub mod units;

use std::path::{Path, PathBuf};

use crate::app::{self, App};
use crate::cli::{Exit, Failure, Globals, output};

pub use fingerprint::Fingerprint;
use problem::{Problems, Severity};
pub use render::{Located, without_passwords};
use sections::Config;
use tree::Tree;

/// What variables that are configuration begin with.
const VARIABLE_PREFIX: &str = "SIDEGATE__";
/// Where the file is looked for when nobody names one.
const USUAL_PLACES: [&str; 2] = ["proxy.toml", "/etc/sidegate/proxy.toml"];

/// Where the layers above the built-in one come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file; `None` = look at the usual places, and do without if none is there.
    pub file: Option<PathBuf>,
    /// The environment's `SIDEGATE__SECTION__KEY` variables.
    pub environment: Vec<(String, String)>,
    /// Flags: path and value, `("store.url", "redis://…")`.
    pub flags: Vec<(String, String)>,
    /// Whether this is a Kubernetes pod: there the store must be named.
    pub in_pod: bool,
}

/// A configuration that was read and parsed, and what is wrong with it.
#[derive(Debug)]
pub struct Loaded {
    /// All layers merged, file paths made absolute; what could not be parsed has its default, and `problems` says so.
    pub config: Config,
    /// What is wrong so far; compiling the configuration adds to it.
    pub problems: Problems,
    /// The file that was read.
    pub file: Option<PathBuf>,
    tree: Tree,
}

impl Sources {
    /// From the command line's global flags and this process' environment.
    #[must_use]
    pub fn from_globals(globals: &Globals) -> Self {
        let mut environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
            .collect();
        environment.sort();
        Self {
            file: globals.config.clone(),
            environment,
            flags: globals.store.iter().map(|url| ("store.url".to_owned(), url.clone())).collect(),
            in_pod: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
        }
    }
}

/// Who runs this process, as the environment names them, where the name is one that can be written down.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the environment is read here")]
pub fn user() -> Option<String> {
    let is_plain =
        |name: &String| (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    // Behind sudo stands somebody else.
    ["SUDO_USER", "LOGNAME", "USER"].into_iter().filter_map(|variable| std::env::var(variable).ok()).find(is_plain)
}

/// Reads and merges the layers. Never fails as a whole: what is wrong is in `problems`.
#[must_use]
pub fn load(sources: &Sources) -> Loaded {
    let mut problems = Problems::default();
    let file = sources.file.clone().or_else(|| USUAL_PLACES.iter().map(PathBuf::from).find(|path| path.exists()));
    let text = match file.as_deref().map(read).transpose() {
        Ok(text) => text,
        Err(why) => {
            problems.error("", why);
            None
        }
    };
    build(file.zip(text), sources, problems)
}

/// The same with the file's text at hand: `name` is what problems call it, and its directory is what paths are relative to.
#[must_use]
pub fn load_text(name: &Path, text: &str, sources: &Sources) -> Loaded {
    build(Some((name.to_owned(), text.to_owned())), sources, Problems::default())
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read the configuration file {}: {error}", path.display()))?;
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", path.display()))
}

fn build(file: Option<(PathBuf, String)>, sources: &Sources, mut problems: Problems) -> Loaded {
    let (file, text) = file.unzip();
    let mut tree = layers::merged(file.as_deref().zip(text), sources, &mut problems);
    shorthand::expand(&mut tree, &mut problems);
    let mut config = parse::parse(&mut tree, &mut problems);
    checks::say_allow(&mut config);
    let directory = file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let directory = std::path::absolute(if directory.as_os_str().is_empty() { Path::new(".") } else { directory }).unwrap_or_default();
    files::resolve(&mut config, &tree, &directory, &mut problems);
    let mut loaded = Loaded { config, problems, file, tree };
    loaded.judge(|config, tree, problems| checks::check(config, tree, sources.in_pod, problems));
    loaded
}

impl Loaded {
    /// Compiles everything that `serve` would ([`app::compile`]), adding its problems; `None` if there is any error.
    pub fn compile(&mut self) -> Option<App> {
        let app = self.judge(|config, _, problems| app::compile(config, problems));
        app.filter(|_| !self.problems.has_errors())
    }

    /// The same for a command that goes on with it: says on stderr what is wrong, warnings too.
    ///
    /// # Errors
    /// `Exit::Configuration` if there is any error.
    pub fn compile_or_report(&mut self) -> Result<App, Failure> {
        let app = self.compile();
        let report = self.report();
        if !report.is_empty() {
            output::note(report.trim_end());
        }
        app.ok_or_else(|| Exit::Configuration.because(format!("{}: {}", self.name(), self.counts())))
    }

    /// What its files hold: the configuration file as it was read, the files that it names as they are now.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let text = self.tree.sources.iter().find(|source| source.kind == tree::SourceKind::File).map(|source| source.text.as_str());
        Fingerprint::new(self.file.as_deref().map(|file| (file, text)), files::list(&self.config))
    }

    /// For a command that needs the configuration but serves nothing: errors are its end, warnings are not its business.
    ///
    /// # Errors
    /// `Exit::Configuration` if there is any error.
    pub fn require(&self) -> Result<(), Failure> {
        if !self.problems.has_errors() {
            return Ok(());
        }
        output::note(self.report().trim_end());
        Err(Exit::Configuration.because(format!("{}: {}", self.name(), self.counts())))
    }

    /// The problems as a person reads them: file, line and column, the line itself, a caret, what to do.
    #[must_use]
    pub fn report(&self) -> String {
        let mut out = String::new();
        for problem in self.in_order() {
            if !out.is_empty() {
                out.push('\n');
            }
            render::write(&mut out, problem, &self.tree);
        }
        out
    }

    /// The problems with their places, for programs.
    #[must_use]
    pub fn located(&self) -> Vec<Located<'_>> {
        self.in_order().map(|problem| render::locate(problem, &self.tree)).collect()
    }

    /// The problems, one a line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.located().iter().map(ToString::to_string).collect()
    }

    /// Errors first, then from the top of the file to its end.
    fn in_order(&self) -> impl Iterator<Item = &problem::Problem> {
        let mut list: Vec<&problem::Problem> = self.problems.list().iter().collect();
        list.sort_by_cached_key(|problem| render::order(problem, &self.tree));
        list.into_iter()
    }

    /// What the configuration is called in messages: its file.
    #[must_use]
    pub fn name(&self) -> String {
        self.file.as_ref().map_or_else(|| "configuration".to_owned(), |file| file.display().to_string())
    }

    /// "2 errors, 1 warning".
    #[must_use]
    pub fn counts(&self) -> String {
        let count = |severity, word: &str| {
            let n = self.problems.list().iter().filter(|problem| problem.severity == severity).count();
            (n > 0).then(|| format!("{n} {word}{}", if n == 1 { "" } else { "s" }))
        };
        let parts: Vec<String> = [count(Severity::Error, "error"), count(Severity::Warning, "warning")].into_iter().flatten().collect();
        if parts.is_empty() { "no problems".to_owned() } else { parts.join(", ") }
    }

    /// Where the value at this path is written: `proxy.toml:12`, `profile gately:3`, `environment variable …`; `None` for defaults.
    #[must_use]
    pub fn origin(&self, path: &str) -> Option<String> {
        show::origin(&self.tree, self.tree.root.find(&path::parse(path))?)
    }

    /// The effective configuration as TOML that parses back to the same; passwords in URLs are starred.
    #[must_use]
    pub fn show(&self, with_origins: bool) -> String {
        show::effective(&self.config, &self.tree, with_origins)
    }

    /// Runs a later step and takes over what it reports, except what only follows from a mistake that is already told:
    /// about a value that was taken out, or at the very place of an earlier error.
    fn judge<T>(&mut self, step: impl FnOnce(&Config, &Tree, &mut Problems) -> T) -> T {
        let mut later = Problems::default();
        let result = step(&self.config, &self.tree, &mut later);
        let tree = &self.tree;
        self.problems.append(later, |earlier, problem| {
            tree.root.lost(&path::parse(&problem.path))
                || earlier.iter().any(|known| {
                    known.severity == Severity::Error
                        && (known.path == problem.path || (known.message == problem.message && known.path.starts_with(&problem.path)))
                })
        });
        result
    }
}

#[cfg(test)]
mod tests;
