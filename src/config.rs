//! proxy.toml: layers merged, all mistakes reported at once. The request path never sees what is in here, only what was compiled from it.

pub mod problem;
pub mod sections;
pub mod units;
