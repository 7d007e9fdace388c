//! Whether the pool refused a write while a snapshot was writable.
//!
//! A write that the pool refuses is lost when nobody asks for it by fsync(2), and leaves no trace in the file system. But
//! the pool counts an event whenever its mode changes, and whenever it falls below a low-water mark. So a snapshot is
//! trusted as long as there are no more events than low-water marks explain.
//!
//! Source: `drivers/md/dm-thin.c`, the callers of `dm_table_event`. Below the mark of the metadata the count can go up
//! without a mode change; a snapshot is then suspected without need, which is the lesser harm.

use std::fmt;

use cowlab_driver::Result;
use cowlab_sys::process;

use crate::status::{Filled, Mode, PoolStatus};
use crate::thin::Thin;

/// How the pool is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    events: u32,
    data: Filled,
    metadata: Filled,
}

impl Thin {
    /// The boot, and how the pool is.
    pub(crate) fn epoch(&self) -> Result<String> {
        let (now, _) = self.moment()?;
        Ok(format!("{} {now}", process::boot_id()?))
    }

    /// Says why writes since an epoch may be missing, if they may.
    pub(crate) fn lost_since(&self, epoch: &str) -> Result<Option<String>> {
        let (now, status) = self.moment()?;
        let low_water = self.pool.table()?.low_water;
        let (boot, before) = epoch.split_once(' ').unwrap_or_default();
        let Some(before) = Moment::parse(before) else {
            return Ok(Some(format!("its epoch `{epoch}` cannot be read")));
        };
        let is_same_boot = boot == process::boot_id()?;
        let took_all = match is_same_boot {
            true => took_everything(before, now, &status, low_water),
            false => had_room(before, now, &status, low_water),
        };
        if took_all {
            return Ok(None);
        }
        let name = &self.pool.name;
        tracing::debug!(pool = name, %before, %now, "events, data and metadata of the pool");
        Ok(Some(match is_same_boot {
            true => format!("pool `{name}` refused writes while it was mounted"),
            false => format!(
                "pool `{name}` had little space left in the boot in which it was mounted, and may have refused writes"
            ),
        }))
    }

    fn moment(&self) -> Result<(Moment, PoolStatus)> {
        self.pool.require(Some(&self.record.table))?;
        let status = self.pool.require_mark(self.record.mark)?;
        let info = self.pool.control.find(&self.pool.name)?;
        let moment = Moment {
            events: info.map_or(0, |info| info.event),
            data: status.data,
            metadata: status.metadata,
        };
        Ok((moment, status))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            events,
            data,
            metadata,
        } = self;
        write!(
            f,
            "{events} {}/{} {}/{}",
            data.used, data.total, metadata.used, metadata.total
        )
    }
}

impl Moment {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let events = words.next()?.parse().ok()?;
        let mut filled = || {
            let (used, total) = words.next()?.split_once('/')?;
            Some(Filled {
                used: used.parse().ok()?,
                total: total.parse().ok()?,
            })
        };
        Some(Self {
            events,
            data: filled()?,
            metadata: filled()?,
        })
    }
}

/// Whether the pool had room before a boot and has room after it. The count of events begins anew with every boot.
const fn had_room(before: Moment, now: Moment, status: &PoolStatus, low_water: u64) -> bool {
    matches!(status.mode, Mode::ReadWrite)
        && !status.needs_check
        && before.data.free() > low_water
        && now.data.free() > low_water
        && !is_scarce(before.metadata)
        && !is_scarce(now.metadata)
}

/// `calc_metadata_threshold`: a quarter of the device, 4 MiB at most.
const fn is_scarce(metadata: Filled) -> bool {
    let quarter = metadata.total / 4;
    metadata.free() <= if quarter < 1024 { quarter } else { 1024 }
}

/// Whether every event between two moments is one of a low-water mark, or of a wait that ended well.
fn took_everything(before: Moment, now: Moment, status: &PoolStatus, low_water: u64) -> bool {
    let happened = now.events.wrapping_sub(before.events);
    if status.mode != Mode::ReadWrite || status.needs_check {
        return happened == 0;
    }
    let is_low = |data: Filled| data.free() <= low_water;
    // A pool that takes a new size tells once more that it is low.
    let grew = before.data.total != now.data.total || before.metadata.total != now.metadata.total;
    let explained = [
        !is_low(before.data),
        grew && is_low(now.data),
        !is_scarce(before.metadata) && is_scarce(now.metadata),
    ];
    let explained = explained.into_iter().map(u32::from).sum::<u32>();
    // A writer that waits sees the pool fill up and get space; one that waited in vain is one event more.
    let waited = if status.queues_if_full { 2 } else { 0 };
    happened <= explained + waited
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: u64 = 10;

    fn at(events: u32, used: u64, total: u64) -> Moment {
        Moment {
            events,
            data: Filled { used, total },
            metadata: Filled {
                used: 10,
                total: 1000,
            },
        }
    }

    fn is_whole(before: Moment, now: Moment, features: &str) -> bool {
        let line = format!("7 10/1000 1/100 - {features} discard_passdown - 1024");
        took_everything(before, now, &PoolStatus::parse(&line).unwrap(), LOW)
    }

    #[test]
    fn low_water_marks_are_no_loss() {
        let error = "rw error_if_no_space";
        assert!(is_whole(at(4, 50, 100), at(4, 60, 100), error));
        assert!(is_whole(at(4, 50, 100), at(5, 95, 100), error));
        // Full, and emptied by a removal: low, full, writable.
        assert!(!is_whole(at(4, 50, 100), at(7, 50, 100), error));
        // The same in a pool that grew, and in one that was low before.
        assert!(!is_whole(at(4, 50, 100), at(7, 100, 200), error));
        assert!(!is_whole(at(4, 95, 100), at(6, 100, 200), error));
        let full = "out_of_data_space error_if_no_space";
        assert!(!is_whole(at(4, 95, 100), at(5, 100, 100), full));
    }

    #[test]
    fn who_waited_and_got_space_lost_nothing() {
        let queue = "rw queue_if_no_space";
        assert!(is_whole(at(4, 50, 100), at(7, 100, 200), queue));
        assert!(!is_whole(at(4, 50, 100), at(8, 100, 200), queue));
    }

    #[test]
    fn a_boot_that_ended_with_room_lost_nothing() {
        let status = |text| PoolStatus::parse(text).unwrap();
        let rw = status("7 10/1000 1/100 - rw error_if_no_space discard_passdown - 1024");
        let full =
            status("7 10/1000 1/100 - out_of_data_space error_if_no_space discard_passdown - 1024");
        assert!(had_room(at(4, 50, 100), at(0, 60, 100), &rw, LOW));
        assert!(!had_room(at(4, 95, 100), at(0, 60, 100), &rw, LOW));
        assert!(!had_room(at(4, 50, 100), at(0, 95, 100), &rw, LOW));
        assert!(!had_room(at(4, 50, 100), at(0, 60, 100), &full, LOW));
    }

    #[test]
    fn an_epoch_reads_back() {
        let moment = at(4, 50, 100);
        assert_eq!(Moment::parse(&moment.to_string()), Some(moment));
        assert_eq!(Moment::parse("4"), None);
    }
}
