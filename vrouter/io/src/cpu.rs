//! Threads on cores.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::error::{Context, Error, Result};

/// The cores the calling thread may run on, ascending.
///
/// # Errors
/// The kernel refuses to say.
pub fn allowed() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0)).context(|| "read the CPU affinity".into())?;
    Ok((0..CpuSet::count())
        .filter(|&cpu| set.is_set(cpu).unwrap_or(false))
        .collect())
}

/// Pins the calling thread to `cpu`.
///
/// # Errors
/// There is no such core, or the thread may not use it.
pub fn pin(cpu: usize) -> Result<()> {
    let action = || format!("pin the thread to CPU {cpu}");
    let mut set = CpuSet::new();
    set.set(cpu)
        .map_err(|_| Error::invalid(action(), "there is no such CPU"))?;
    sched_setaffinity(Pid::from_raw(0), &set).context(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_core() {
        std::thread::spawn(|| {
            let last = *allowed().unwrap().last().unwrap();
            pin(last).unwrap();
            assert_eq!(allowed().unwrap(), [last]);
            assert!(pin(100_000).is_err());
        })
        .join()
        .unwrap();
    }
}
