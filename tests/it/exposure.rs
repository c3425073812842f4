//! A secret key that a browser sends is served, and its record says so from then on.

use crate::support::client::{Request, once};
use crate::support::sidecar::{Kind, Sidecar};
use crate::support::upstream::Upstream;

#[test]
fn a_secret_key_in_a_browser_is_served_and_its_record_marked() {
    for kind in Kind::BOTH {
        let upstream = Upstream::echo();
        let sidecar = Sidecar::with_manual_clock(kind, &format!("upstream = \"{}\"", upstream.url()));
        let (key, id) = (sidecar.home.issue(), "key_main");
        let table = sidecar.home.table();
        let ask = |name: &str, value: &str| once(sidecar.address(), &Request::get("/").bearer(&key.secret).header(name, value)).status;
        // Node's fetch sends this one too.
        assert_eq!(ask("Sec-Fetch-Mode", "cors"), 200);
        assert!(!table.find_key(id).unwrap().exposed);
        assert_eq!(ask("Sec-Fetch-Site", "cross-site"), 200);
        let began = sidegate::clock::instant();
        while !table.find_key(id).unwrap().exposed {
            assert!(began.elapsed() < crate::support::PATIENCE, "{}", kind.name());
        }
    }
}
