//! A TLS end in front of something that speaks in the clear: makes its own certificate, decrypts, and copies both ways.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;

/// What a connection offered and got.
type Spoken = Arc<Mutex<Vec<Option<String>>>>;

/// One that runs.
pub(crate) struct Terminator {
    pub(crate) address: SocketAddr,
    spoken: Spoken,
    directory: TempDir,
    _stop: oneshot::Sender<()>,
}

impl Terminator {
    /// In front of `to`, with a certificate for `name` that nobody else has signed, speaking one of `alpn`.
    pub(crate) fn start(to: SocketAddr, name: &str, alpn: &[&str]) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let spoken = Spoken::default();
        let (stop, stopped) = oneshot::channel();
        let told = Arc::clone(&spoken);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async {
                tokio::select! {
                    _ = stopped => {}
                    () = serve(listener, TlsAcceptor::from(Arc::new(config)), to, told) => {}
                }
            });
        });
        Self { address, spoken, directory, _stop: stop }
    }

    /// The file to trust it by.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// What was agreed upon with each connection, by ALPN; only those whose handshake succeeded.
    pub(crate) fn spoken(&self) -> Vec<Option<String>> {
        self.spoken.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, to: SocketAddr, told: Spoken) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, told) = (acceptor.clone(), Arc::clone(&told));
        spawn_local(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let protocol = stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap());
            told.lock().unwrap().push(protocol);
            let mut behind = TcpStream::connect(to).await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut behind).await;
        });
    }
}
