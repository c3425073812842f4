//! The command line: one file a command. Results go to stdout, narration to stderr; exit codes are part of the contract.

mod ask;
pub mod audit;
pub mod check;
pub mod completions;
pub mod config_show;
mod control;
pub mod demo;
pub mod denials;
mod desk;
pub mod drain;
mod edit;
pub mod explain;
pub mod healthcheck;
pub mod idempotency;
pub mod init;
pub mod jwt;
pub mod keys;
pub mod output;
pub mod reload;
pub mod routes;
pub mod serve;
pub mod sessions;
pub mod status;
pub mod tenants;
mod wait;
mod when;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::store::StoreError;

/// A reverse-proxy authentication sidecar.
#[derive(Debug, Parser)]
#[command(name = "sidegate", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

const ADMIN_HELP: &str = "Management API of a running instance, instead of the store: unix:/path, https://…, or http:// on this machine";

/// Flags that every command takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Globals {
    /// Configuration file [default: ./proxy.toml, then /etc/sidegate/proxy.toml]
    #[arg(long, global = true, env = "SIDEGATE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Store, instead of the configuration's [store] url
    #[arg(long, global = true, value_name = "URL")]
    pub store: Option<String>,
    /// Management API to ask
    #[arg(long, global = true, env = "SIDEGATE_ADMIN", value_name = "URL", help = ADMIN_HELP)]
    pub admin: Option<String>,
    /// Token to ask it with
    #[arg(
        long,
        global = true,
        env = "SIDEGATE_ADMIN_TOKEN_FILE",
        value_name = "FILE",
        help = "File with a token of [[admin.tokens]], for --admin"
    )]
    pub admin_token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only what a script needs
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy
    Serve(serve::Args),
    /// Check the configuration; report every mistake
    Check(check::Args),
    /// Show the effective configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make, list, change and find API keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// Make, list, change and suspend tenants
    #[command(subcommand)]
    Tenants(tenants::Command),
    /// List and end sessions
    #[command(subcommand)]
    Sessions(sessions::Command),
    /// Show who changed what; export it; do it again after a restore
    Audit(Box<audit::Args>),
    /// Verify a token as the proxy would
    #[command(subcommand)]
    Jwt(jwt::Command),
    /// Show or release what is kept under an Idempotency-Key
    #[command(subcommand)]
    Idempotency(idempotency::Command),
    /// Say why requests were refused, the latest first
    Denials(denials::Args),
    /// Show the running sidecar, the store and the sidecars that serve from it
    Status(status::Args),
    /// Say how a request would be judged, step by step
    Explain(explain::Args),
    /// List the routes, most specific first
    Routes(routes::Args),
    /// Write a proxy.toml to begin with
    Init(init::Args),
    /// Have the running sidecar read its configuration again
    Reload(reload::Args),
    /// Take the running sidecar out of service, before it is stopped
    Drain(drain::Args),
    /// Ask a running sidecar whether it is ready
    Healthcheck(healthcheck::Args),
    /// A tour without any set-up: echo upstream, embedded store, four keys
    Demo(demo::Args),
    /// Print what makes a shell complete commands and flags
    Completions(completions::Completions),
    /// Print the manual page of a command, or write all of them
    Man(completions::Pages),
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the effective configuration as TOML
    Show(config_show::Args),
}

/// What a command ends with, other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did not work.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is wrong.
    Configuration = 3,
    /// There is no such thing.
    NotFound = 4,
    /// The request would be (or was) refused.
    Denied = 5,
    /// The store or the sidecar cannot be reached.
    Unreachable = 6,
    /// Another change came first, or the name is taken.
    Conflict = 7,
}

/// Why a command failed: an exit code and words for stderr (empty where the command has said it already).
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// The words, without a final newline.
    pub message: String,
}

impl Exit {
    /// A failure with this code.
    pub fn because(self, message: impl Into<String>) -> Failure {
        Failure { exit: self, message: message.into() }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Exit::Failed.because(format!("{error:#}"))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = match &error {
            StoreError::Unavailable(_) => Exit::Unreachable,
            StoreError::Conflict { .. } | StoreError::DigestTaken { .. } => Exit::Conflict,
            StoreError::Corrupt { .. } => Exit::Failed,
        };
        exit.because(error.to_string())
    }
}

/// Parses the command line and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("sidegate: {}", failure.message);
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn version(globals: &Globals) {
    let version = env!("CARGO_PKG_VERSION");
    if globals.json {
        output::json(&serde_json::json!({ "version": version }));
    } else if globals.quiet {
        output::line(version);
    } else {
        output::line(format_args!("sidegate {version}"));
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let globals = &cli.globals;
    match &cli.command {
        Command::Serve(args) => serve::run(args, globals),
        Command::Check(args) => check::run(args, globals),
        Command::Config(ConfigCommand::Show(args)) => config_show::run(args, globals),
        Command::Keys(command) => keys::run(command, globals),
        Command::Tenants(command) => tenants::run(command, globals),
        Command::Sessions(command) => sessions::run(command, globals),
        Command::Audit(args) => audit::run(args, globals),
        Command::Jwt(command) => jwt::run(command, globals),
        Command::Idempotency(command) => idempotency::run(command, globals),
        Command::Denials(args) => denials::run(args, globals),
        Command::Status(args) => status::run(args, globals),
        Command::Explain(args) => explain::run(args, globals),
        Command::Routes(args) => routes::run(args, globals),
        Command::Init(args) => init::run(args, globals),
        Command::Reload(args) => reload::run(args, globals),
        Command::Drain(args) => drain::run(args, globals),
        Command::Healthcheck(args) => healthcheck::run(args, globals),
        Command::Demo(args) => demo::run(args, globals),
        Command::Completions(args) => completions::completions(args),
        Command::Man(args) => completions::pages(args),
        Command::Version => {
            version(globals);
            Ok(())
        }
    }
}
