//! How many workers: the cgroup's CPU quota rounded up, at most 4; without a quota 2.

use std::fs::read_to_string;

const MOST: usize = 4;
const WITHOUT_QUOTA: usize = 2;

/// The number of workers that `runtime.workers` stands for.
#[must_use]
pub fn workers(configured: usize) -> usize {
    if configured > 0 {
        return configured;
    }
    let read = |path: &str| read_to_string(path).ok();
    let v2 = || read("/sys/fs/cgroup/cpu.max").and_then(|text| cpu_max(&text));
    let v1 = || {
        let quota = read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")?;
        let period = read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")?;
        cpu_max(&format!("{} {}", quota.trim(), period.trim()))
    };
    v2().or_else(v1).map_or(WITHOUT_QUOTA, |cpus| cpus.clamp(1, MOST))
}

/// `quota period` in microseconds; `max` and `-1` mean no quota.
fn cpu_max(text: &str) -> Option<usize> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period) = (quota.parse::<usize>().ok()?, period.parse::<usize>().ok()?);
    (period > 0).then(|| quota.div_ceil(period))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_rounded_up() {
        for (text, cpus) in [
            ("max 100000\n", None),
            ("-1 100000", None),
            ("50000 100000", Some(1)),
            ("150000 100000\n", Some(2)),
            ("1 0", None),
            ("", None),
        ] {
            assert_eq!(cpu_max(text), cpus, "{text:?}");
        }
        assert_eq!(workers(3), 3);
        assert!((1..=4).contains(&workers(0)));
    }
}
