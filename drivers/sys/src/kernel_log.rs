//! What the kernel complained of (Documentation/ABI/testing/dev-kmsg).

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;

use crate::{Result, io};

/// The device that has one record for each read.
const PATH: &str = "/dev/kmsg";
/// The most that a record has, in bytes (kernel/printk/internal.h, `PRINTK_MESSAGE_MAX`).
const RECORD: usize = 8192;
/// What a complaint begins with.
const SIGNS: [&str; 4] = ["WARNING:", "BUG:", "Oops:", "kernel BUG at"];
/// How many records belong to one: where it happened, and the calls that led there.
const FOLLOWING: usize = 24;

/// Returns the last warning, bug or oops that the kernel logged since the boot, a record a line, without times; `None`
/// where there was none.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]; reading takes root.
pub fn last_complaint() -> Result<Option<String>> {
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut options = File::options();
    let options = options.read(true).custom_flags(flags.bits().cast_signed());
    let mut log = io("open", PATH, options.open(PATH))?;
    let mut records = Vec::new();
    let mut buffer = vec![0; RECORD];
    loop {
        match log.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => records.push(message(&String::from_utf8_lossy(&buffer[..length]))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            // A record that was overwritten meanwhile; the next read has the oldest that is left.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(error) => return io("read", PATH, Err(error)),
        }
    }
    Ok(last(&records))
}

/// The text of a record: what comes after `;`, without the dictionary in the lines below.
fn message(record: &str) -> String {
    let line = record.lines().next().unwrap_or_default();
    line.split_once(';')
        .map_or(line, |(_, text)| text)
        .to_owned()
}

fn last(records: &[String]) -> Option<String> {
    let is_sign = |record: &String| SIGNS.iter().any(|sign| record.contains(sign));
    let start = records.iter().rposition(is_sign)?;
    let end = records.len().min(start + FOLLOWING);
    Some(records[start..end].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_complaint_has_what_follows_it() {
        let lines = [
            "4,1,5,-;WARNING: CPU: 0 at a.c:1",
            "4,2,6,-;Call Trace:",
            "6,3,7,-;fine",
        ];
        let records: Vec<_> = lines.iter().map(|line| message(line)).collect();
        let text = "WARNING: CPU: 0 at a.c:1\nCall Trace:\nfine";
        assert_eq!(last(&records).as_deref(), Some(text));
        assert_eq!(last(&records[1..]), None);
    }

    #[test]
    fn a_dictionary_is_no_text() {
        assert_eq!(message("6,1,2,-;text\n SUBSYSTEM=block\n"), "text");
    }
}
