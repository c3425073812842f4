//! `sidegate explain`: how a request would be judged, step by step, by the code that would judge it: here, by the configuration and the
//! store, or in a running instance, by what that has.

use std::net::IpAddr;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::config::{self, Loaded, Sources};
use crate::explain::{Described, Explanation};
use crate::gate::Presented;

use super::{Exit, Failure, Globals, desk, output};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Method
    #[arg(short = 'X', long, default_value = "GET")]
    request: String,
    /// Header line, as curl takes it
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Address the request comes from
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    from: IpAddr,
    /// As if it came over TLS
    #[arg(long)]
    tls: bool,
    /// As if the secret of this key had been sent
    #[arg(long, value_name = "ID", conflicts_with = "credential_stdin")]
    key: Option<String>,
    /// Read the credential from stdin, so that no history or process list holds it
    #[arg(long)]
    credential_stdin: bool,
    /// Path and query, as it would be sent; or a whole URL, as curl takes it
    target: String,
}

/// Runs it.
///
/// # Errors
/// `Exit::Denied` if the request would be refused; `Exit::NotFound` if there is no such key.
pub fn run(args: &Args, globals: &Globals) -> Result<(), Failure> {
    let described = describe(args)?;
    let (explanation, loaded) = match desk::explained(&asked(args, &described), globals) {
        Some(explanation) => (explanation?, None),
        None => here(args, &described, globals).map(|(explanation, loaded)| (explanation, Some(loaded)))?,
    };
    if globals.json {
        output::json(&explanation);
    } else {
        print(&explanation, &described, loaded.as_ref());
    }
    if explanation.reason.is_empty() { Ok(()) } else { Err(Exit::Denied.because("")) }
}

/// As the management API has it described.
fn asked(args: &Args, Described { method, target, headers, from, tls }: &Described) -> Value {
    json!({ "method": method, "target": target, "headers": headers, "from": from, "tls": tls, "key": args.key })
}

fn here(args: &Args, described: &Described, globals: &Globals) -> Result<(Explanation, Loaded), Failure> {
    let mut loaded = config::load(&Sources::from_globals(globals));
    let Some(app) = loaded.compile() else {
        output::note(loaded.report().trim_end());
        return Err(Exit::Configuration.because(format!("{}: {}", loaded.name(), loaded.counts())));
    };
    let explainer = app.explainer(&loaded.config, Clock::System).map_err(|why| Exit::Failed.because(why))?;
    let record = match &args.key {
        Some(id) => Some(explainer.find_key(id)?.ok_or_else(|| Exit::NotFound.because(format!("there is no key {id}")))?),
        None => None,
    };
    let presented = record.as_ref().map_or(Presented::InHeaders, Presented::Record);
    Ok((explainer.explain(described, presented), loaded))
}

fn describe(args: &Args) -> Result<Described, Failure> {
    let mut headers = Vec::new();
    for line in &args.headers {
        let (name, value) =
            line.split_once(':').ok_or_else(|| Exit::Usage.because(format!("-H takes `Name: value`, not `{}`", mask(line))))?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    if args.credential_stdin {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map_err(|error| Exit::Failed.because(format!("stdin: {error}")))?;
        let credential = SecretString::from(line.trim().to_owned());
        headers.push(("Authorization".to_owned(), format!("Bearer {}", credential.expose_secret())));
    }
    let (target, tls) = match absolute(&args.target) {
        Some((host, target, tls)) => {
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
                headers.push(("Host".to_owned(), host.to_owned()));
            }
            (target.to_owned(), tls)
        }
        None => (args.target.clone(), args.tls),
    };
    Ok(Described { method: args.request.clone(), target, headers, from: args.from, tls })
}

/// A URL as curl takes it: host, target, whether it is TLS.
fn absolute(url: &str) -> Option<(&str, &str, bool)> {
    let (rest, tls) =
        url.strip_prefix("https://").map(|rest| (rest, true)).or_else(|| url.strip_prefix("http://").map(|rest| (rest, false)))?;
    let (host, target) = rest.split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len()))?;
    Some((host, if target.is_empty() { "/" } else { target }, tls))
}

/// The line that decides: of proxy.toml, of a profile, or the record's field. Of an instance's configuration the key alone is known.
fn place(loaded: Option<&Loaded>, path: &str) -> String {
    match (path, loaded.map(|loaded| loaded.origin(path))) {
        ("", _) => String::new(),
        (record, _) if record.starts_with("record of ") => format!("  [{record}]"),
        (key, None) => format!("  [{key}]"),
        (key, Some(Some(place))) => format!("  [{place}, {key}]"),
        (key, Some(None)) => format!("  [{key}, by default]"),
    }
}

/// A header line that was typed wrongly may be a credential.
fn mask(line: &str) -> String {
    line.chars().take(4).chain("…".chars()).collect()
}

fn print(explanation: &Explanation, described: &Described, loaded: Option<&Loaded>) {
    output::line(format_args!("{} from {}", explanation.request, described.from));
    output::line("");
    for step in &explanation.steps {
        let mark = match &*step.verdict {
            "refused" => "✗",
            "ok" => "✓",
            "observed" => "!",
            _ => "·",
        };
        let text = if step.verdict == "not reached" { "not reached" } else { &step.input };
        output::line(format_args!("{mark} {:<16} {text}", step.step));
        if !step.detail.is_empty() {
            output::line(format_args!("  {:<16} {}{}", "", step.detail, place(loaded, &step.path)));
        }
    }
    output::line("");
    if let Some(answer) = &explanation.answer {
        let detail = if explanation.detail.is_empty() { String::new() } else { format!(": {}", explanation.detail) };
        let reason =
            if explanation.reason.is_empty() { "answered here".to_owned() } else { format!("refused, {}{detail}", explanation.reason) };
        output::line(format_args!("{reason}\n\nHTTP/1.1 {}", answer.status));
        for (name, value) in &answer.headers {
            output::line(format_args!("{name}: {value}"));
        }
        output::line(format_args!("\n{}", answer.body));
    }
    if let Some(forward) = &explanation.forward {
        if !explanation.would_refuse.is_empty() {
            let detail = if explanation.detail.is_empty() { String::new() } else { format!(": {}", explanation.detail) };
            output::line(format_args!("let through for a time only, else refused, {}{detail}", explanation.would_refuse));
        }
        output::line(format_args!("forwarded to {}\n\n{}", forward.to, forward.request));
        for (name, value) in &forward.headers {
            output::line(format_args!("{name}: {value}"));
        }
        if !forward.removed.is_empty() {
            output::line(format_args!("\nnot as the client sent it: {}", forward.removed.join(", ")));
        }
    }
}
