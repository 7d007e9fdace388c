//! The initrd of one run: the image's, with the init script, the settings and the payload appended. The kernel unpacks
//! one archive behind the other (buffer-format.rst).

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cowlab_sys::{file, io};

use crate::cpio::Archive;
use crate::{Error, Machine, Result, script};

const INIT: &str = include_str!("../../init/init");
const START: &str = include_str!("../../init/start");

/// How the command's streams leave the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// At once.
    Streamed,
    /// When it has ended, so that the host does not disturb the counted clock.
    Counted,
    /// Both ways, on a terminal.
    Terminal,
}

impl Mode {
    /// The name in the init script.
    fn name(self) -> &'static str {
        match self {
            Self::Streamed => "streamed",
            Self::Counted => "counted",
            Self::Terminal => "terminal",
        }
    }
}

/// Writes it to a file in memory.
pub(crate) fn write(machine: &Machine, mode: Mode, scratch: bool, mark: &str) -> Result<File> {
    let path = machine.image.initrd();
    let mut base = io("open", &path, File::open(&path))?;
    let mut target = file::in_memory("cowlab-guest-initrd")?;
    let length = io("read", &path, std::io::copy(&mut base, &mut target))?;
    // Each archive starts at a multiple of four; zeros between them are skipped.
    let start = length.next_multiple_of(512);
    io("seek", "", target.seek(SeekFrom::Start(start)))?;
    let mut archive = Archive::new(std::io::BufWriter::new(target));
    let scratch = if scratch { "yes" } else { "" };
    let settings = [("mark", mark), ("mode", mode.name()), ("scratch", scratch)];
    let texts: [(&str, &[u8]); 4] = [
        ("/init", INIT.as_bytes()),
        ("/payload/.cowlab/start", START.as_bytes()),
        (
            "/payload/.cowlab/settings",
            &script::settings(&settings, &machine.results),
        ),
        (
            "/payload/.cowlab/command",
            &script::command(&machine.command, &machine.env)?,
        ),
    ];
    for (name, text) in texts {
        let added = archive.file(Path::new(name), 0o755, length_of(text), &mut { text });
        io("write", name, added)?;
    }
    for (source, guest) in &machine.payload {
        let guest = Path::new("/payload").join(guest.strip_prefix("/").unwrap_or(guest));
        add(&mut archive, source, &guest).map_err(|error| Error::Payload {
            path: source.clone(),
            error,
        })?;
    }
    let written = io("write", "the initrd", archive.finish())?;
    let file = written
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error);
    Ok(io("write", "the initrd", file)?)
}

/// Adds a file, a symbolic link or a whole directory, in the order of names.
fn add(archive: &mut Archive<impl Write>, source: &Path, guest: &Path) -> std::io::Result<()> {
    // What the user named is followed, what is found in a directory is not.
    add_found(archive, source, guest, &std::fs::metadata(source)?)
}

fn add_found(
    archive: &mut Archive<impl Write>,
    source: &Path,
    guest: &Path,
    found: &std::fs::Metadata,
) -> std::io::Result<()> {
    let mode = found.permissions().mode();
    if found.is_symlink() {
        return archive.link(guest, &std::fs::read_link(source)?);
    }
    if found.is_dir() {
        archive.directory(guest, mode)?;
        let entries: std::io::Result<Vec<PathBuf>> = std::fs::read_dir(source)?
            .map(|entry| Ok(entry?.path()))
            .collect();
        let mut entries = entries?;
        entries.sort();
        for entry in entries {
            let name = entry.file_name().unwrap_or_default();
            let found = std::fs::symlink_metadata(&entry)?;
            add_found(archive, &entry, &guest.join(name), &found)?;
        }
        return Ok(());
    }
    if !found.is_file() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            format!("`{}` is neither a file nor a directory", source.display()),
        ));
    }
    archive.file(guest, mode, found.len(), &mut File::open(source)?)
}

fn length_of(text: &[u8]) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}
