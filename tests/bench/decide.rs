//! Nanoseconds per decision on a cached key or token, and of the first verification of one: `cargo bench --bench decide`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a bench or test fails by panicking")]

mod gate;
mod verify;

use criterion::{BatchSize, Criterion};

fn main() {
    let bench = gate::Bench::new();
    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("decide, cached key", |bencher| {
        bencher.iter_batched_ref(|| bench.head(), |head| bench.decide(head).unwrap(), BatchSize::NumIterations(16));
    });
    criterion.bench_function("decide and count, cached key", |bencher| {
        bencher.iter_batched_ref(|| bench.head(), |head| bench.decide_and_count(head).unwrap(), BatchSize::NumIterations(16));
    });
    let limited = gate::Bench::with(gate::LIMIT);
    criterion.bench_function("decide, cached key, with a limit", |bencher| {
        bencher.iter_batched_ref(|| limited.head(), |head| limited.decide(head).unwrap(), BatchSize::NumIterations(16));
    });
    let token = gate::Bench::with_token();
    criterion.bench_function("decide, cached token", |bencher| {
        bencher.iter_batched_ref(|| token.head(), |head| token.decide(head).unwrap(), BatchSize::NumIterations(16));
    });
    verify::first_of_each_algorithm(&mut criterion);
    criterion.final_summary();
}
