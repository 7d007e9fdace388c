//! Data sets: libzfs_core makes, clones, snapshots and destroys them, `zfs` and `zpool` read the rest.

use cowlab_driver::{Error, Result};
use cowlab_sys::{Cmd, Errno, Error as SysError, MountAttributes, MountSpec, zfs_library};
use nvpair::NvList;
use zfs_core::{DataSetType, Zfs};

use crate::TOOLS_REMEDY;

/// The longest name of a data set or snapshot, in bytes (sys/fs/zfs.h, `ZFS_MAX_DATASET_NAME_LEN` with its NUL).
const LONGEST_NAME: usize = 255;

/// How a data set, or a snapshot of one, is mounted.
pub(crate) fn mount_of(name: &str, read_only: bool) -> MountSpec {
    MountSpec {
        fstype: "zfs".to_owned(),
        source: Some(name.into()),
        attributes: MountAttributes {
            read_only,
            ..MountAttributes::default()
        },
        // Who mounts a data set while somebody else is at it gets `EBUSY`: a superblock that is being made is not found yet, and
        // the data set has one owner (OpenZFS, zpl_super.c, `zpl_test_super`; zfs_vfsops.c, `zfsvfs_create`).
        retry_busy: true,
        ..MountSpec::default()
    }
}

/// The data sets of a host.
#[derive(Debug)]
pub(crate) struct DataSets {
    zfs: Zfs,
}

impl DataSets {
    /// Opens `/dev/zfs`.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] without the module, or without the program `zfs`.
    pub(crate) fn open() -> Result<Self> {
        if Cmd::find("zfs").is_none() {
            return Err(Error::missing("the program `zfs`", TOOLS_REMEDY));
        }
        zfs_library::load().map_err(|reason| {
            Error::missing(format!("the library of ZFS ({reason})"), TOOLS_REMEDY)
        })?;
        let zfs = Zfs::new().map_err(|error| {
            Error::missing(
                format!("the ZFS kernel module (open `/dev/zfs`: {error})"),
                "install `zfs-dkms` (Debian: contrib) and run `modprobe zfs`",
            )
        })?;
        Ok(Self { zfs })
    }

    /// Whether there is a data set or snapshot of this name.
    pub(crate) fn exists(&self, name: &str) -> bool {
        self.zfs.exists(name)
    }

    /// Makes an empty file system, or one with the content of the snapshot `origin`.
    pub(crate) fn create(&self, name: &str, origin: Option<&str>) -> Result<()> {
        let mut properties = NvList::new();
        let (call, made) = match origin {
            None => (
                "zfs create",
                self.zfs.create(name, DataSetType::Zfs, &properties),
            ),
            Some(origin) => (
                "zfs clone",
                self.zfs.clone_dataset(name, origin, &mut properties),
            ),
        };
        done(call, name, made)
    }

    /// Does the same with a quota, in bytes: one call that makes both or nothing. The program does it, for a list of
    /// `nvpair` takes no numbers of 64 bits.
    pub(crate) fn create_limited(
        &self,
        name: &str,
        origin: Option<&str>,
        quota: u64,
    ) -> Result<()> {
        if self.exists(name) {
            return done("zfs create", name, Err(Errno::EXIST.into()));
        }
        let subcommand = if origin.is_some() { "clone" } else { "create" };
        let line = Cmd::new("zfs")
            .args([subcommand, "-o", &format!("quota={quota}")])
            .args(origin)
            .arg(name);
        line.run().map_err(|error| refused(name, error))
    }

    /// Makes a snapshot; `name` is `<data set>@<snapshot>`.
    pub(crate) fn snapshot(&self, name: &str) -> Result<()> {
        let made = self
            .zfs
            .snapshot([name])
            .map_err(|error| reason(&error, name));
        done("zfs snapshot", name, made)
    }

    /// Destroys a file system without snapshots, or a snapshot without clones. One that is not there is fine.
    pub(crate) fn destroy(&self, name: &str) -> Result<()> {
        match self.zfs.destroy(name) {
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => Ok(()),
            destroyed => done("zfs destroy", name, destroyed),
        }
    }

    /// Gives a data set another name.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        done("zfs rename", from, self.zfs.rename(from, to))
    }

    /// Waits until all that was written to the pool of a data set so far is on disk.
    pub(crate) fn sync(&self, name: &str) -> Result<()> {
        let pool = pool_of(name);
        done("zpool sync", pool, self.zfs.sync(pool, false))
    }

    /// The names of the data sets directly below `name`, without what comes before.
    pub(crate) fn children(&self, name: &str) -> Result<Vec<String>> {
        let list = zfs("list")
            .args(["-d", "1", "-t", "filesystem", "-o", "name"])
            .arg(name)
            .read()?;
        let below = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('/')?.to_owned());
        Ok(list.lines().filter_map(below).collect())
    }

    /// The snapshots of a data set and the data sets below it.
    pub(crate) fn dependents(&self, name: &str) -> Result<Vec<String>> {
        let list = zfs("list")
            .args(["-r", "-t", "all", "-o", "name"])
            .arg(name)
            .read()?;
        let others = list.lines().filter(|line| *line != name);
        Ok(others.map(str::to_owned).collect())
    }

    /// The values of properties, in their order; `-` where there is none.
    pub(crate) fn get<const N: usize>(&self, name: &str, wanted: [&str; N]) -> Result<[String; N]> {
        let text = zfs("get")
            .args(["-o", "value"])
            .arg(wanted.join(","))
            .arg(name)
            .read()?;
        let values: Vec<_> = text.lines().map(str::to_owned).collect();
        let values = <[String; N]>::try_from(values);
        Ok(values.map_err(|_found| SysError::parse("the output of `zfs get`", text))?)
    }
}

/// A subcommand of `zfs` whose output is for programs: no headings, tabs, exact numbers.
fn zfs(subcommand: &str) -> Cmd {
    Cmd::new("zfs").arg(subcommand).arg("-Hp")
}

/// Tells what the program says of a full pool (libzfs_util.c, `zfs_standard_error_fmt`).
pub(crate) fn refused(name: &str, error: SysError) -> Error {
    match &error {
        SysError::Command { stderr, .. } if stderr.contains("out of space") => full(name),
        _ => error.into(),
    }
}

/// The pool that a data set is in.
pub(crate) fn pool_of(name: &str) -> &str {
    name.split(['/', '@']).next().unwrap_or(name)
}

/// Refuses a name that is too long, with room for what is added below it.
///
/// # Errors
///
/// [`Error::Limit`].
pub(crate) fn check_length(name: &str, longest_below: &str) -> Result<()> {
    let length = name.len() + longest_below.len();
    if length <= LONGEST_NAME {
        return Ok(());
    }
    Err(Error::Limit {
        what: "the name of the longest data set",
        value: length,
        limit: LONGEST_NAME,
        because: "zfs(8) takes no more (ZFS_MAX_DATASET_NAME_LEN); put the store on a data set with a shorter name",
    })
}

/// The reason why a snapshot was not made: that of the call, or of the one snapshot in its list.
fn reason(error: &zfs_core::Error, name: &str) -> std::io::Error {
    match error {
        zfs_core::Error::Io { source } => std::io::Error::from_raw_os_error(
            source.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
        ),
        zfs_core::Error::List { source } => {
            let own = source
                .iter()
                .find(|(entry, _)| entry.to_bytes() == name.as_bytes());
            own.map_or_else(|| Errno::IO.into(), |(_, reason)| reason)
        }
    }
}

/// Names what libzfs_core failed at.
fn done(call: &'static str, name: &str, result: std::io::Result<()>) -> Result<()> {
    let Err(error) = result else {
        tracing::debug!(call, name, "done");
        return Ok(());
    };
    let source = Errno::from_io_error(&error).unwrap_or(Errno::IO);
    tracing::debug!(call, name, %error, "refused");
    Err(match source {
        Errno::NOSPC => full(name),
        Errno::DQUOT => Error::Pool {
            pool: pool_of(name).to_owned(),
            state: format!("has no quota left above `{name}`"),
            remedy: "raise the quota with `zfs set quota=SIZE DATASET`, or remove snapshots"
                .to_owned(),
        },
        _ => Error::Sys(SysError::Sys {
            call,
            path: name.into(),
            source,
        }),
    })
}

/// Says that the pool of a data set is full, and what to do.
pub(crate) fn full(name: &str) -> Error {
    let pool = pool_of(name);
    Error::Pool {
        pool: pool.to_owned(),
        state: "is full".to_owned(),
        remedy: format!(
            "remove snapshots or other data, add a device with `zpool add {pool} DEVICE`, or enlarge one and run \
             `zpool online -e {pool} DEVICE`"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_begins_with_its_pool() {
        assert_eq!(pool_of("tank"), "tank");
        assert_eq!(pool_of("tank/a/b@c"), "tank");
        assert_eq!(pool_of("tank@c"), "tank");
    }

    #[test]
    fn an_error_names_the_pool_and_what_to_do() {
        let failed = done("zfs snapshot", "tank/a@b", Err(Errno::NOSPC.into()));
        let text = failed.unwrap_err().to_string();
        assert!(
            text.contains("`tank` is full") && text.contains("zpool add tank"),
            "{text}"
        );
        let failed = done("zfs destroy", "tank/a", Err(Errno::BUSY.into()));
        let text = failed.unwrap_err().to_string();
        assert!(text.contains("zfs destroy `tank/a`"), "{text}");
    }

    #[test]
    fn long_names_are_refused() {
        assert!(check_length("tank/data", "/cowlab-0123abcd").is_ok());
        assert!(matches!(
            check_length(&"x".repeat(250), "/cowlab-0123abcd"),
            Err(Error::Limit { value: 266, .. })
        ));
    }
}
