//! The `OpenAPI` document against what is answered: schemathesis makes requests from it, right ones and wrong ones, and holds each
//! answer against it. `tests/run` installs it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{make, text};
use crate::support::admin::{Caller, Tokens, secret};
use crate::support::fleet::full;
use crate::support::process::Serve;
use crate::support::sidecar::{Home, Kind};

/// What every answer is held against. That right requests are accepted is not among them: of a cursor, or of a tenant that is to be
/// there, no schema tells.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
response_schema_conformance,negative_data_rejection,unsupported_method,allow_header_conformance,ignored_auth";

#[test]
fn no_generated_request_is_answered_in_a_way_that_is_not_documented() {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients/venv/bin/schemathesis");
    assert!(made.exists(), "{} is missing; tests/run installs it", made.display());
    let tokens = Tokens::console();
    let signing = tokens.dir.path().join("signing");
    std::fs::write(&signing, secret("signing")).unwrap();
    let sessions = format!("[sessions]\nsigning_key_files = [\"{}\"]\n", signing.display());
    let text_of = format!("deployment = \"development\"\n[log]\nlevel = \"warn\"\n{sessions}{}", tokens.config("127.0.0.1:0"));
    let home = Home::new(Kind::Redis, &text_of);
    let serve = Serve::start(&home.config_file());
    let admin: Vec<std::net::SocketAddr> =
        serve.stderr.wait(2, |line| line.strip_prefix("listening on ").and_then(|address| address.parse().ok()));
    let console = Caller::console(admin[1]);
    console.post("/tenants", &json!({ "id": "acme" }));
    assert!(text(&make(&console, "one"), "id").starts_with("key_"));
    let examples = if full() { "200" } else { "6" };
    let output = Command::new(&made)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("LANG", "C.UTF-8")
        .env("HOME", home.dir.path())
        .current_dir(home.dir.path())
        .stdin(Stdio::null())
        .args(["run", &format!("http://{}/admin/v1/openapi.json", admin[1]), "--no-color", "--seed", "7", "--max-examples", examples])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--checks",
            CHECKS,
            "--header",
            &format!("Authorization: Bearer {}", secret("console")),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let tested = said.lines().find(|line| line.trim_start().starts_with("Tested:")).unwrap_or_default();
    assert!(tested.ends_with("29"), "{said}");
}
