//! The commands of deploy/runbook.md, deploy/redis.md and deploy/README.md do what these say, against a real server with the shipped users. A `kubectl` of
//! the test's own stands for the cluster: what it would run in the pod is run here.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::deploy::{PASSWORD, server};
use crate::readme::{commands, difference, free_port, marked, run};
use crate::support::client::{Request, once};
use crate::support::process::{Serve, run as run_command};

const PAGES: [&str; 3] =
    [include_str!("../../deploy/runbook.md"), include_str!("../../deploy/redis.md"), include_str!("../../deploy/README.md")];
/// The request that a customer asks about.
const REQUEST_ID: &str = "0198d0a4-6b1e-7c3f-9a52-3f1c2d4e5b6a";

const KUBECTL: &str = r#"#!/bin/bash
set -e
secret='create secret generic sidegate -n orders --from-file=pepper --from-file=redis-password'
case "$*" in
  'exec -i -n orders deploy/orders -c sidegate -- /sidegate '*) shift 9; exec sidegate "$@" ;;
  'kustomize deploy/example/overlay') test -f deploy/example/overlay/kustomization.yaml && echo 'kind: Deployment' ;;
  'apply -f orders.yaml') test -s orders.yaml; printf '%s configured\n' configmap/sidegate service/orders deployment.apps/orders horizontalpodautoscaler.autoscaling/orders ;;
  'apply -f -') read -r kind; [ "$kind" = 'kind: Secret' ] && echo 'secret/sidegate configured' ;;
  "$secret") test -s pepper -a -s redis-password; echo 'secret/sidegate created' ;;
  "$secret --dry-run=client -o yaml") test -s pepper -a -s redis-password; echo 'kind: Secret' ;;
  'exec -i -n orders pod/orders-7c9f5d-x2x4z -c sidegate -- /sidegate '*) shift 9; exec sidegate "$@" ;;
  'get pods -n orders -l auth=sidegate -o name') echo pod/orders-7c9f5d-x2x4z ;;
  'create secret generic sidegate -n sidegate --from-file=pepper --from-file=redis-password') test -s pepper -a -s redis-password; echo 'secret/sidegate created' ;;
  'create secret generic sidegate-management -n sidegate --from-file=admin-token') test -s admin-token; echo 'secret/sidegate-management created' ;;
  'create secret tls sidegate-management-tls -n sidegate --cert=tls.crt --key=tls.key') echo 'secret/sidegate-management-tls created' ;;
  'kustomize deploy/example/management') test -f deploy/example/management/kustomization.yaml && echo 'kind: Deployment' ;;
  'apply -f management.yaml') test -s management.yaml; printf '%s created\n' configmap/sidegate-management service/sidegate-management deployment.apps/sidegate-management ;;
  'rollout status -n sidegate deploy/sidegate-management') echo 'deployment "sidegate-management" successfully rolled out' ;;
  'set image -n orders deploy/orders sidegate=registry.example/sidegate:'*) echo 'deployment.apps/orders image updated' ;;
  'rollout status -n orders deploy/orders') echo 'deployment "orders" successfully rolled out' ;;
  *) echo "no runbook says: kubectl $*"; exit 1 ;;
esac
"#;

/// What stands in the pod: its configuration, over what the example says.
fn configuration(redis: &str, ops: u16) -> String {
    format!(
        "listen = \"127.0.0.1:0\"\nupstream = \"http://127.0.0.1:9\"\n[store]\nurl = \"{redis}\"\nusername = \"sidegate\"\npassword_file = \"redis-password\"\n\
         pepper_file = \"pepper\"\n[ops]\nlisten = \"127.0.0.1:{ops}\"\nsocket = \"sidegate.sock\"\n[[key_kinds]]\nname = \"secret\"\n\
         prefixes = {{ live = \"sk_live_\", test = \"sk_test_\" }}\nchecksum = \"optional\"\n[[routes]]\nname = \"read\"\nmatch = \"GET,HEAD /v1/{{resource}}/**\"\n\
         scopes = [\"read:{{resource}}\"]\n[[routes]]\nname = \"write\"\nmatch = \"POST /v1/{{resource}}/**\"\nscopes = [\"write:{{resource}}\"]\n"
    )
}

/// Where the reader stands: beside deploy/, with what the runbook takes for granted.
fn prepare(dir: &Path) {
    symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy"), dir.join("deploy")).unwrap();
    fs::create_dir(dir.join("bin")).unwrap();
    fs::write(dir.join("bin/kubectl"), KUBECTL).unwrap();
    fs::set_permissions(dir.join("bin/kubectl"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(dir.join("redis-password"), PASSWORD).unwrap();
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let older = format!(
        "{{\"tenant\":\"globex\",\"name\":\"billing\",\"environment\":\"live\",\"scopes\":[\"read:orders\"],\"digest\":\"sha256:{digest}\"}}\n\
         {{\"tenant\":\"globex\",\"name\":\"reports\",\"environment\":\"live\",\"key\":\"sk_live_an_older_key_of_globex\"}}\n"
    );
    fs::write(dir.join("older.ndjson"), older).unwrap();
}

/// The runbook's customer is refused, and the table has heard of it.
fn refuse(serve: &Serve, config: &Path) {
    assert_eq!(once(serve.address, &Request::get("/v1/orders").header("X-Request-Id", REQUEST_ID)).status, 401);
    while !run_command(&["denials", "--json"], config).ok().contains(REQUEST_ID) {}
}

#[test]
fn the_commands_of_the_runbook_do_what_it_says() {
    let (redis, _users) = server();
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let config = dir.path().join("proxy.toml");
    fs::write(&config, configuration(&redis.url(), free_port())).unwrap();
    let mut serve = None;
    let mut wrong = String::new();
    for page in PAGES {
        // Blocks within lists are indented.
        let page = page.lines().map(|line| line.strip_prefix("   ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
        for block in marked(&page) {
            match block.what {
                "run" => {
                    let commands = commands(block.block);
                    // The pod's kubectl, before any other.
                    let here = |command: &str| format!("PATH=\"$PWD/bin:$PATH\"; {command}");
                    let ended = run(&commands.iter().map(|(command, _)| here(command)).collect::<Vec<_>>(), dir.path());
                    for ((command, expected), ended) in commands.iter().zip(ended) {
                        wrong.push_str(&difference(command, expected, &ended));
                        if command.contains("apply -f orders.yaml") {
                            serve = Some(Serve::start(&config));
                            refuse(serve.as_ref().unwrap(), &config);
                        }
                    }
                }
                "checked" => {
                    let file = dir.path().join("checked.toml");
                    // The reader's days are to come.
                    let block = block.block.replace("\"2027-", "\"2999-");
                    fs::write(&file, format!("[store]\nurl = \"embedded:./data\"\n{block}")).unwrap();
                    let said = run_command(&["check"], &file);
                    if said.code != 0 {
                        writeln!(wrong, "{block}\n{said:?}").unwrap();
                    }
                }
                // tests/deploy runs it, for it makes an image.
                "image" => {}
                other => panic!("`{other}` is nothing that can be tested"),
            }
        }
    }
    assert!(serve.is_some() && wrong.is_empty(), "{wrong}");
}

#[test]
fn every_block_of_commands_is_tested() {
    for page in PAGES {
        for (fence, marker) in
            [("```console\n", "<!-- test: run -->\n"), ("```sh\n", "<!-- test: image -->\n"), ("```toml\n", "<!-- test: checked -->\n")]
        {
            assert_eq!(page.matches(marker).count(), page.matches(fence).count(), "{fence}");
        }
        assert!(!page.contains("```bash\n"));
    }
}

#[test]
fn every_alert_is_in_the_runbook() {
    let rules = include_str!("../../deploy/monitoring/prometheusrule.yaml");
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        assert!(PAGES[0].contains(&format!("`{alert}`")), "{alert}");
    }
}
