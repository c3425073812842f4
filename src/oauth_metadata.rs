//! `[oauth_metadata]`: what this resource tells OAuth clients of itself (RFC 9728), and where. All of it is of the configuration;
//! nothing of a request or a caller is in it.

use std::net::IpAddr;

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;
use serde_json::{Map, Value};

use crate::config::problem::Problems;
use crate::config::sections::{Config, Scheme};

/// Where the document of a resource without a path is (RFC 9728 §3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The document, and where it is.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// Its path: the resource's own stands behind the well-known one (RFC 9728 §3.1).
    pub path: String,
    /// Its URL, as challenges name it.
    pub url: Box<str>,
    /// JSON.
    pub document: Bytes,
}

impl Metadata {
    /// Compiles the section, and nothing where no resource is named.
    ///
    /// # Errors
    /// Told where all mistakes are: then there is none either.
    #[expect(clippy::result_unit_err, reason = "what is wrong is told where all mistakes are")]
    pub fn compile(config: &Config, problems: &mut Problems) -> Result<Option<Self>, ()> {
        let section = &config.oauth_metadata;
        if section.resource.is_empty() {
            if !section.authorization_servers.is_empty() {
                problems.warn("oauth_metadata.authorization_servers", "without `resource` no document is served");
            }
            return Ok(None);
        }
        let resource = problems.keep("oauth_metadata.resource", identifier(&section.resource));
        let mut sound = true;
        for (index, server) in section.authorization_servers.iter().enumerate() {
            sound &= problems.keep(format!("oauth_metadata.authorization_servers[{index}]"), identifier(server)).is_some();
        }
        let resource = resource.filter(|_| sound).ok_or(())?;
        // A slash behind the host alone is none.
        let own = resource.path().strip_suffix('/').filter(|path| path.is_empty()).unwrap_or(resource.path());
        let path = format!("{WELL_KNOWN}{own}");
        let (scheme, authority) =
            (resource.scheme_str().unwrap_or_default(), resource.authority().map_or("", |authority| authority.as_str()));
        let url = format!("{scheme}://{authority}{path}").into();
        Ok(Some(Self { path, url, document: document(config).to_string().into() }))
    }
}

fn document(config: &Config) -> Value {
    let section = &config.oauth_metadata;
    let mut members = Map::new();
    members.insert("resource".into(), section.resource.as_str().into());
    if !section.authorization_servers.is_empty() {
        members.insert("authorization_servers".into(), section.authorization_servers.clone().into());
    }
    let scopes = scopes(config);
    if !scopes.is_empty() {
        members.insert("scopes_supported".into(), scopes.into());
    }
    let takes_bearer = config.credentials.sources.iter().any(|source| source.scheme == Some(Scheme::Bearer));
    members.insert("bearer_methods_supported".into(), if takes_bearer { vec!["header"] } else { vec![] }.into());
    Value::Object(members)
}

/// The vocabulary; where there is none, what routes demand, but for what depends on the request.
fn scopes(config: &Config) -> Vec<&str> {
    if !config.scopes.is_empty() {
        return config.scopes.keys().map(String::as_str).collect();
    }
    let mut scopes = Vec::new();
    for demanded in config.routes.iter().flat_map(|route| [&route.scopes, &route.any_scopes]).flatten().flatten() {
        if !demanded.contains('{') && !scopes.contains(&demanded.as_str()) {
            scopes.push(demanded.as_str());
        }
    }
    scopes
}

/// A URL that names somebody (RFC 9728 §1.2, RFC 8414 §2): https, or http on this machine; without query and fragment.
fn identifier(text: &str) -> Result<Uri, String> {
    // A fragment would be dropped in silence.
    if text.contains('#') {
        return Err(format!("`{text}` has a fragment"));
    }
    let uri: Uri = text.parse().map_err(|_| format!("`{text}` is not a URL"))?;
    let host = uri.host().ok_or_else(|| format!("`{text}` is not an absolute URL"))?;
    let is_here = host.eq_ignore_ascii_case("localhost") || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if uri.scheme_str() != Some("https") && !(uri.scheme_str() == Some("http") && is_here) {
        return Err(format!("`{text}` is not an https URL"));
    }
    if uri.path_and_query().and_then(PathAndQuery::query).is_some() {
        return Err(format!("`{text}` has a query"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')) {
        return Err(format!("`{text}` has characters that no URL has"));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compiled(toml: &str) -> Result<Option<Metadata>, Vec<String>> {
        let mut problems = Problems::default();
        let compiled = Metadata::compile(&toml::from_str(toml).unwrap(), &mut problems);
        compiled.map_err(|()| problems.list().iter().map(|problem| problem.message.clone()).collect())
    }

    #[test]
    fn the_path_of_the_resource_stands_behind_the_well_known_one() {
        for (resource, url) in [
            ("https://api.example", "https://api.example/.well-known/oauth-protected-resource"),
            ("https://api.example/", "https://api.example/.well-known/oauth-protected-resource"),
            ("https://api.example:8443/v1/things", "https://api.example:8443/.well-known/oauth-protected-resource/v1/things"),
            ("http://127.0.0.1:1/a", "http://127.0.0.1:1/.well-known/oauth-protected-resource/a"),
        ] {
            let metadata = compiled(&format!("[oauth_metadata]\nresource = \"{resource}\"")).unwrap().unwrap();
            assert_eq!(&*metadata.url, url);
            assert!(url.ends_with(&metadata.path));
        }
        assert!(compiled("").unwrap().is_none());
    }

    #[test]
    fn it_says_what_the_configuration_says() {
        let said = |toml: &str| {
            let metadata = compiled(&format!("{toml}\n[oauth_metadata]\nresource = \"https://api.example/\"\n")).unwrap().unwrap();
            serde_json::from_slice::<Value>(&metadata.document).unwrap()
        };
        assert_eq!(said(""), json!({ "resource": "https://api.example/", "bearer_methods_supported": ["header"] }));
        let routes = "[[routes]]\nname = \"a\"\nmatch = \"GET /a/{b}\"\nscopes = [\"read:a\", \"read:{b}\"]\n\
                      [[routes]]\nname = \"b\"\nmatch = \"GET /b\"\nany_scopes = [\"read:a\", \"read:b\"]\n";
        assert_eq!(said(routes)["scopes_supported"], json!(["read:a", "read:b"]));
        let named = format!("{routes}[scopes]\n\"write:a\" = \"to write\"\n\"read:a\" = \"to read\"\n");
        assert_eq!(said(&named)["scopes_supported"], json!(["write:a", "read:a"]));
        let by_header = "[credentials]\nsources = [{ header = \"X-API-Key\" }]\n";
        assert_eq!(said(by_header)["bearer_methods_supported"], json!([]));
        let servers = compiled("[oauth_metadata]\nresource = \"https://a.example\"\nauthorization_servers = [\"https://auth.example/x\"]");
        let document: Value = serde_json::from_slice(&servers.unwrap().unwrap().document).unwrap();
        assert_eq!(document["authorization_servers"], json!(["https://auth.example/x"]));
    }

    #[test]
    fn what_names_nobody_is_a_mistake() {
        for bad in
            ["api.example", "/v1", "http://api.example", "ftp://a.example", "https://a.example/#x", "https://a.example/?x=1", "https://"]
        {
            assert!(compiled(&format!("[oauth_metadata]\nresource = \"{bad}\"")).is_err(), "{bad}");
            let servers = format!("[oauth_metadata]\nresource = \"https://a.example\"\nauthorization_servers = [\"{bad}\"]");
            assert!(compiled(&servers).is_err(), "{bad}");
        }
    }
}
