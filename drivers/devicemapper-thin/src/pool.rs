//! The pool: whose it is, how it is, and what can be done about that.

use cowlab_driver::{Error, Result, Warning};
use cowlab_sys::device_mapper::{Commit, Target};

use crate::control::Control;
use crate::device::{self, Direct};
use crate::metadata;
use crate::status::{Filled, Mode, PoolStatus, PoolTable};

/// The kernel's name of the pool target.
const KIND: &str = "thin-pool";
/// From this share in use on, in percent, the pool is reported, whatever its own mark is.
const LOW_WATER: u64 = 80;
/// Metadata are counted in blocks of so many sectors.
const METADATA_SECTORS: u64 = 8;
/// The largest metadata device that the kernel uses, in sectors (`THIN_METADATA_MAX_SECTORS`).
const METADATA_MOST: u64 = 255 * ((1 << 14) - 64) * METADATA_SECTORS;
/// Of the thin devices of a foreign pool, the most that a message names.
const NAMED: usize = 3;

/// A pool by its name.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) control: Control,
    pub(crate) name: String,
}

impl Pool {
    /// An error about this pool. A pool on loop devices is labelled: it is for tests.
    pub(crate) fn trouble(&self, state: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::Pool {
            pool: self.name.clone(),
            state: format!("{}{}", self.label(), state.into()),
            remedy: remedy.into(),
        }
    }

    fn label(&self) -> &'static str {
        match self.table() {
            Ok(table) if device::is_loop(&table.data) => "(on loop devices, for tests only) ",
            _ => "",
        }
    }

    /// The pool's table.
    pub(crate) fn table(&self) -> Result<PoolTable> {
        let target = self.control.table(&self.name)?;
        let table = PoolTable::parse(target.length, &target.parameters);
        let table = table.filter(|_| target.kind == KIND);
        Ok(table
            .ok_or_else(|| cowlab_sys::Error::parse("the table of a pool", target.parameters))?)
    }

    /// The pool's status, its metadata committed.
    pub(crate) fn status(&self) -> Result<PoolStatus> {
        self.status_after(Commit::Before)
    }

    fn status_after(&self, commit: Commit) -> Result<PoolStatus> {
        let line = self.control.status(&self.name, commit)?;
        let status = PoolStatus::parse(&line);
        Ok(status.ok_or_else(|| cowlab_sys::Error::parse("the status of a pool", line))?)
    }

    /// Requires a thin pool of that name; `table` is how it was made the last time.
    pub(crate) fn require(&self, table: Option<&str>) -> Result<()> {
        let Some(info) = self.control.find(&self.name)? else {
            let remedy = match table {
                Some(table) => format!(
                    "activate it; it was `dmsetup create {} --table '{table}'` the last time, \
                     and device numbers may have changed since",
                    self.name
                ),
                None => format!(
                    "make it, `dmsetup create {} --table '0 SECTORS thin-pool METADATA DATA 128 0 1 \
                     error_if_no_space'`, or name another",
                    self.name
                ),
            };
            return Err(self.trouble("does not exist", remedy));
        };
        let kind = self.control.table(&self.name)?.kind;
        if !info.is_live || kind != KIND {
            let found = if info.is_live {
                kind.as_str()
            } else {
                "device without a table"
            };
            return Err(self.trouble(
                format!("is no thin pool: it is a `{found}`"),
                "name a device-mapper device with a `thin-pool` target",
            ));
        }
        Ok(())
    }

    /// Refuses a pool that is not new: it is somebody's. Nothing is written to find out.
    pub(crate) fn require_unused(&self) -> Result<()> {
        let foreign = |state: String| {
            let remedy = "nothing was written to it; give cowlab an empty pool of its own";
            Err(self.trouble(state, remedy))
        };
        let Some(info) = self.control.find(&self.name)? else {
            return self.require(None);
        };
        if info.uuid.starts_with("LVM-") {
            return foreign(format!("belongs to LVM: its UUID is `{}`", info.uuid));
        }
        if self.name.starts_with("docker-") {
            return foreign("has a name that docker gives its pools".to_owned());
        }
        if info.open_count > 0 {
            return foreign(format!("is in use: its open count is {}", info.open_count));
        }
        let status = self.status()?;
        self.require_health(&status)?;
        if status.transaction != 0 {
            return foreign(format!(
                "belongs to somebody else: its transaction id is {}",
                status.transaction
            ));
        }
        let ids = self.devices()?;
        if !ids.is_empty() {
            let mut names: Vec<_> = ids.iter().take(NAMED).map(ToString::to_string).collect();
            if ids.len() > NAMED {
                names.push(format!("and {} more", ids.len() - NAMED));
            }
            return foreign(format!("holds thin devices: {}", names.join(", ")));
        }
        if status.data.used > 0 {
            return foreign(format!("holds data: {} blocks", status.data.used));
        }
        Ok(())
    }

    /// Refuses a pool whose data device holds something that somebody may need. The pool would write over it.
    pub(crate) fn require_blank(&self, table: &PoolTable) -> Result<()> {
        let node = device::node(&table.data)?;
        let Some(found) = device::content(&node)? else {
            return Ok(());
        };
        Err(self.trouble(
            format!(
                "has a data device that holds something: `{}` has {found}",
                node.display()
            ),
            "nothing was written to it; if nobody needs that, set `overwrite-data-device` to `yes`, \
             else give the pool another device",
        ))
    }

    /// Refuses a pool whose metadata does not carry the mark of this store.
    pub(crate) fn require_mark(&self, mark: u64) -> Result<PoolStatus> {
        let status = self.status()?;
        if status.mode == Mode::Failed {
            self.require_health(&status)?;
        }
        self.require_mark_in(&status, mark)?;
        Ok(status)
    }

    fn require_mark_in(&self, status: &PoolStatus, mark: u64) -> Result<()> {
        if status.transaction == mark {
            return Ok(());
        }
        Err(self.trouble(
            format!(
                "is not this store's any more: its transaction id is {}, not {mark}",
                status.transaction
            ),
            "nothing was written to it; activate the pool that the store was made on, with the \
             metadata it had",
        ))
    }

    /// Marks a pool as this store's. Of two stores one gets it: the kernel compares before it sets.
    pub(crate) fn mark(&self, mark: u64) -> Result<()> {
        let message = format!("set_transaction_id 0 {mark}");
        self.control.message(&self.name, &message)
    }

    /// Refuses a pool that cannot be changed, after having it take the space that its devices were given meanwhile.
    pub(crate) fn require_space(&self, mark: u64) -> Result<PoolStatus> {
        let mut status = self.require_mark(mark)?;
        let is_full = status.mode != Mode::ReadWrite || status.data.free() == 0;
        if (is_full || status.data.percent() >= LOW_WATER || status.metadata.percent() >= LOW_WATER)
            && self.grow(&status)?
        {
            status = self.require_mark(mark)?;
        }
        self.require_health(&status)?;
        if status.data.free() == 0 {
            return Err(self.full(&status));
        }
        Ok(status)
    }

    /// How the pool is, without a write: what is about to run out.
    pub(crate) fn health(&self, mark: u64) -> Result<Vec<Warning>> {
        let status = self.status_after(Commit::No)?;
        self.require_health(&status)?;
        self.require_mark_in(&status, mark)?;
        if status.data.free() == 0 {
            return Err(self.full(&status));
        }
        let low_water = self.table()?.low_water;
        let mut warnings = Vec::new();
        for (what, filled, mark) in [
            ("data", status.data, low_water),
            ("metadata", status.metadata, 0),
        ] {
            let Filled { used, total } = filled;
            if filled.percent() >= LOW_WATER || filled.free() <= mark {
                warnings.push(Warning {
                    pool: self.name.clone(),
                    state: format!(
                        "{}has little {what} space left: {used} of {total} blocks are used",
                        self.label()
                    ),
                    remedy: format!("make its {what} device larger, or remove snapshots"),
                });
            }
        }
        Ok(warnings)
    }

    /// Refuses a pool in which not everything works.
    pub(crate) fn require_health(&self, status: &PoolStatus) -> Result<()> {
        let Filled { used, total } = status.metadata;
        let metadata = self
            .table()
            .and_then(|table| device::node(&table.metadata))
            .map_or_else(|_| "METADATA".to_owned(), |path| path.display().to_string());
        match status.mode {
            Mode::Failed => Err(self.trouble(
                "has failed: its metadata cannot be read or written",
                format!(
                    "see what the kernel log says of its devices; deactivate the pool, repair the \
                     metadata with `thin_repair -i {metadata} -o OTHER` and activate it again"
                ),
            )),
            _ if status.needs_check => Err(self.trouble(
                "takes no changes: its metadata needs a check",
                format!(
                    "deactivate the pool, `thin_check --clear-needs-check-flag {metadata}` (or \
                     thin_repair), grow the metadata device if it is full ({used} of {total} \
                     blocks), and activate the pool again"
                ),
            )),
            Mode::ReadOnly => Err(self.trouble(
                format!("has no metadata space left: {used} of {total} blocks of 4 KiB are used"),
                format!(
                    "make its metadata device `{metadata}` larger and try again: the pool takes \
                     the new size by itself"
                ),
            )),
            Mode::OutOfDataSpace => Err(self.full(status)),
            Mode::ReadWrite => Ok(()),
        }
    }

    fn full(&self, status: &PoolStatus) -> Error {
        let table = self.table().ok();
        let data = table
            .as_ref()
            .and_then(|table| device::node(&table.data).ok());
        let data = data.map_or_else(|| "DATA".to_owned(), |path| path.display().to_string());
        let block = table.map_or(0, |table| table.block_bytes() >> 10);
        let Filled { used, total } = status.data;
        self.trouble(
            format!("has no data space left: {used} of {total} blocks of {block} KiB are used"),
            format!(
                "remove snapshots, or make its data device `{data}` larger and try again: the \
                 pool takes the new size by itself"
            ),
        )
    }

    /// Has the pool take the size of its devices. True where there was more.
    pub(crate) fn grow(&self, status: &PoolStatus) -> Result<bool> {
        let mut table = self.table()?;
        let whole = device::sectors(&table.data)? / table.block * table.block;
        let metadata = device::sectors(&table.metadata)?.min(METADATA_MOST) / METADATA_SECTORS;
        // The kernel keeps a block or so of the metadata device for itself.
        if whole <= table.length && metadata <= status.metadata.total + METADATA_SECTORS {
            return Ok(false);
        }
        table.length = whole.max(table.length);
        self.load(&table)?;
        tracing::info!(pool = self.name, "took the new size of its devices");
        Ok(true)
    }

    /// Has writes to a full pool wait, or fail at once.
    pub(crate) fn set_queues_if_full(&self, queues: bool) -> Result<()> {
        let mut table = self.table()?;
        if table.queues_if_full() == queues {
            return Ok(());
        }
        table.set_queues_if_full(queues);
        self.load(&table)
    }

    fn load(&self, table: &PoolTable) -> Result<()> {
        let target = Target {
            length: table.length,
            kind: KIND.to_owned(),
            parameters: table.parameters(),
        };
        self.control.reload(&self.name, &target)
    }

    /// The thin devices of the pool, as of the last commit.
    pub(crate) fn devices(&self) -> Result<Vec<u64>> {
        Ok(metadata::devices(&Direct::open(&self.table()?.metadata)?)?)
    }

    /// What a thin device has mapped, in bytes; `None` where there is no such device.
    pub(crate) fn mapped(&self, device: u64) -> Result<Option<metadata::Mapped>> {
        // It commits what is mapped by now.
        self.status()?;
        let table = self.table()?;
        let found = metadata::mapped(&Direct::open(&table.metadata)?, device)?;
        let bytes = table.block_bytes();
        Ok(found.map(|found| metadata::Mapped {
            exclusive: found.exclusive * bytes,
            shared: found.shared * bytes,
        }))
    }
}
