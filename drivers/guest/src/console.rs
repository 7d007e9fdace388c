//! The guest's console: its end is kept, and tells why a guest was lost.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use cowlab_sys::file::{FallocateFlags, fallocate, in_memory};
use cowlab_sys::{Result, io};

/// Kept at the least, in bytes.
const KEPT: u64 = 64 << 10;
/// With this many more than [`KEPT`], the oldest are given back.
const SLACK: u64 = 1 << 20;
/// Shown of a lost guest, in lines.
const SHOWN: usize = 40;
/// What the kernel writes before the reason of a panic (kernel/panic.c).
const PANIC: &str = "Kernel panic - not syncing: ";

/// A file in memory that QEMU writes to; nothing on this side has to run for it, so it does not disturb the guest.
#[derive(Debug)]
pub(crate) struct Console {
    file: File,
    freed: u64,
}

/// Why the kernel of a guest stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Panic {
    /// No memory was left.
    OutOfMemory,
    /// The kernel's reason.
    Other(String),
}

impl Console {
    /// Makes an empty one.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            file: in_memory("cowlab-guest-console")?,
            freed: 0,
        })
    }

    /// Returns a descriptor for QEMU to write to.
    pub(crate) fn descriptor(&self) -> Result<OwnedFd> {
        Ok(io("dup", "", self.file.try_clone())?.into())
    }

    /// Gives back the memory of all but the end.
    pub(crate) fn trim(&mut self) -> Result<()> {
        let length = io("stat", "", self.file.metadata())?.len();
        let old = length.saturating_sub(KEPT) & !0xfff;
        if old > self.freed + SLACK {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.file, flags, 0, old)?;
            self.freed = old;
        }
        Ok(())
    }

    /// Returns the end of what was written.
    pub(crate) fn text(&self) -> Result<String> {
        let length = io("stat", "", self.file.metadata())?.len();
        let start = length.saturating_sub(KEPT);
        let mut bytes = vec![0; usize::try_from(length - start).unwrap_or(0)];
        io("read", "", self.file.read_exact_at(&mut bytes, start))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Finds the reason of a panic.
pub(crate) fn panic(console: &str) -> Option<Panic> {
    let line = console.lines().find_map(|line| line.split_once(PANIC))?.1;
    // Written by `panic_on_oom` and where nothing is left to kill (mm/oom_kill.c).
    if line.contains("Out of memory") || line.contains("deadlocked on memory") {
        return Some(Panic::OutOfMemory);
    }
    Some(Panic::Other(line.trim().to_owned()))
}

/// Returns the last lines without empty ones and control characters.
pub(crate) fn tail(console: &str) -> String {
    let lines: Vec<String> = console
        .lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>())
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn tells_out_of_memory_from_other_panics() {
        let oom = "[ 9.1] Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled\r\n[ 9.2] CPU: 0";
        assert_eq!(panic(oom), Some(Panic::OutOfMemory));
        let other = "x\r\n[    6.2] Kernel panic - not syncing: sysrq triggered crash\r\n";
        assert_eq!(
            panic(other),
            Some(Panic::Other("sysrq triggered crash".into()))
        );
        assert_eq!(panic("Out of memory: Killed process 7 (cat)"), None);
    }

    #[test]
    fn keeps_the_end_and_gives_back_the_rest() {
        let mut console = Console::new().unwrap();
        let mut writer = File::from(console.descriptor().unwrap());
        for number in 0..200_000 {
            writeln!(writer, "line {number}").unwrap();
        }
        console.trim().unwrap();
        assert!(console.freed > SLACK);
        let text = console.text().unwrap();
        assert!(text.ends_with("line 199999\n"));
        let tail = tail(&text);
        assert_eq!(tail.lines().count(), SHOWN);
        assert!(tail.starts_with("line 199960\n"));
    }

    #[test]
    fn a_tail_has_no_control_characters() {
        assert_eq!(tail("a\r\n\u{1b}[2Jb\r\n\r\n"), "a\n[2Jb");
    }
}
