//! Files in use: mappings that are written, transfers inside the kernel and past the page cache, watches, leases, sockets, programs
//! that run.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use cowlab_sys::Cmd;
use cowlab_sys::at::{self, OFlags};
use cowlab_sys::file::Mapping;
use rustix::fs::inotify;

use crate::prelude::*;
use crate::tree::Result;

/// What O_DIRECT asks of addresses, offsets and lengths, for every device there is (open(2)).
const ALIGNMENT: usize = 4096;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "descriptor/reader-sees-a-change-in-place",
        spec: "A descriptor that has read a file of the parent sees what takes the place of the same bytes later.",
        see: &[
            "overlayfs.rst, Non-standard behavior",
            "moby/moby issue 13511",
        ],
        catalogue: &["I01"],
        impact: Impact::AppVisible,
        layers: &[&[write("/f", "old!")]],
        steps: &[
            open("reader", "/f", Flags::READ),
            read_descriptor("reader").gives("old!"),
            write_at("/f", 0, "new!").succeeds(),
            read_descriptor("reader").gives("new!"),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/shared-mapping-writes-the-file",
        spec: "What is written into a shared mapping of a file of the parent is read from the file and stays after the commit.",
        see: &["mmap(2), MAP_SHARED", "xfstests generic/246"],
        catalogue: &["I03"],
        impact: Impact::DataLoss,
        layers: &[
            &[write("/f", "0123456789")],
            &[call(
                "/f",
                "write through a mapping",
                write_through_a_mapping,
            )],
        ],
        steps: &[
            reads("/f", "new3456789"),
            call("/f", "write through a mapping", write_through_a_mapping).succeeds(),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/watch-sees-a-later-write",
        spec: "A watch on a file of the parent tells of a write through a later open.",
        see: &["inotify(7)", "moby/moby issue 11705"],
        catalogue: &["I05"],
        impact: Impact::AppVisible,
        layers: &[&[write("/f", "text")]],
        steps: &[call("/f", "events of a write", events_of_a_write).gives("modify close-write")],
        ..Case::BASE
    },
    Case {
        id: "descriptor/watch-on-a-directory-sees-names",
        spec: "A watch on a directory of the parent tells of names made, renamed and removed in it.",
        see: &["inotify(7)"],
        catalogue: &["I05"],
        impact: Impact::AppVisible,
        layers: &[&[dir("/d", 0o755), write("/d/old", "text")]],
        steps: &[call("/d", "events of names", events_of_names)
            .gives("create new; moved-from old; moved-to moved; delete new")],
        ..Case::BASE
    },
    Case {
        id: "descriptor/program-that-runs-is-busy",
        spec: "A program of the parent that runs is not opened for writing, and is once it has ended.",
        see: &["execve(2), ETXTBSY", "open(2), ETXTBSY"],
        catalogue: &["I07"],
        impact: Impact::DataLoss,
        layers: &[&[call("/sleep", "copy a program", copy_sleep)]],
        steps: &[
            call("/sleep", "write to it while it runs", write_to_what_runs)
                .gives("ETXTBSY, then ok"),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/flush-of-data-alone-and-of-the-file-system",
        spec: "The calls fdatasync and syncfs work on files of the parent, on changed files and on directories.",
        see: &["fdatasync(2)", "syncfs(2)"],
        catalogue: &["I08"],
        impact: Impact::DataLoss,
        layers: &[&[write("/f", "text"), dir("/d", 0o755)]],
        steps: &[
            call("/f", "flush", flush_every_way).succeeds(),
            append("/f", "more"),
            call("/f", "flush", flush_every_way).succeeds(),
            call("/d", "flush", flush_every_way).succeeds(),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/direct-io-reads-and-writes",
        spec: "Blocks of a file of the parent are read and written past the page cache, before and after it was changed.",
        see: &["open(2), O_DIRECT"],
        catalogue: &["I10"],
        impact: Impact::DataLoss,
        needs: &[Need::DirectIo],
        layers: &[&[write_sized("/f", 65_536, 24)]],
        steps: &[
            call("/f", "read a block", read_directly).succeeds(),
            call("/f", "write a block", write_directly).succeeds(),
            call("/f", "read a block", read_directly).gives("4096 bytes of 119"),
            read("/f"),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/socket-of-a-directory-of-the-parent-answers",
        spec: "A socket bound in a directory of the parent is connected to by its name, and its mode can be changed.",
        see: &["unix(7)", "moby/moby issue 12080"],
        catalogue: &["I13"],
        impact: Impact::AppVisible,
        layers: &[&[dir("/d", 0o755)]],
        steps: &[
            call("/d/socket", "bind, connect and talk", talk_by_a_socket).gives("heard"),
            is_a("/d/socket", Kind::Socket),
            chmod("/d/socket", 0o600).succeeds(),
            stat("/d/socket", Field::Mode).gives("0600"),
        ],
        ..Case::BASE
    },
    Case {
        id: "descriptor/sendfile-and-splice-across-a-copy-up",
        spec: "The calls sendfile and splice give, from a file of the parent, its content, also when it is changed in between.",
        see: &["sendfile(2)", "splice(2)"],
        catalogue: &["I15"],
        impact: Impact::DataLoss,
        layers: &[&[write("/f", "0123456789")]],
        steps: &[
            call("/f", "send, change and splice", send_and_splice).succeeds(),
            reads("/f", "01234EFGHI"),
            reads("/sent", "01234"),
        ],
        ..Case::BASE
    },
];

fn write_through_a_mapping(tree: &Tree) -> Result<String> {
    let file = tree.open_file("/f", OFlags::RDWR, 0)?;
    Mapping::writable(&file, 3)?.write(b"new")?;
    tree.read("/f")
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// A descriptor of inotify(7) that watches a file.
fn watch(tree: &Tree, path: &str, events: inotify::WatchFlags) -> Result<OwnedFd> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let watcher = inotify::init(flags)?;
    let watched = tree.open_file(path, OFlags::RDONLY, 0)?;
    inotify::add_watch(&watcher, at::descriptor_path(&watched), events)?;
    Ok(watcher)
}

/// What a watch has seen so far: the name of each kind of event, with the name that it is about.
fn seen(watcher: &OwnedFd, kinds: &[(inotify::ReadFlags, &str)]) -> Vec<String> {
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(watcher, &mut buffer);
    let mut all: Vec<String> = Vec::new();
    // It ends with EAGAIN: the events of a call are there when the call returns.
    while let Ok(event) = reader.next() {
        for (flag, name) in kinds {
            if event.events().contains(*flag) {
                let about = event
                    .file_name()
                    .map(|name| format!(" {}", name.to_string_lossy()));
                all.push(format!("{name}{}", about.unwrap_or_default()));
            }
        }
    }
    all.dedup();
    all
}

fn events_of_a_write(tree: &Tree) -> Result<String> {
    let kinds = [
        (inotify::ReadFlags::MODIFY, "modify"),
        (inotify::ReadFlags::CLOSE_WRITE, "close-write"),
    ];
    let events = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CLOSE_WRITE;
    let watcher = watch(tree, "/f", events)?;
    let mut file = tree.open_file("/f", OFlags::WRONLY, 0)?;
    file.write_all(b"more")?;
    drop(file);
    Ok(seen(&watcher, &kinds).join(" "))
}

fn events_of_names(tree: &Tree) -> Result<String> {
    let kinds = [
        (inotify::ReadFlags::CREATE, "create"),
        (inotify::ReadFlags::MOVED_FROM, "moved-from"),
        (inotify::ReadFlags::MOVED_TO, "moved-to"),
        (inotify::ReadFlags::DELETE, "delete"),
    ];
    let events =
        inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVE | inotify::WatchFlags::DELETE;
    let watcher = watch(tree, "/d", events)?;
    tree.write("/d/new", b"")?;
    tree.rename("/d/old", "/d/moved", at::RenameFlags::empty())?;
    tree.unlink("/d/new")?;
    Ok(seen(&watcher, &kinds).join("; "))
}

/// Copies a program of this machine into the tree, executable.
fn copy_sleep(tree: &Tree) -> Result<String> {
    let found = Cmd::find("sleep").ok_or(ENOENT)?;
    tree.write("/sleep", &std::fs::read(found)?)?;
    tree.chmod("/sleep", 0o755)?;
    Ok(String::new())
}

fn write_to_what_runs(tree: &Tree) -> Result<String> {
    let path = tree.path().join("sleep");
    let mut running = Cmd::new(path).arg("1000").spawn()?;
    let open = || tree.open_file("/sleep", OFlags::WRONLY, 0);
    let shown =
        |opened: Result<File>| opened.map_or_else(|code| code.to_string(), |_| "ok".to_owned());
    let meanwhile = shown(open());
    running.kill()?;
    running.wait()?;
    Ok(format!("{meanwhile}, then {}", shown(open())))
}

fn flush_every_way(tree: &Tree) -> Result<String> {
    for path in ["/f", "/d"] {
        let opened = tree.open_file(path, OFlags::RDONLY, 0)?;
        rustix::fs::fdatasync(&opened)?;
        rustix::fs::syncfs(&opened)?;
    }
    Ok(String::new())
}

/// Calls with a part of a buffer that O_DIRECT takes.
fn aligned<T>(call: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = vec![0; 2 * ALIGNMENT];
    let start = buffer.as_ptr().align_offset(ALIGNMENT);
    call(&mut buffer[start..start + ALIGNMENT])
}

fn read_directly(tree: &Tree) -> Result<String> {
    let file = tree.open_file("/f", OFlags::RDONLY | OFlags::DIRECT, 0)?;
    aligned(|block| {
        let count = rustix::io::pread(&file, &mut *block, ALIGNMENT as u64)?;
        let first = block[0];
        if block.iter().all(|byte| *byte == first) {
            return Ok(format!("{count} bytes of {first}"));
        }
        Ok(format!("{count} bytes, {:?} first", &block[..4]))
    })
}

fn write_directly(tree: &Tree) -> Result<String> {
    let file = tree.open_file("/f", OFlags::WRONLY | OFlags::DIRECT, 0)?;
    aligned(|block| {
        block.fill(b'w');
        let count = rustix::io::pwrite(&file, block, ALIGNMENT as u64)?;
        Ok(format!("{count} bytes"))
    })
}

fn talk_by_a_socket(tree: &Tree) -> Result<String> {
    // A path of a socket has 108 bytes at most.
    let (parent, name) = tree.parent("/d/socket")?;
    let path = at::descriptor_path(parent.as_fd()).join(name);
    let listener = UnixListener::bind(&path)?;
    let mut caller = UnixStream::connect(&path)?;
    let (mut called, _) = listener.accept()?;
    caller.write_all(b"heard")?;
    drop(caller);
    let mut heard = String::new();
    called.read_to_string(&mut heard)?;
    Ok(heard)
}

fn send_and_splice(tree: &Tree) -> Result<String> {
    let mut source = tree.open_file("/f", OFlags::RDONLY, 0)?;
    let target = tree.open_file("/sent", OFlags::WRONLY | OFlags::CREATE, 0o644)?;
    let sent = rustix::fs::sendfile(&target, &source, None, 5)?;
    let mut writer = tree.open_file("/f", OFlags::WRONLY, 0)?;
    writer.seek(SeekFrom::Start(5))?;
    writer.write_all(b"EFGHI")?;
    let (mut reading, writing) = std::io::pipe()?;
    let flags = rustix::pipe::SpliceFlags::empty();
    source.seek(SeekFrom::Start(5))?;
    let spliced = rustix::pipe::splice(&source, None, &writing, None, 5, flags)?;
    drop(writing);
    let mut content = String::new();
    reading.read_to_string(&mut content)?;
    Ok(format!("{sent} bytes sent, {spliced} spliced: {content}"))
}
