//! Memory of a process, by the kernel's account (/proc): what it holds now, and the most it held since it was asked to forget that.

/// KiB that a process holds.
pub(crate) fn rss_kib(id: u32) -> u64 {
    kib(id, "VmRSS:")
}

/// The most it held.
pub(crate) fn peak_kib(id: u32) -> u64 {
    kib(id, "VmHWM:")
}

/// The peak is what it holds now.
pub(crate) fn forget_peak(id: u32) {
    std::fs::write(format!("/proc/{id}/clear_refs"), "5").unwrap();
}

fn kib(id: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
