//! Receipts over both stores: who is waited for, and who is named.

use super::*;
use crate::store::contract::{bare, key, tenant};
use crate::store::redis_server::RedisServer;
use crate::store::{Opened, open};

fn sidecar(name: &str, position: Position) -> Instance {
    let this = this_process(&sections::Cache::default(), &Clock::System).unwrap();
    Instance { name: name.into(), position, ..this }
}

async fn receipts(config: sections::Store) {
    let Opened { store, .. } = open(&config, &Clock::System).await.unwrap();
    store.put_tenant(bare(&tenant("acme"))).await.unwrap();
    let position = store.put_key(bare(&key("key_1", "acme", "s1"))).await.unwrap();
    assert_eq!(confirm(&*store, position, Duration::ZERO).await.unwrap().confirmed, 0);
    let nobody = confirm(&*store, position, Duration::from_mins(1)).await.unwrap();
    assert!(nobody.confirmed == 0 && nobody.missing.is_empty() && nobody.took > BEAT, "{nobody:?}");

    let (fast, slow) = (sidecar("fast", position), sidecar("slow", Position(position.0 - 1)));
    // Struck out by the next that starts: it says that it serves nothing after 0 ms of silence.
    let gone = Instance { gone_after_ms: 0, ..sidecar("gone", Position(0)) };
    store.beat(&gone, false).await.unwrap();
    while !store.instances().await.unwrap().iter().all(Seen::is_gone) {
        tokio::task::yield_now().await;
    }
    store.beat(&fast, true).await.unwrap();
    assert_eq!(store.beat(&slow, false).await.unwrap(), 2);
    let receipt = confirm(&*store, position, Duration::from_millis(1)).await.unwrap();
    assert_eq!(receipt.confirmed, 1);
    assert_eq!(receipt.missing.iter().map(|seen| seen.instance.name.as_str()).collect::<Vec<_>>(), ["slow"]);
    assert!(!receipt.missing[0].is_late());

    let (waiting, patient) = (Arc::clone(&store), Duration::from_mins(1));
    let waiter = tokio::spawn(async move { confirm(&*waiting, position, patient).await.unwrap() });
    store.beat(&Instance { position, ..slow.clone() }, false).await.unwrap();
    let receipt = waiter.await.unwrap();
    assert_eq!((receipt.confirmed, receipt.missing.len()), (2, 0));
    store.leave(&slow.id).await.unwrap();
    assert_eq!(store.instances().await.unwrap().iter().map(|seen| &seen.instance).collect::<Vec<_>>(), [&fast]);
}

#[tokio::test]
async fn receipts_name_who_is_missing_in_the_embedded_store() {
    let dir = tempfile::tempdir().unwrap();
    receipts(sections::Store { url: format!("embedded:{}/keys", dir.path().display()), ..sections::Store::default() }).await;
}

#[tokio::test]
async fn receipts_name_who_is_missing_in_redis() {
    receipts(RedisServer::start().config()).await;
}
