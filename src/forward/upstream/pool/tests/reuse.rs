//! Which answers leave their connection fit for another request, and which do not.

use super::*;

async fn connections_for_two(first: &'static str) -> usize {
    let again = [Hear, Say(first), Hear, Say(OK), Hang].to_vec().leak();
    let script = vec![&*again, &[Hear, Say(OK), Hang]].leak();
    let scene = Scene::new(script, "").await;
    assert!(scene.get().await.is_ok(), "{first}");
    assert_eq!(scene.get().await, Ok(fine()), "{first}");
    let pool = scene.pool();
    pool.target.counts.connects.load(std::sync::atomic::Ordering::Relaxed).try_into().unwrap()
}

#[test]
fn a_connection_is_kept_behind_a_complete_answer_only_if_nothing_speaks_against_it() {
    for (first, connections) in [
        (OK, 1),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 1),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 1),
        ("HTTP/1.1 204 No Content\r\n\r\n", 1),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 1),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 2),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 2),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n", 2),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more", 2),
        ("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 2),
    ] {
        run(async { assert_eq!(connections_for_two(first).await, connections, "{first}") });
    }
}

#[test]
fn a_sweep_closes_what_the_upstream_has_closed() {
    run(async {
        let scene = Scene::new(&[&[Hear, Say(OK)]], "").await;
        assert_eq!(scene.get().await, Ok(fine()));
        while scene.pool().idle.borrow().iter().any(http1::Idle::is_quiet) {
            tokio::task::yield_now().await;
        }
        scene.pools.sweep();
        assert_eq!(scene.pool().idle.borrow().len(), 0);
        assert_eq!(scene.pool().target.open.load(std::sync::atomic::Ordering::Acquire), 0);
    });
}

#[test]
fn an_answer_that_is_not_read_to_its_end_closes_its_connection() {
    run(async {
        let scene = Scene::new(&[&[Hear, Say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"), Hang]], "").await;
        let head = Request::get("/").body(()).unwrap().into_parts().0;
        drop(scene.pools.send(&mut forward(&scene.pools, head), &mut Content::default(), &Cell::new(0)).await.unwrap());
        assert_eq!(scene.pool().idle.borrow().len(), 0);
        assert_eq!(scene.pool().target.open.load(std::sync::atomic::Ordering::Acquire), 0);
    });
}
