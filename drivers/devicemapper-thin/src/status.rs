//! The lines in which the kernel describes a pool (Documentation/admin-guide/device-mapper/thin-provisioning.rst,
//! "thin-pool", reference: constructor and status).

/// How a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Everything works.
    ReadWrite,
    /// No data block is left; reading and deleting work.
    OutOfDataSpace,
    /// Its metadata cannot be changed: they are full, or were found damaged.
    ReadOnly,
    /// Nothing works.
    Failed,
}

/// Used and all of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Filled {
    pub(crate) used: u64,
    pub(crate) total: u64,
}

impl Filled {
    pub(crate) const fn free(self) -> u64 {
        self.total.saturating_sub(self.used)
    }

    /// The share in use, in percent, rounded down.
    pub(crate) const fn percent(self) -> u64 {
        if self.total == 0 {
            return 100;
        }
        self.used.saturating_mul(100) / self.total
    }
}

/// The status line of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PoolStatus {
    pub(crate) mode: Mode,
    pub(crate) transaction: u64,
    /// In blocks of 4096 bytes.
    pub(crate) metadata: Filled,
    /// In blocks of the pool.
    pub(crate) data: Filled,
    pub(crate) passes_discards_down: bool,
    pub(crate) queues_if_full: bool,
    pub(crate) needs_check: bool,
}

impl PoolStatus {
    /// Reads the line; `None` where it has another form.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        if words.first() == Some(&"Fail") {
            let none = Filled { used: 0, total: 0 };
            return Some(Self {
                mode: Mode::Failed,
                transaction: 0,
                metadata: none,
                data: none,
                passes_discards_down: false,
                queues_if_full: false,
                needs_check: false,
            });
        }
        let filled = |word: &str| {
            let (used, total) = word.split_once('/')?;
            Some(Filled {
                used: used.parse().ok()?,
                total: total.parse().ok()?,
            })
        };
        let mode = match *words.get(4)? {
            "rw" => Mode::ReadWrite,
            "out_of_data_space" => Mode::OutOfDataSpace,
            "ro" => Mode::ReadOnly,
            _ => return None,
        };
        Some(Self {
            mode,
            transaction: words.first()?.parse().ok()?,
            metadata: filled(words.get(1)?)?,
            data: filled(words.get(2)?)?,
            passes_discards_down: words.contains(&"discard_passdown"),
            queues_if_full: words.contains(&"queue_if_no_space"),
            needs_check: words.contains(&"needs_check"),
        })
    }
}

/// The table line of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PoolTable {
    /// In sectors.
    pub(crate) length: u64,
    /// `major:minor`.
    pub(crate) metadata: String,
    /// `major:minor`.
    pub(crate) data: String,
    /// In sectors.
    pub(crate) block: u64,
    /// In blocks of the pool.
    pub(crate) low_water: u64,
    pub(crate) features: Vec<String>,
}

/// What a full pool does with writes, as a feature argument: without it they wait.
const ERROR_IF_FULL: &str = "error_if_no_space";

impl PoolTable {
    /// Reads the parameters of a table line of `length` sectors; `None` where they have another form.
    pub(crate) fn parse(length: u64, parameters: &str) -> Option<Self> {
        let words: Vec<_> = parameters.split_ascii_whitespace().collect();
        let count: usize = words.get(4).map_or(Some(0), |word| word.parse().ok())?;
        let features = words.get(5..).unwrap_or_default();
        Some(Self {
            length,
            metadata: (*words.first()?).to_owned(),
            data: (*words.get(1)?).to_owned(),
            block: words.get(2)?.parse().ok()?,
            low_water: words.get(3)?.parse().ok()?,
            features: features
                .get(..count)?
                .iter()
                .map(|word| (*word).to_owned())
                .collect(),
        })
    }

    /// Writes the parameters.
    pub(crate) fn parameters(&self) -> String {
        let Self {
            metadata,
            data,
            block,
            low_water,
            features,
            ..
        } = self;
        let mut line = format!("{metadata} {data} {block} {low_water} {}", features.len());
        for feature in features {
            line.push(' ');
            line.push_str(feature);
        }
        line
    }

    /// Whether writes to a full pool wait for it to grow.
    pub(crate) fn queues_if_full(&self) -> bool {
        !self.features.iter().any(|feature| feature == ERROR_IF_FULL)
    }

    /// Has writes to a full pool wait for it to grow, or fail at once.
    pub(crate) fn set_queues_if_full(&mut self, queues: bool) {
        self.features.retain(|feature| feature != ERROR_IF_FULL);
        if !queues {
            self.features.push(ERROR_IF_FULL.to_owned());
        }
    }

    /// The size of a block in bytes.
    pub(crate) const fn block_bytes(&self) -> u64 {
        self.block * 512
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_mode() {
        let line = "7 141/1024 512/16384 - rw discard_passdown error_if_no_space - 1024 ";
        let status = PoolStatus::parse(line).unwrap();
        assert_eq!(status.mode, Mode::ReadWrite);
        assert_eq!(status.transaction, 7);
        assert_eq!(status.metadata.free(), 883);
        assert_eq!((status.data.used, status.data.total), (512, 16384));
        assert_eq!(status.data.percent(), 3);
        assert!(status.passes_discards_down && !status.queues_if_full && !status.needs_check);
        let full =
            "0 1/2 8/8 12 out_of_data_space no_discard_passdown queue_if_no_space needs_check";
        let full = PoolStatus::parse(full).unwrap();
        assert_eq!(full.mode, Mode::OutOfDataSpace);
        assert!(!full.passes_discards_down && full.queues_if_full && full.needs_check);
        assert_eq!(PoolStatus::parse("Fail").unwrap().mode, Mode::Failed);
        for bad in ["", "x", "1 2 3 4 rw", "1 1/1 1/1 - odd"] {
            assert_eq!(PoolStatus::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_table_reads_back() {
        for line in [
            "7:1 7:0 128 0 0",
            "7:1 7:0 128 64 2 skip_block_zeroing error_if_no_space",
        ] {
            assert_eq!(PoolTable::parse(8, line).unwrap().parameters(), line);
        }
        let mut table = PoolTable::parse(8, "7:1 7:0 128 0").unwrap();
        assert!(table.queues_if_full() && table.block_bytes() == 65536);
        table.set_queues_if_full(false);
        assert_eq!(table.parameters(), "7:1 7:0 128 0 1 error_if_no_space");
        table.set_queues_if_full(true);
        assert!(table.queues_if_full());
        assert_eq!(PoolTable::parse(8, "7:1 7:0 128 0 3 one"), None);
    }
}
