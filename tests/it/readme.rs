//! What the README prints is what is printed: its console blocks are run in one shell, its tables are held to the code.
//! In expected output `…` stands for any text within a line, a line of `…` alone for any lines. Every command ends with 0, unless
//! `# exit N` behind it says otherwise.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use sidegate::rejection::Rejection;

use crate::support::process::{Serve, run as run_command};
use crate::support::upstream::Upstream;

const README: &str = include_str!("../../README.md");

/// A fenced block after `<!-- test: … -->`.
#[derive(Debug)]
pub(crate) struct Marked<'a> {
    pub(crate) what: &'a str,
    pub(crate) block: &'a str,
}

pub(crate) fn marked(page: &str) -> Vec<Marked<'_>> {
    let mut all = Vec::new();
    for part in page.split("<!-- test: ").skip(1) {
        let (what, rest) = part.split_once(" -->\n").unwrap();
        let block = rest.strip_prefix("```").and_then(|rest| rest.split_once('\n')).and_then(|(_, rest)| rest.split_once("```"));
        all.push(Marked { what, block: block.map_or("", |(block, _)| block) });
    }
    all
}

/// `$ command` and the lines expected after it.
pub(crate) fn commands(block: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => commands.push((command.to_owned(), String::new())),
            None => writeln!(commands.last_mut().unwrap().1, "{line}").unwrap(),
        }
    }
    commands
}

/// Whether `text` is what `pattern` says; lines are compared without what stands at their ends.
fn matches(pattern: &[&str], text: &[&str]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((first, rest)) if first.trim() == "…" => (0..=text.len()).any(|n| matches(rest, &text[n..])),
        Some((first, rest)) => {
            text.split_first().is_some_and(|(line, others)| line_matches(first.trim_end(), line.trim_end()) && matches(rest, others))
        }
    }
}

fn line_matches(pattern: &str, line: &str) -> bool {
    match pattern.split_once('…') {
        None => pattern == line,
        Some((front, rest)) => line.strip_prefix(front).is_some_and(|line| {
            line.char_indices().map(|(at, _)| at).chain([line.len()]).any(|at| line.get(at..).is_some_and(|tail| line_matches(rest, tail)))
        }),
    }
}

/// What a command printed, and what it ended with.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) printed: String,
    pub(crate) code: i32,
}

/// What is wrong about how a command ended; nothing, if it is what the page says.
pub(crate) fn difference(command: &str, expected: &str, ended: &Ended) -> String {
    let code = command.rsplit_once("# exit ").map_or(0, |(_, code)| code.trim().parse().unwrap());
    let pattern: Vec<&str> = expected.lines().collect();
    let text: Vec<&str> = ended.printed.trim_end().lines().collect();
    if matches(&pattern, &text) && ended.code == code {
        return String::new();
    }
    format!("$ {command}\n--- the page says\n{expected}--- it prints, and ends with {}\n{}\n", ended.code, text.join("\n"))
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs commands in one bash that keeps its variables in a file between blocks; how each ended.
pub(crate) fn run(commands: &[String], dir: &Path) -> Vec<Ended> {
    let binary = Path::new(env!("CARGO_BIN_EXE_sidegate")).parent().unwrap();
    let mut script = String::from("[ -f .env ] && . ./.env\n");
    for command in commands {
        write!(script, "{command}\nprintf '\\n@@@@%s\\n' \"$?\"\n").unwrap();
    }
    script.push_str("{ declare -p KEY ID POD; declare -f sidegate sidegate_at; } > .env 2> /dev/null || true\n");
    let path = format!("{}:{}", binary.display(), std::env::var_os("PATH").unwrap().to_string_lossy());
    let mut child = Command::new("bash")
        .args(["-c", "exec bash -s 2>&1"])
        .current_dir(dir)
        .env("PATH", path)
        .env("COLUMNS", "100")
        .env_remove("SIDEGATE_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let (mut all, mut rest) = (Vec::new(), &*output);
    for command in commands {
        let (printed, after) = rest.split_once("\n@@@@").unwrap_or_else(|| panic!("$ {command}\nthe shell ended: {rest}"));
        let (code, after) = after.split_once('\n').unwrap();
        all.push(Ended { printed: printed.to_owned(), code: code.parse().unwrap() });
        rest = after;
    }
    all
}

#[test]
fn the_readmes_commands_print_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|exchange| {
        exchange.read_body();
        exchange.answer(200, &[("Content-Type", "application/json")], b"{\"order\":7}\n");
    });
    let port = free_port();
    // What the reader has at these places, the test has elsewhere.
    let places = [("http://127.0.0.1:3000".to_owned(), upstream.url()), ("127.0.0.1:8080".to_owned(), format!("127.0.0.1:{port}"))];
    let here = |text: &str| places.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours));
    let there = |text: &str| places.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(ours, theirs));
    let mut serve = None;
    let mut wrong = String::new();
    for Marked { what, block } in marked(README) {
        match what {
            "file proxy.toml" => {
                std::fs::write(dir.path().join("proxy.toml"), format!("{}\n[ops]\nlisten = \"\"\nsocket = \"\"\n", here(block))).unwrap();
            }
            "serve" => {
                assert_eq!(block, "$ sidegate serve > sidegate.log 2>&1 &\n");
                serve = Some(Serve::start(&dir.path().join("proxy.toml")));
            }
            "checked" => {
                let file = dir.path().join("checked.toml");
                std::fs::write(&file, format!("upstream = \"http://127.0.0.1:3000\"\n{block}")).unwrap();
                let said = run_command(&["check"], &file);
                assert!(said.code == 0 && said.stdout.contains("(no problems)"), "{block}\n{said:?}");
            }
            "run" => {
                let commands = commands(block);
                let ended = run(&commands.iter().map(|(command, _)| here(command)).collect::<Vec<_>>(), dir.path());
                for ((command, expected), ended) in commands.iter().zip(ended) {
                    let ended = Ended { printed: there(&ended.printed), ..ended };
                    wrong.push_str(&difference(command, expected, &ended));
                }
            }
            "rejections" => {}
            other => panic!("`{other}` is nothing that can be tested"),
        }
    }
    assert!(serve.is_some() && wrong.is_empty(), "{wrong}");
    assert_eq!(upstream.recorded().iter().map(|request| request.header("x-tenant-id")).collect::<Vec<_>>(), [Some("acme")]);
}

#[test]
fn the_readmes_table_of_refusals_is_the_codes() {
    let rows: Vec<String> = Rejection::ALL
        .iter()
        .map(|rejection| rejection.row())
        .filter(|row| row.built)
        .map(|row| format!("| `{}` | {} | `{}` | {} |", row.reason, row.status, row.code, row.message))
        .collect();
    let expected = rows.join("\n");
    let (_, table) =
        README.split_once("<!-- test: rejections -->\n| reason | status | code | message |\n| --- | --- | --- | --- |\n").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    assert_eq!(table, expected, "the table should be:\n{expected}");
}

#[test]
fn every_command_that_the_readme_names_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let help = crate::support::process::run_plain(&["--help"], dir.path()).ok();
    for part in README.split("sidegate ").skip(1) {
        let word: String = part.chars().take_while(char::is_ascii_lowercase).collect();
        let is_command =
            ["check", "keys", "tenants", "serve", "explain", "config", "routes", "demo", "init", "healthcheck"].contains(&word.as_str());
        assert!(!is_command || help.contains(&format!("  {word}")), "{word} is not in\n{help}");
    }
}

#[test]
fn what_the_readme_calls_not_there_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let code = |arguments: &[&str]| crate::support::process::run_plain(arguments, dir.path()).code;
    for (group, words) in [("config ", "schema")] {
        assert!(README.contains(&format!("`{group}{words}`")), "the README says nothing of {group}{words}");
        for word in words.split('|') {
            let arguments: Vec<&str> = group.split_whitespace().chain([word, "key_1"]).collect();
            assert_eq!(code(&arguments), 2, "{group}{word} is there: the README should say so");
        }
    }
}
