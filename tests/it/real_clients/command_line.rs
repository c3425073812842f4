//! Clients of the command line: curl, nghttp, h2load.

use std::path::PathBuf;

use super::script::{run, tool};
use super::{Scene, pattern};
use crate::support::wire::Framing;

const LARGE: usize = 8 << 20;

impl Scene {
    fn clear(&self, path: &str) -> String {
        format!("http://{}{path}", self.front.serve.address)
    }

    fn tls(&self, path: &str) -> String {
        format!("https://{}{path}", self.front.https)
    }

    /// What curl prints, and what it tells.
    #[track_caller]
    fn curl(&self, key: &str, arguments: &[&str]) -> (String, String) {
        let mut curl = tool("curl");
        // No user's .curlrc: `-q` must come first.
        curl.args(["-q", "-sS", "--max-time", "50", "-H", &format!("Authorization: Bearer {key}"), "--cacert"]).arg(self.front.ca_file());
        run(curl.args(arguments))
    }

    fn large_file(&self) -> PathBuf {
        let path = self.front.home.dir.path().join("large");
        std::fs::write(&path, pattern(LARGE)).unwrap();
        path
    }
}

#[test]
fn curl_speaks_every_version_of_http_and_keeps_its_connection() {
    let scene = Scene::new();
    for (offer, url, version) in [
        ("--http1.1", scene.clear("/hello"), "1.1"),
        ("--http1.1", scene.tls("/hello"), "1.1"),
        ("--http2", scene.tls("/hello"), "2"),
        // In the clear it asks for an upgrade, which is declined by an answer.
        ("--http2", scene.clear("/hello"), "1.1"),
    ] {
        let (out, _) = scene.curl(scene.front.key(), &[offer, "-w", " over %{http_version} %{num_connects}\n", &url, &url]);
        assert_eq!(out, format!("hello over {version} 1\nhello over {version} 0\n"), "{offer} {url}");
        let proto = scene.identified().last().unwrap().header("x-forwarded-proto").unwrap().to_owned();
        assert!(url.starts_with(&format!("{proto}://")));
    }
    // curl 7.88 cannot use a connection again that it began in this way, whoever the server is.
    let (out, _) = scene.curl(scene.front.key(), &["--http2-prior-knowledge", "-w", " over %{http_version}", &scene.clear("/hello")]);
    assert_eq!(out, "hello over 2");
    assert_eq!(scene.front.connections(), 5);
}

#[test]
fn curl_sends_its_upload_when_it_is_told_to_go_on_and_not_when_it_is_refused() {
    let scene = Scene::new();
    let file = scene.large_file();
    // It would wait longer for the word than it may run.
    let upload = ["--http1.1", "-v", "-T", file.to_str().unwrap(), "-H", "Expect: 100-continue", "--expect100-timeout", "600"];
    let told = ["-w", " %{http_code} %{size_upload}"];
    for url in [scene.clear("/upload"), scene.tls("/upload")] {
        let (out, narration) = scene.curl(scene.front.key(), &[&upload[..], &told, &[&url]].concat());
        assert_eq!(out, format!("{{\"length\":{LARGE}}} 200 {LARGE}"));
        assert!(narration.contains("< HTTP/1.1 100 Continue"), "{narration}");
        let seen = scene.identified().pop().unwrap();
        assert_eq!((seen.framing, seen.body_crc), (Some(Framing::Length(LARGE as u64)), crc32fast::hash(&pattern(LARGE))));
        assert_eq!(seen.header("expect"), None);
    }
    for url in [scene.clear("/refused"), scene.tls("/refused")] {
        let (out, narration) = scene.curl("sk_live_nobody", &[&upload[..], &told, &[&url]].concat());
        assert!(out.ends_with("\"code\":\"API_KEY_INVALID\"} 401 0"), "nothing of the content was sent: {out}");
        assert!(!narration.contains("100 Continue"), "{narration}");
    }
    assert_eq!(scene.identified().len(), 2);
}

#[test]
fn curl_reads_the_refusal_of_an_upload_that_it_has_begun() {
    let scene = Scene::new();
    let file = scene.large_file();
    let upload = ["-T", file.to_str().unwrap(), "-H", "Expect:", "-w", " %{http_code}"];
    for (offer, base) in [("--http1.1", scene.clear("")), ("--http1.1", scene.tls("")), ("--http2", scene.tls(""))] {
        let (out, _) = scene.curl("sk_live_nobody", &[&upload[..], &[offer, &format!("{base}/refused")]].concat());
        assert!(out.ends_with("\"code\":\"API_KEY_INVALID\"} 401"), "{offer} {base}: {out}");
        let (out, _) = scene.curl(scene.front.key(), &[&upload[..], &[offer, &format!("{base}/early")]].concat());
        assert_eq!(out, "too much 413", "{offer} {base}: the API's own");
    }
    scene.identified();
}

#[test]
fn curl_gets_trailers_redirects_and_what_is_packed() {
    let scene = Scene::new();
    for (offer, base) in [("--http1.1", scene.tls("")), ("--http2", scene.tls(""))] {
        let url = |path: &str| format!("{base}{path}");
        let (out, _) = scene.curl(scene.front.key(), &[offer, "-i", "-H", "TE: trailers", &url("/chunks")]);
        let (head, rest) = out.split_once("\r\n\r\n").unwrap();
        assert!(head.to_ascii_lowercase().contains("trailer: x-checksum"), "{out}");
        assert!(rest.contains("onetwothree") && rest.to_ascii_lowercase().contains("x-checksum: 123"), "{out}");
        let (out, _) = scene.curl(scene.front.key(), &[offer, "--compressed", &url("/gzip")]);
        assert_eq!(out, "packed by the API, unpacked by the client\n");
        let (out, _) = scene.curl(scene.front.key(), &[offer, "-L", &url("/moved")]);
        assert_eq!(out, "hello");
        let (out, _) = scene.curl(scene.front.key(), &[offer, "-L", "-d", "content", &url("/moved-with-content")]);
        assert_eq!(out, "content");
    }
    scene.identified();
}

#[test]
fn nghttp_sends_content_and_trailers_on_many_streams() {
    let scene = Scene::new();
    let file = scene.large_file();
    let bearer = format!("authorization: Bearer {}", scene.front.key());
    for base in [scene.clear(""), scene.tls("")] {
        let (out, _) = run(tool("nghttp").args(["--no-verify-peer", "-H", &bearer, "-m", "20", &format!("{base}/hello")]));
        assert_eq!(out, "hello".repeat(20));
        let (out, _) =
            run(tool("nghttp").args(["-H", &bearer, "--trailer", "x-checksum: 7", "-d"]).arg(&file).arg(format!("{base}/upload")));
        assert_eq!(out, format!("{{\"length\":{LARGE}}}"));
        let seen = scene.identified().pop().unwrap();
        assert_eq!(seen.body_crc, crc32fast::hash(&pattern(LARGE)));
        assert_eq!(seen.trailers, [("x-checksum".to_owned(), "7".to_owned())]);
        let refused = ["-v", "-H", "authorization: Bearer sk_live_nobody", "-d", file.to_str().unwrap()];
        let (out, _) = run(tool("nghttp").args(refused).arg(format!("{base}/refused")));
        assert!(out.contains(":status: 401") && out.contains("API_KEY_INVALID"), "{out}");
    }
    assert_eq!(scene.identified().len(), 42);
}

#[test]
fn h2load_has_every_request_answered() {
    let scene = Scene::new();
    let bearer = format!("authorization: Bearer {}", scene.front.key());
    let loads = [(scene.clear("/hello"), &["-m", "32"][..]), (scene.tls("/hello"), &["-m", "32"]), (scene.clear("/hello"), &["--h1"])];
    for (url, how) in &loads {
        let (out, _) = run(tool("h2load").args(["-n", "1000", "-c", "4", "-H", &bearer]).args(*how).arg(url));
        assert!(out.contains("1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout"), "{url} {how:?}: {out}");
        assert!(out.contains("status codes: 1000 2xx"), "{out}");
    }
    assert_eq!((scene.identified().len(), scene.front.connections()), (3000, 12));
}
