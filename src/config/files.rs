//! Every key that names a file: made absolute, and looked at once. What is in the files is for those who use them.

use std::path::{Path, PathBuf};

use super::path::join;
use super::problem::Problems;
use super::sections::Config;
use super::tree::{SourceKind, Tree};

/// Makes paths absolute (those in a file against its directory, those of variables and flags against the working
/// directory) and reports files that cannot be read.
pub(super) fn resolve(config: &mut Config, tree: &Tree, directory: &Path, problems: &mut Problems) {
    let working = std::path::absolute(".").unwrap_or_default();
    let base = |path: &str| match tree.kind(path) {
        SourceKind::Environment | SourceKind::Flag => working.as_path(),
        SourceKind::BuiltIn | SourceKind::Profile | SourceKind::File => directory,
    };
    for (path, file) in named(config) {
        if file.as_os_str().is_empty() {
            continue;
        }
        *file = base(&path).join(&*file);
        if path == "cache.snapshot_file" {
            continue;
        }
        if let Err(error) = readable(file) {
            problems.error(path, format!("cannot read {}: {error}", file.display()));
        }
    }
    if !config.ops.socket.is_empty() {
        config.ops.socket = base("ops.socket").join(&config.ops.socket).display().to_string();
    }
    absolute_text(&mut config.store.url, "embedded:", base("store.url"));
    absolute_text(&mut config.admin.listen, "unix:", base("admin.listen"));
    for (index, listener) in config.listeners.iter_mut().enumerate() {
        absolute_text(&mut listener.address, "unix:", base(&format!("listeners[{index}].address")));
    }
    for (name, upstream) in &mut config.upstreams {
        absolute_text(&mut upstream.url, "unix:", base(&join(&join("upstreams", name), "url")));
    }
}

/// Every file that is read: paths as [`resolve`] left them. What the process itself writes is not among them.
pub(super) fn list(config: &Config) -> Vec<PathBuf> {
    let mut config = config.clone();
    let named = named(&mut config).into_iter().filter(|(path, file)| path != "cache.snapshot_file" && !file.as_os_str().is_empty());
    named.map(|(_, file)| file.clone()).collect()
}

fn readable(file: &Path) -> Result<(), String> {
    let words = |error: std::io::Error| {
        let is_missing = error.kind() == std::io::ErrorKind::NotFound;
        if is_missing { "there is no such file".to_owned() } else { error.to_string() }
    };
    let opened = std::fs::File::open(file).map_err(words)?;
    if opened.metadata().map_err(words)?.is_dir() { Err("it is a directory".to_owned()) } else { Ok(()) }
}

fn absolute_text(text: &mut String, scheme: &str, base: &Path) {
    let Some(relative) = text.strip_prefix(scheme).filter(|path| !path.is_empty() && Path::new(path).is_relative()) else { return };
    let relative = relative.strip_prefix("./").unwrap_or(relative);
    *text = format!("{scheme}{}", base.join(relative).display());
}

/// All of them, with their paths.
fn named(config: &mut Config) -> Vec<(String, &mut PathBuf)> {
    let mut files: Vec<(String, &mut PathBuf)> = vec![
        ("store.password_file".into(), &mut config.store.password_file),
        ("store.pepper_file".into(), &mut config.store.pepper_file),
        ("store.tls.ca_file".into(), &mut config.store.tls.ca_file),
        ("store.tls.cert_file".into(), &mut config.store.tls.cert_file),
        ("store.tls.key_file".into(), &mut config.store.tls.key_file),
        ("cache.snapshot_file".into(), &mut config.cache.snapshot_file),
        ("introspection.client_secret_file".into(), &mut config.introspection.client_secret_file),
        ("identity.signed.key_file".into(), &mut config.identity.signed.key_file),
        ("admin.tls.cert_file".into(), &mut config.admin.tls.cert_file),
        ("admin.tls.key_file".into(), &mut config.admin.tls.key_file),
    ];
    for (index, listener) in config.listeners.iter_mut().enumerate() {
        let Some(tls) = &mut listener.tls else { continue };
        files.push((format!("listeners[{index}].tls.cert_file"), &mut tls.cert_file));
        files.push((format!("listeners[{index}].tls.key_file"), &mut tls.key_file));
        files.push((format!("listeners[{index}].tls.client_ca_file"), &mut tls.client_ca_file));
    }
    for (name, upstream) in &mut config.upstreams {
        files.push((format!("{}.tls.ca_file", join("upstreams", name)), &mut upstream.tls.ca_file));
    }
    for (index, issuer) in config.issuers.iter_mut().enumerate() {
        files.push((format!("issuers[{index}].jwks_file"), &mut issuer.jwks_file));
        files.push((format!("issuers[{index}].public_key_file"), &mut issuer.public_key_file));
        files.push((format!("issuers[{index}].secret_file"), &mut issuer.secret_file));
    }
    for (index, file) in config.sessions.signing_key_files.iter_mut().enumerate() {
        files.push((format!("sessions.signing_key_files[{index}]"), file));
    }
    for (index, token) in config.admin.tokens.iter_mut().enumerate() {
        files.push((format!("admin.tokens[{index}].file"), &mut token.file));
    }
    files
}
