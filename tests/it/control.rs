//! The control socket and the commands that speak over it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Barrier, Mutex, mpsc};
use std::thread;

use crate::support::client::{Client, Request, once};
use crate::support::process::{Serve, command, run, signal};
use crate::support::sidecar::{Home, Kind};
use crate::support::stream::Address;
use crate::support::upstream::Upstream;

const OPEN: &str = "[[routes]]\nname = \"all\"\nmatch = \"* /**\"\nauth = \"none\"\n";

fn home(upstream: &Upstream, text: &str) -> (Home, PathBuf) {
    // Relative to the file.
    let home = Home::new(Kind::Embedded, &format!("upstream = \"{}\"\n{OPEN}[ops]\nsocket = \"control.sock\"\n{text}", upstream.url()));
    let socket = home.dir.path().join("control.sock");
    (home, socket)
}

#[test]
fn the_socket_is_its_users_alone_and_answers_nothing_else() {
    let upstream = Upstream::echo();
    let (home, socket) = home(&upstream, "");
    let serve = Serve::start(&home.config_file());
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let ask = |method: &str, path: &str| once(Address::Unix(socket.clone()), &Request::new(method, path)).status;
    assert_eq!(ask("GET", "/status"), 200);
    assert_eq!(ask("GET", "/reload"), 405);
    assert_eq!(ask("GET", "/drain"), 405);
    assert_eq!(ask("GET", "/metrics"), 404);
    assert!(serve.stop().0.success());
    assert!(!socket.exists());
}

#[test]
fn reload_waits_for_the_outcome_and_says_what_is_wrong() {
    let upstream = Upstream::echo();
    let (home, _) = home(&upstream, "");
    let file = home.config_file();
    let good = std::fs::read_to_string(&file).unwrap();
    assert_eq!(run(&["reload"], &file).code, 6, "nobody is there");
    let serve = Serve::start(&file);
    assert_eq!(once(serve.address, &Request::get("/")).status, 200);
    std::fs::write(&file, good.replace("auth = \"none\"\n", "")).unwrap();
    assert_eq!(run(&["reload"], &file).ok(), "reloaded\n");
    assert_eq!(once(serve.address, &Request::get("/")).status, 401);
    std::fs::write(&file, format!("{good}\n[rotes]\n[runtime]\nworkers = 3\n")).unwrap();
    let refused = run(&["reload"], &file);
    assert!(refused.code == 3 && refused.stderr.contains("rotes"), "{refused:?}");
    assert_eq!(once(serve.address, &Request::get("/")).status, 401);
    std::fs::write(&file, format!("{good}\n[runtime]\nworkers = 3\n")).unwrap();
    let restart = run(&["reload", "--json"], &file).json();
    assert_eq!((&restart["outcome"], &restart["needs_restart"][0]), (&"applied".into(), &"runtime.workers".into()));
    let status = run(&["status", "--json"], &file).json();
    let sidecar = &status["sidecar"];
    assert_eq!(sidecar["pid"], serve.id());
    assert_eq!((&sidecar["state"], &sidecar["ready"]), (&"serving".into(), &true.into()));
    assert_eq!(
        (&sidecar["listeners"][0]["name"], &sidecar["listeners"][0]["address"]),
        (&"public".into(), &serve.address.to_string().into())
    );
    // A look at the files may have come between.
    assert!(sidecar["configuration"]["generation"].as_u64().unwrap() >= 3, "{sidecar}");
    assert_eq!(sidecar["configuration"]["needs_restart"][0], "runtime.workers");
    let told = run(&["status"], &file).stderr;
    assert!(told.contains("this sidecar") && told.contains("needs a restart"), "{told}");
}

#[test]
fn drain_waits_for_what_is_in_flight_and_the_signal_then_waits_no_more() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let upstream = Upstream::start(move |exchange| {
        if exchange.request.target == "/slow" {
            let _ = released.lock().unwrap().recv();
        }
        exchange.answer(200, &[], b"ok");
    });
    let (home, _) = home(&upstream, "[shutdown]\ndrain_delay = \"1ms\"\ndrain_timeout = \"1h\"\n");
    let file = home.config_file();
    let serve = Serve::start(&file);
    let mut slow = Client::connect(serve.address);
    slow.send(Request::get("/slow").bytes());
    upstream.wait(|all| all.iter().any(|request| request.target == "/slow"));
    let told = run(&["drain", "--json"], &file).json();
    assert_eq!((&told["state"], &told["requests_in_flight"]), (&"draining".into(), &1.into()));
    let newcomer = once(serve.address, &Request::get("/"));
    assert_eq!((newcomer.status, newcomer.header("connection")), (200, Some("close")), "who still comes is served");
    let mut waiting = command(&["drain", "--wait", "--quiet"], &file).spawn().unwrap();
    assert_eq!(waiting.try_wait().unwrap(), None);
    release.send(()).unwrap();
    assert_eq!(slow.answer("GET").status, 200);
    assert!(waiting.wait().unwrap().success());
    assert!(serve.stop().0.success());
}

#[test]
fn a_drain_under_load_fails_no_request() {
    let upstream = Upstream::start(|exchange| exchange.answer(200, &[], b"ok"));
    // A delay, as ever: in it each of them asks once more and is told, before idle connections are closed.
    let (home, _) = home(&upstream, "[shutdown]\ndrain_delay = \"2s\"\ndrain_timeout = \"1h\"\n");
    let serve = Serve::start(&home.config_file());
    let (address, id) = (serve.address, serve.id());
    let begun = Barrier::new(5);
    let serve_until_told = || {
        let mut client = Client::connect(address);
        for served in 1.. {
            client.send(Request::get("/").bytes());
            match client.try_answer("GET") {
                Some(answer) if answer.status == 200 && answer.header("connection") == Some("close") => break,
                Some(answer) if answer.status == 200 => {}
                answer => return Err(format!("{answer:?} after {served}")),
            }
            if served == 20 {
                begun.wait();
            }
        }
        Ok(())
    };
    let ends: Vec<Result<(), String>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(serve_until_told)).collect();
        begun.wait();
        signal(id, "TERM");
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(ends, vec![Ok(()); 4]);
    assert!(serve.wait().0.success());
}
