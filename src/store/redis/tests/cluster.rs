//! Cluster: slots that move, masters that die.

use super::*;
use crate::store::contract::bare;
use crate::store::redis_server::cluster::RedisCluster;

/// Ids of keys, one on each of the three masters in their order.
async fn key_on_each(cluster: &RedisCluster, store: &dyn Store) -> Vec<String> {
    let mut found = vec![None; 3];
    for number in 0.. {
        let id = format!("key_{number}");
        let place = cluster.nodes.iter().take(3).position(|node| node.try_tell::<i64>(&format!("EXISTS sidegate:key:{{{id}}}")).is_ok());
        if let Some(place) = place.filter(|place| found[*place].is_none()) {
            store.put_key(bare(&key(&id, "acme", &id))).await.unwrap();
            found[place] = Some(id);
        }
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found.into_iter().flatten().collect()
}

#[tokio::test]
async fn a_slot_that_moves_is_followed_on_the_way_and_after() {
    let cluster = RedisCluster::start_with(3, &[]);
    let store = store_of(&patient(cluster.config())).await;
    let id = key_on_each(&cluster, &*store).await.remove(0);
    let (from, to) = (&cluster.nodes[0], &cluster.nodes[1]);
    let name = format!("sidegate:key:{{{id}}}");
    let slot: u16 = from.tell(&format!("CLUSTER KEYSLOT {name}"));
    let found = async |when: &str| {
        assert_eq!(store.find_key(&id).await.unwrap().map(|found| found.id), Some(id.clone()), "{when}");
        assert_eq!(store.list_keys(None, None, 10).await.unwrap().items.len(), 3, "{when}");
    };
    to.tell::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", cluster.id(0)));
    from.tell::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", cluster.id(1)));
    found("before it goes").await;
    let events = format!("sidegate:audit:key:{{{id}}}");
    from.tell::<()>(&format!("MIGRATE 127.0.0.1 {} {name} 0 5000", to.port()));
    found("on the way").await;
    let again = KeyRecord { version: 2, ..key(&id, "acme", &id) };
    // Its events and their places have not gone yet: nothing can be written with all of them.
    let error = store.put_key(bare(&again)).await.unwrap_err();
    assert!(error.to_string().contains("TRYAGAIN"), "{error}");
    from.tell::<()>(&format!("MIGRATE 127.0.0.1 {} {events} 0 5000", to.port()));
    from.tell::<()>(&format!("MIGRATE 127.0.0.1 {} {events}:places 0 5000", to.port()));
    store.put_key(bare(&again)).await.unwrap();
    for node in [to, from, &cluster.nodes[2]] {
        node.tell::<()>(&format!("CLUSTER SETSLOT {slot} NODE {}", cluster.id(1)));
    }
    found("after it came").await;
    store.put_key(bare(&KeyRecord { version: 3, ..again })).await.unwrap();
}

#[tokio::test]
async fn a_master_that_dies_fails_its_slots_alone_until_its_replica_takes_over() {
    let mut cluster = RedisCluster::start_with(6, &["--cluster-require-full-coverage", "no"]);
    let store = store_of(&sections::Store { write_replicas: 1, ..patient(cluster.config()) }).await;
    let ids = key_on_each(&cluster, &*store).await;
    let revoked = KeyRecord { version: 2, status: crate::key::record::KeyStatus::Revoked, ..key(&ids[0], "acme", &ids[0]) };
    store.put_key(bare(&revoked)).await.unwrap();
    let replication = store.await_replicas(Written::Key(&revoked)).await.unwrap();
    assert!(replication.is_complete(), "{replication:?}");
    cluster.nodes[0].stop();
    until("the loss is seen", async || matches!(store.find_key(&ids[0]).await, Err(StoreError::Unavailable(_)))).await;
    assert!(store.status().reachable && !store.status().detail.is_empty());
    until("a replica takes over", async || {
        for id in &ids[1..] {
            assert!(store.find_key(id).await.unwrap().is_some());
        }
        match store.find_key(&ids[0]).await {
            Ok(found) => found.expect("the record was not lost") == revoked,
            Err(StoreError::Unavailable(_)) => false,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
    store.put_key(bare(&KeyRecord { version: 3, ..revoked })).await.unwrap();
    assert_eq!(store.list_keys(None, None, 10).await.unwrap().items.len(), 3);
    assert_eq!(store.status().detail, "");
}

#[tokio::test]
async fn a_frozen_master_holds_up_nobody_but_itself() {
    let cluster = RedisCluster::start_with(3, &["--cluster-require-full-coverage", "no"]);
    let ids = key_on_each(&cluster, &*store_of(&patient(cluster.config())).await).await;
    let store = store_of(&sections::Store { command_timeout: Span::secs(1), ..cluster.config() }).await;
    cluster.nodes[1].signal("STOP");
    until("its silence is noticed", async || store.status().detail.contains(&cluster.nodes[1].port().to_string())).await;
    for id in [&ids[0], &ids[2]] {
        assert!(store.find_key(id).await.unwrap().is_some());
    }
    assert!(matches!(store.find_key(&ids[1]).await, Err(StoreError::Unavailable(_))));
    cluster.nodes[1].signal("CONT");
    until("it is back", async || store.find_key(&ids[1]).await.is_ok()).await;
}

#[tokio::test]
async fn a_cluster_that_is_down_says_so_and_one_that_goes_comes_back() {
    let mut cluster = RedisCluster::start_with(3, &[]);
    let store = store_of(&patient(cluster.config())).await;
    let ids = key_on_each(&cluster, &*store).await;
    cluster.nodes[2].stop();
    until("the cluster is down", async || !store.is_reachable()).await;
    assert!(store.status().detail.contains("CLUSTERDOWN"), "{}", store.status().detail);
    match store.find_key(&ids[0]).await {
        Err(StoreError::Unavailable(why)) => assert!(why.contains("CLUSTERDOWN"), "{why}"),
        other => panic!("{other:?}"),
    }
    cluster.nodes[0].stop();
    cluster.nodes[1].stop();
    until("nobody is there", async || store.status().detail.contains("refused")).await;
    for node in &mut cluster.nodes {
        node.restart();
    }
    until("the cluster is back", async || store.is_reachable()).await;
    // They kept nothing but their slots.
    until("it can be written", async || store.put_key(bare(&key(&ids[0], "acme", &ids[0]))).await.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_is_no_cluster_is_none() {
    let server = RedisServer::start_on_tcp(&[]);
    let config = sections::Store { url: format!("redis-cluster://127.0.0.1:{}", server.port()), ..sections::Store::default() };
    let store = store_of(&config).await;
    assert!(!store.is_reachable() && store.status().detail.contains("no cluster"), "{}", store.status().detail);
    assert!(matches!(store.find_key("key_1").await, Err(StoreError::Unavailable(_))));
}
