//! `sidegate jwt verify`: which check refuses a token and why, by the code of the proxy. The token comes from stdin, so that no
//! history or process list holds it, and is never printed.

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::authn::Verified;
use crate::authn::jwt::{Compact, Issuers, KeySet};
use crate::clock::Clock;
use crate::config::problem::Problems;
use crate::config::{self, Sources};
use crate::rejection::{Refusal, Rejection};

use super::{Exit, Failure, Globals, output};

/// Its commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Verify a token from stdin, and say which check refused it and why
    Verify(Args),
}

/// Flags of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// As a token of this issuer, whatever the others are
    #[arg(long, value_name = "NAME", conflicts_with = "jwk")]
    issuer: Option<String>,
    /// By this JSON Web Key, or set of them, instead of the configuration's issuers
    #[arg(long, value_name = "FILE", requires = "signature_only")]
    jwk: Option<PathBuf>,
    /// Whether the key has signed it, whatever it says
    #[arg(long, requires = "jwk")]
    signature_only: bool,
}

/// Runs it.
///
/// # Errors
/// `Exit::Denied` if the token is refused; `Exit::NotFound` if there is no such issuer.
pub fn run(command: &Command, globals: &Globals) -> Result<(), Failure> {
    let Command::Verify(args) = command;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(|error| Exit::Failed.because(format!("stdin: {error}")))?;
    let token = SecretString::from(line.trim().to_owned());
    let text = token.expose_secret().as_bytes();
    let verdict = match &args.jwk {
        Some(file) => {
            let document = std::fs::read(file).map_err(|error| Exit::Failed.because(format!("{}: {error}", file.display())))?;
            signed_by(text, &document)
        }
        None => verified(text, args.issuer.as_deref(), globals)?,
    };
    say(&verdict, globals);
    verdict.map(drop).map_err(|_| Exit::Denied.because(""))
}

/// What is said of a good token.
type Verdict = Result<Value, Refusal>;

fn signed_by(text: &[u8], document: &[u8]) -> Verdict {
    let refused = |why: String| Rejection::JwtSignature.because(why);
    let token = Compact::parse(text)?;
    let algorithm = token.algorithm.ok_or_else(|| refused("its algorithm is not known here".into()))?;
    let keys = KeySet::parse_any(document, algorithm).map_err(|why| refused(format!("the key: {why}")))?;
    let is_signed = keys.have_signed(&token, algorithm).map_err(|no| refused(no.into()))?;
    if is_signed { Ok(json!({ "algorithm": algorithm.to_string() })) } else { Err(refused("the key has not signed it so".into())) }
}

fn verified(text: &[u8], issuer: Option<&str>, globals: &Globals) -> Result<Verdict, Failure> {
    let mut loaded = config::load(&Sources::from_globals(globals));
    let mut problems = Problems::default();
    let compiled = if loaded.problems.has_errors() { None } else { Issuers::compile(&loaded.config, &mut problems) };
    let Some(issuers) = compiled else {
        // All that is wrong with it, and not only with the issuers.
        let _ = loaded.compile();
        output::note(loaded.report().trim_end());
        return Err(Exit::Configuration.because(format!("{}: {}", loaded.name(), loaded.counts())));
    };
    let issuers = match issuer {
        Some(name) => issuers.only(name).ok_or_else(|| Exit::NotFound.because(format!("there is no issuer {name}")))?,
        None => issuers,
    };
    if issuers.is_empty() {
        return Err(Exit::NotFound.because("no issuer is configured"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Exit::Failed.because(error.to_string()))?;
    let clock = Clock::System;
    let verdict = runtime.block_on(issuers.verify_asking(text, runtime.handle(), &clock, clock.now()));
    Ok(verdict.map(|token| told(&token)))
}

fn told(token: &Verified) -> Value {
    json!({
        "issuer": Arc::clone(&token.issuer.name),
        "tenant": token.tenant,
        "subject": token.subject,
        "scopes": token.scopes.as_ref().map(ToString::to_string),
        "environment": token.environment.name(),
        "good_until": token.end,
        // The store was not asked about what it rests on.
        "checked": "signature and claims",
    })
}

fn say(verdict: &Verdict, globals: &Globals) {
    match verdict {
        _ if globals.quiet => {}
        Ok(told) if globals.json => output::json(told),
        Ok(told) => {
            if told.get("checked").is_some() {
                output::note(
                    "only its signature and what it says were checked: its tenant, and the session or key it was given for, may have ended",
                );
            }
            output::line("good");
            for (name, value) in told.as_object().into_iter().flatten() {
                let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
                output::line(format_args!("  {name:<12} {value}"));
            }
        }
        Err(refusal) if globals.json => {
            output::json(&json!({ "reason": refusal.rejection.row().reason, "detail": refusal.detail }));
        }
        Err(refusal) => output::line(format_args!("refused, {refusal}")),
    }
}
