//! An ordinary user for a case, whom nobody else on the host ever sees: the tables that name it are mounted over the
//! host's in a mount namespace of each of its commands.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use cowlab_sys::cmd::Cmd;
use cowlab_sys::io;

use crate::context::Result;

/// The user's and the group's name and number; no distribution gives it to anybody.
const NAME: &str = "cowlab-case";
pub(super) const ID: u32 = 64_123;

/// The first of the user's subordinate ids.
const SUBORDINATE: u32 = 1_879_048_192;

/// Where the user's place is in the namespaces: the way to it outside is closed to all but root.
const PLACE: &str = "/mnt";

/// Mounts the place, the program and the tables, and becomes the user. `$1` is the place, `$2` the program.
const BECOME: &str = r#"set -e
mount --bind "$1" /mnt
mount --bind "$2" /mnt/program
for table in passwd group subuid subgid; do mount --bind /mnt/etc/$table /etc/$table; done
id=$3
shift 3
cd /
exec setpriv --reuid=$id --regid=$id --clear-groups env HOME=/mnt/home "$@""#;

/// The user.
#[derive(Debug)]
pub(super) struct Person {
    place: PathBuf,
}

/// The user's home, as its commands see it.
pub(super) fn home() -> PathBuf {
    Path::new(PLACE).join("home")
}

impl Person {
    /// Makes the user's place at `place`.
    pub(super) fn make(place: &Path) -> Result<Self> {
        let (home, etc) = (place.join("home"), place.join("etc"));
        for dir in [place, &home, &etc] {
            io("mkdir", dir, fs::create_dir(dir))?;
            io(
                "chmod",
                dir,
                fs::set_permissions(dir, fs::Permissions::from_mode(0o755)),
            )?;
        }
        io("chown", &home, chown(&home, Some(ID), Some(ID)))?;
        let program = place.join("program");
        io("write", &program, fs::write(&program, ""))?;
        let own = |line: String| (line, true);
        let range = format!("{NAME}:{SUBORDINATE}:65536");
        for (table, (line, add)) in [
            (
                "passwd",
                own(format!("{NAME}:x:{ID}:{ID}::{PLACE}/home:/bin/sh")),
            ),
            ("group", own(format!("{NAME}:x:{ID}:"))),
            ("subuid", (range.clone(), false)),
            ("subgid", (range, false)),
        ] {
            let host = Path::new("/etc").join(table);
            let mut text = match add {
                true => io("read", &host, fs::read_to_string(&host))?,
                false => String::new(),
            };
            text.push_str(&line);
            text.push('\n');
            let path = etc.join(table);
            io("write", &path, fs::write(&path, text))?;
            let readable = fs::Permissions::from_mode(0o644);
            io("chmod", &path, fs::set_permissions(&path, readable))?;
        }
        Ok(Self {
            place: place.to_owned(),
        })
    }

    /// The program, by way of another one, as the user.
    pub(super) fn command(&self, program: &Path, by: &[&str]) -> Cmd {
        Cmd::new("unshare")
            .args(["--mount", "sh", "-c", BECOME, "sh"])
            .arg(&self.place)
            .arg(program)
            .arg(ID.to_string())
            .args(by)
            .arg(Path::new(PLACE).join("program"))
    }
}
