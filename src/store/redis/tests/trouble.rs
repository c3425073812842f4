//! Servers that say no, nothing, or nonsense. Whatever they do, a look-up is told that the store is unavailable, and why.

use crate::store::contract::bare;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A listener that answers each command as it is told to, and counts its connections.
struct Fake {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Fake {
    fn start(answer: impl Fn(&str) -> &'static str + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (Arc::clone(&connections), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::Relaxed);
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || serve(stream, &*answer));
            }
        });
        Self { address, connections }
    }

    fn config(&self) -> sections::Store {
        patient(at(self.address))
    }
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&str) -> &'static str) -> Option<()> {
    let mut parser = redis::Parser::new();
    loop {
        let Value::Array(words) = parser.parse_value(&mut stream).ok()? else { return None };
        let Some(Value::BulkString(name)) = words.first() else { return None };
        stream.write_all(answer(str::from_utf8(name).ok()?).as_bytes()).ok()?;
    }
}

fn at(address: SocketAddr) -> sections::Store {
    let short = Span(Duration::from_millis(50));
    sections::Store { url: format!("redis://{address}"), command_timeout: short, connect_timeout: short, ..sections::Store::default() }
}

fn reason<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Err(StoreError::Unavailable(why)) => why,
        other => panic!("not unavailable: {other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_refuses_everything_is_not_reached_and_its_word_is_told() {
    for (answer, word) in [
        ("-LOADING Redis is loading the dataset in memory\r\n", "LOADING"),
        ("-NOAUTH Authentication required.\r\n", "NOAUTH"),
        ("-MASTERDOWN Link with MASTER is down\r\n", "MASTERDOWN"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", ""),
        ("$-7\r\n", ""),
        ("*99999999999999999999\r\n", ""),
    ] {
        let fake = Fake::start(move |_| answer);
        let store = store_of(&fake.config()).await;
        assert!(!store.status().reachable && !store.is_reachable());
        for why in [reason(store.find_key("key_1").await), reason(store.list_keys(None, None, 5).await), store.status().detail] {
            assert!(why.contains(word) && why.contains(&fake.address.to_string()), "{why}");
        }
    }
}

#[tokio::test]
async fn what_a_server_says_instead_of_an_answer_is_no_record() {
    for (answer, word) in [
        ("-LOADING Redis is loading the dataset in memory\r\n", "LOADING"),
        ("-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n", "MASTERDOWN"),
        ("-READONLY You can't write against a read only replica.\r\n", "READONLY"),
        ("-CLUSTERDOWN The cluster is down\r\n", "CLUSTERDOWN"),
        ("-MOVED 1 127.0.0.1:1\r\n", "MOVED"),
        ("-NOPERM this user has no permissions to run the command\r\n", "NOPERM"),
        (":1\r\n", ""),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", ""),
    ] {
        let fake = Fake::start(move |name| match name {
            "PING" => "+PONG\r\n",
            "ZRANGEBYLEX" => "*1\r\n$22\r\n0000000000000001:key_1\r\n",
            _ => answer,
        });
        let store = store_of(&fake.config()).await;
        let why = reason(store.find_key("key_1").await);
        assert!(why.contains(word), "{why}");
        // Not a list without the records that the server did not give.
        until("the store is back", async || store.is_reachable()).await;
        reason(store.list_keys(None, None, 5).await);
    }
}

#[tokio::test]
async fn after_nonsense_the_connection_is_dialled_anew() {
    let fake = Fake::start(|name| if name == "PING" { "+PONG\r\n" } else { "nonsense\r\n" });
    let store = store_of(&fake.config()).await;
    reason(store.find_key("key_1").await);
    until("a second connection", async || fake.connections.load(Ordering::Relaxed) > 1 && store.is_reachable()).await;
}

#[tokio::test]
async fn a_listener_that_never_answers_and_one_that_never_accepts_are_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = store_of(&at(silent.local_addr().unwrap())).await;
    assert!(reason(store.find_key("key_1").await).contains("no connection within 50 ms"));
    // A queue of one place, which is taken.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let mut taken = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        taken.push(stream);
    }
    let store = store_of(&at(address)).await;
    assert!(reason(store.find_key("key_1").await).contains("no connection within 50 ms"));
}

#[tokio::test]
async fn a_server_without_memory_refuses_writes_and_goes_on_to_be_asked() {
    let server = RedisServer::start();
    let store = store_of(&server.config()).await;
    store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    let connections = || {
        let stats: String = server.tell("INFO stats");
        stats.lines().find_map(|line| line.strip_prefix("total_connections_received:")?.trim().parse::<u64>().ok()).unwrap()
    };
    server.tell::<()>("CONFIG SET maxmemory 1");
    let before = connections();
    assert!(reason(store.put_key(bare(&key("key_2", "acme", "s2"))).await).contains("OOM"));
    assert!(store.find_key("key_1").await.unwrap().is_some());
    // To dial again would help nobody. (Who asks for the count is a connection too.)
    assert_eq!(connections(), before + 1);
    assert!(store.status().reachable);
}

#[tokio::test]
async fn a_server_that_became_a_replica_is_read_and_written_again_when_it_may_be() {
    let server = RedisServer::start();
    let store = store_of(&server.config()).await;
    store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    server.tell::<()>("REPLICAOF 127.0.0.1 1");
    let clients = || server.tell::<String>("CLIENT LIST TYPE normal").lines().map(|line| line.split(' ').next().unwrap().to_owned()).next();
    let before = clients();
    assert!(reason(store.put_key(bare(&key("key_2", "acme", "s2"))).await).contains("READONLY"));
    // Where the name leads elsewhere by now, another connection is what helps. Reads go on meanwhile.
    until("another connection", async || {
        assert!(store.find_key("key_1").await.unwrap().is_some());
        clients() != before
    })
    .await;
    server.tell::<()>("REPLICAOF NO ONE");
    store.put_key(bare(&key("key_2", "acme", "s2"))).await.unwrap();
}

#[tokio::test]
async fn where_the_name_leads_elsewhere_the_change_log_is_read_there_too() {
    let (left, found) = (RedisServer::start(), RedisServer::start());
    let dir = tempfile::tempdir().unwrap();
    let name = dir.path().join("redis.sock");
    std::os::unix::fs::symlink(left.socket(), &name).unwrap();
    let config = patient(sections::Store { url: format!("redis+unix://{}", name.display()), ..sections::Store::default() });
    let opened = open(&config, &Clock::System).await.unwrap();
    let (store, mut log) = (opened.store, opened.changes.unwrap());
    store.put_tenant(bare(&tenant("acme"))).await.unwrap();
    while log.next().await.unwrap().position != Position(1) {}
    std::fs::remove_file(&name).unwrap();
    std::os::unix::fs::symlink(found.socket(), &name).unwrap();
    left.tell::<()>("REPLICAOF 127.0.0.1 1");
    until("the other server is written to", async || store.put_tenant(bare(&tenant("acme"))).await.is_ok()).await;
    store.announce(&[Changed::NewKeys]).await.unwrap();
    until("its log is read", async || log.next().await.is_ok_and(|batch| batch.position == Position(2) && batch.current)).await;
}

#[tokio::test]
async fn passwords_are_rotated_under_a_running_process() {
    let server = RedisServer::start_with(&["--user", "svc", "on", ">first", "~sidegate:*", "+@all"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = sections::Store { username: "svc".into(), password_file: file.path().into(), ..server.config() };
    // The new one is not known yet: the one below it is.
    std::fs::write(file.path(), "second\nfirst\n").unwrap();
    let store = store_of(&config).await;
    store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    let cut = || server.tell::<()>("CLIENT KILL USER svc");
    server.tell::<()>("ACL SETUSER svc resetpass >second");
    cut();
    until("the second password is used", async || store.find_key("key_1").await.is_ok()).await;
    server.tell::<()>("ACL SETUSER svc resetpass >third");
    cut();
    until("the second password is refused", async || store.status().detail.contains("WRONGPASS")).await;
    // The file is read at each dial.
    std::fs::write(file.path(), "third\n").unwrap();
    until("the third password is used", async || store.find_key("key_1").await.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_demands_a_password_says_so() {
    let server = RedisServer::start_with(&["--requirepass", "secret"]);
    let store = store_of(&server.config()).await;
    assert!(reason(store.find_key("key_1").await).contains("NOAUTH"));
    let wrong = sections::Store { url: format!("{}?pass=guess", server.config().url), ..server.config() };
    let why = reason(store_of(&wrong).await.find_key("key_1").await);
    assert!(why.contains("WRONGPASS") && !why.contains("guess"), "{why}");
}
