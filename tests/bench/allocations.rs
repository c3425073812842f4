//! How often a decision on a cached key or token, and the counting of its request, allocates. A binary of its own: counting takes a
//! global allocator.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench or test fails by panicking")]

#[allow(dead_code, reason = "each bench uses its part of it")]
mod gate;

/// Checks that are only observed, and refuse nothing.
const OBSERVE: &str = "[restrictions]\nobserve = [\"ip\", \"referrer\", \"endpoint\", \"scope\"]\nobserve_until = \"2999-01-01\"\n";

#[test]
fn a_decision_on_a_cached_key_or_token_is_ready_at_once_and_allocates_nothing_nor_does_counting_it() {
    for bench in [gate::Bench::new(), gate::Bench::with(gate::LIMIT), gate::Bench::with(OBSERVE), gate::Bench::with_token()] {
        allocates_nothing(&bench);
    }
}

fn allocates_nothing(bench: &gate::Bench) {
    // The first request of a key in an interval makes its entry.
    bench.decide_and_count(&mut bench.head()).unwrap();
    let counts: Vec<u64> = (0..1000)
        .map(|_| {
            let mut head = bench.head();
            let mut decided = None;
            let counted = allocation_counter::measure(|| decided = Some(bench.decide_and_count(&mut head)));
            assert!(decided.is_some_and(|decided| decided.is_ok()));
            counted.count_total
        })
        .collect();
    // moka tidies up in the caller's thread now and then; that may allocate, and is the only thing that may.
    let (worst, allocating) = (counts.iter().max().copied().unwrap(), counts.iter().filter(|count| **count > 0).count());
    eprintln!("allocations: at worst {worst}, in {allocating} of {} decisions", counts.len());
    assert!(worst <= 2 && allocating <= 20, "at worst {worst}, in {allocating} of {} decisions", counts.len());
}
