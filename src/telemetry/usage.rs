//! What this process uses of its machine, as the kernel tells it. Nothing is assumed where it does not.

use std::fs::{read_dir, read_to_string};

/// Ticks of the kernel's clock in a second, as every Linux shows them to programs.
const TICKS: f64 = 100.0;

/// What is used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Bytes in memory.
    pub resident_bytes: Option<u64>,
    /// Open descriptors.
    pub open_fds: Option<usize>,
    /// Descriptors that may be open.
    pub max_fds: Option<u64>,
    /// Seconds of processor time.
    pub cpu_seconds: Option<f64>,
}

impl Usage {
    /// Now.
    #[must_use]
    pub fn read() -> Self {
        let file = |name: &str| read_to_string(format!("/proc/self/{name}")).ok();
        Self {
            resident_bytes: file("status").as_deref().and_then(resident),
            open_fds: read_dir("/proc/self/fd").ok().map(Iterator::count),
            max_fds: rlimit::Resource::NOFILE.get().ok().map(|(soft, _)| soft),
            cpu_seconds: file("stat").as_deref().and_then(cpu),
        }
    }
}

/// `VmRSS:  1234 kB`
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The 14th and 15th field; the second, the program's name, may hold anything.
fn cpu(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map(|field| field.parse::<f64>().ok());
    Some((times.next()?? + times.next()??) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t  2048 kB\nThreads:\t4\n"), Some(2_097_152));
        assert_eq!(cpu("1 (a) b) S 0 1 1 0 -1 4194560 2003 0 0 0 150 50 0 0 20 0 4 0 99 1 1"), Some(2.0));
        assert_eq!((resident(""), cpu("")), (None, None));
        let now = Usage::read();
        assert!(now.resident_bytes > Some(0) && now.open_fds > Some(2) && now.max_fds > Some(2) && now.cpu_seconds.is_some());
    }
}
