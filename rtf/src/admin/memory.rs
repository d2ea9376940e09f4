//! What this process takes of the machine.

/// Resident memory in bytes, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    resident(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_in_kibibytes() {
        let status = "Name:\trtf\nVmRSS:\t   12345 kB\nThreads:\t9\n";
        assert_eq!(resident(status), Some(12345 * 1024));
        assert_eq!(resident("Name:\trtf\n"), None);
    }
}
