//! pingora-proxy with keys in a map, as one would write it: the credential is taken off, four headers are set. One worker thread.
//! Usage: `pingora-peer LISTEN UPSTREAM KEYS`, where each line of KEYS is a secret, its tenant and its id.

use std::collections::HashMap;

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::server::Server;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[derive(Clone)]
struct Identity {
    tenant: String,
    id: String,
}

struct Peer {
    keys: HashMap<String, Identity>,
    upstream: String,
}

#[async_trait]
impl ProxyHttp for Peer {
    type CTX = Option<Identity>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    async fn request_filter(&self, session: &mut Session, identity: &mut Self::CTX) -> Result<bool> {
        let header = session.req_header().headers.get("authorization").and_then(|value| value.to_str().ok());
        *identity = header.and_then(|value| value.strip_prefix("Bearer ")).and_then(|key| self.keys.get(key)).cloned();
        if identity.is_some() {
            return Ok(false);
        }
        let mut refusal = ResponseHeader::build(401, Some(1))?;
        refusal.insert_header("content-length", "0")?;
        session.write_response_header(Box::new(refusal), true).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, _identity: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream.as_str(), false, String::new())))
    }

    async fn upstream_request_filter(&self, _session: &mut Session, request: &mut RequestHeader, identity: &mut Self::CTX) -> Result<()> {
        if let Some(Identity { tenant, id }) = identity.take() {
            request.remove_header("authorization");
            request.insert_header("X-Tenant-Id", tenant)?;
            request.insert_header("X-Key-Id", id)?;
            request.insert_header("X-Scopes", "read,write")?;
            request.insert_header("X-Auth-Method", "api_key")?;
        }
        Ok(())
    }
}

fn main() {
    let [listen, upstream, keys]: [String; 3] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().expect("usage: pingora-peer LISTEN UPSTREAM KEYS");
    let text = std::fs::read_to_string(keys).expect("the keys can be read");
    let keys = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?, Identity { tenant: words.next()?, id: words.next()? }))
    });
    let peer = Peer { keys: keys.collect(), upstream };
    let conf = ServerConf { threads: 1, work_stealing: false, upstream_keepalive_pool_size: 256, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None::<Opt>, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, peer);
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever();
}
