//! The management API, over real sockets.

mod door;
mod keys;
mod once;
mod races;
mod records;
mod schema;
mod serving;

use serde_json::{Value, json};

use crate::support::admin::{Caller, Tokens};
use crate::support::sidecar::{Home, Kind, Sidecar};
use sidegate::clock::Clock;

/// A sidecar in this process, with its management API on loopback.
struct Managed {
    sidecar: Sidecar,
    _tokens: Tokens,
}

impl Managed {
    fn start(kind: Kind, more: &str) -> Self {
        Self::with(kind, Tokens::console(), more)
    }

    fn with(kind: Kind, tokens: Tokens, more: &str) -> Self {
        let home = Home::new(kind, &format!("deployment = \"development\"\n{more}{}", tokens.config("127.0.0.1:0")));
        Self { sidecar: Sidecar::in_home(home, Clock::System), _tokens: tokens }
    }

    fn caller(&self, token: &str) -> Caller {
        Caller::new(self.sidecar.listener("admin"), token)
    }

    /// Who may do everything, with tenant `acme` there.
    fn console(&self) -> Caller {
        let caller = Caller::console(self.sidecar.listener("admin"));
        caller.post("/tenants", &json!({ "id": "acme" }));
        caller
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("no {field}: {value}")).to_owned()
}

/// A key of `acme`, as it was answered.
fn make(caller: &Caller, name: &str) -> Value {
    caller.post("/keys", &json!({ "tenant": "acme", "name": name }))
}
