//! Files in use: mappings that are written, transfers inside the kernel and past the page cache, watches, leases, sockets, programs
//! that run.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cowlab_sys::at::{self, OFlags};
use cowlab_sys::file::Mapping;
use rustix::fs::inotify;

use crate::prelude::*;
use crate::tree::Result;

/// What O_DIRECT asks of addresses, offsets and lengths, for every device there is (open(2)).
const ALIGNMENT: usize = 4096;

pub(super) const CASES: &[Case] = &[
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
        spec: "fdatasync and syncfs work on files of the parent, on changed files and on directories.",
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
        spec: "sendfile and splice from a file of the parent give its content, also when it is changed in between.",
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
    Case {
        id: "rename/readers-see-one-file-or-the-other",
        spec: "A name that a new file is renamed to again and again is there at every moment.",
        see: &["rename(2)"],
        catalogue: &["F10"],
        impact: Impact::DataLoss,
        layers: &[&[write("/f", "0")]],
        steps: &[call("/f", "rename under readers", rename_under_readers).gives("always there")],
        ..Case::BASE
    },
    Case {
        id: "permission/devices-can-be-opened-and-setuid-counts",
        spec: "A device file of the parent opens for who may, and a setuid program of the parent runs as its owner.",
        see: &["mount(8), nodev and nosuid", "execve(2)"],
        catalogue: &["J06"],
        impact: Impact::AppVisible,
        layers: &[&[
            char_device("/null", 0o666, 1, 3),
            call("/id", "copy a program", copy_id),
        ]],
        steps: &[
            call("/null", "open", |tree| {
                tree.open_file("/null", OFlags::RDWR, 0)
                    .map(|_| "opens".to_owned())
            })
            .gives("opens"),
            call("/null", "open", |tree| {
                tree.open_file("/null", OFlags::RDWR, 0)
                    .map(|_| "opens".to_owned())
            })
            .by(1000)
            .gives("opens"),
            call("/id", "run", run_id).by(1000),
        ],
        ..Case::BASE
    },
    Case {
        id: "xattr/create-and-replace-flags",
        spec: "XATTR_CREATE refuses an attribute of the parent, XATTR_REPLACE one that is not there.",
        see: &["setxattr(2)"],
        catalogue: &["K06"],
        impact: Impact::AppVisible,
        layers: &[&[write("/f", "text"), set_xattr("/f", "user.old", b"1")]],
        steps: &[
            call("/f", "create an old attribute", |tree| {
                set_with(tree, "user.old", rustix::fs::XattrFlags::CREATE)
            })
            .fails(EEXIST),
            call("/f", "replace a new attribute", |tree| {
                set_with(tree, "user.new", rustix::fs::XattrFlags::REPLACE)
            })
            .fails(ENODATA),
            call("/f", "replace an old attribute", |tree| {
                set_with(tree, "user.old", rustix::fs::XattrFlags::REPLACE)
            })
            .succeeds(),
            call("/f", "create a new attribute", |tree| {
                set_with(tree, "user.new", rustix::fs::XattrFlags::CREATE)
            })
            .succeeds(),
            get_xattr("/f", "user.old").gives("set"),
        ],
        ..Case::BASE
    },
    Case {
        id: "xattr/too-little-room-and-too-long",
        spec: "A value of the parent is refused to a buffer that is too small, and one of more than 65,536 bytes is refused at all.",
        see: &["getxattr(2), ERANGE", "setxattr(2), E2BIG"],
        catalogue: &["K06"],
        impact: Impact::AppVisible,
        layers: &[&[
            write("/f", "text"),
            set_xattr("/f", "user.a", b"0123456789"),
        ]],
        steps: &[
            call("/f", "read into 4 bytes", |tree| get_into(tree, 4)).fails(ERANGE),
            call("/f", "read into 10 bytes", |tree| get_into(tree, 10)).gives("10 bytes"),
            set_xattr_sized("/f", "user.b", 65_537).fails(E2BIG),
            remove_xattr("/f", "user.none").fails(ENODATA),
        ],
        ..Case::BASE
    },
];

fn code(errno: rustix::io::Errno) -> Code {
    Code::from_raw(errno.raw_os_error())
}

fn write_through_a_mapping(tree: &Tree) -> Result<String> {
    let file = tree.open_file("/f", OFlags::RDWR, 0)?;
    Mapping::writable(&file, 3)?.write(b"new")?;
    tree.read("/f")
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// A descriptor of inotify(7) that watches a file.
fn watch(tree: &Tree, path: &str, events: inotify::WatchFlags) -> Result<OwnedFd> {
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let watcher = inotify::init(flags).map_err(code)?;
    let watched = tree.open_file(path, OFlags::RDONLY, 0)?;
    inotify::add_watch(&watcher, at::descriptor_path(&watched), events).map_err(code)?;
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
fn copy_program(tree: &Tree, program: &str) -> Result<String> {
    let found = cowlab_sys::Cmd::find(program).ok_or(ENOENT)?;
    let path = format!("/{program}");
    tree.write(&path, &std::fs::read(found)?)?;
    tree.chmod(&path, 0o755)?;
    Ok(String::new())
}

fn copy_sleep(tree: &Tree) -> Result<String> {
    copy_program(tree, "sleep")
}

fn copy_id(tree: &Tree) -> Result<String> {
    copy_program(tree, "id")?;
    tree.chmod("/id", 0o4755).map(|()| String::new())
}

fn write_to_what_runs(tree: &Tree) -> Result<String> {
    let path = tree.path().join("sleep");
    let mut command = Command::new(path);
    command.arg("1000").stdin(Stdio::null());
    let mut running = command.spawn()?;
    let open = || tree.open_file("/sleep", OFlags::WRONLY, 0);
    let shown =
        |opened: Result<File>| opened.map_or_else(|code| code.to_string(), |_| "ok".to_owned());
    let meanwhile = shown(open());
    running.kill()?;
    running.wait()?;
    Ok(format!("{meanwhile}, then {}", shown(open())))
}

fn run_id(tree: &Tree) -> Result<String> {
    let output = Command::new(tree.path().join("id")).arg("-u").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn flush_every_way(tree: &Tree) -> Result<String> {
    for path in ["/f", "/d"] {
        let opened = tree.open_file(path, OFlags::RDONLY, 0)?;
        rustix::fs::fdatasync(&opened).map_err(code)?;
        rustix::fs::syncfs(&opened).map_err(code)?;
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
        let count = rustix::io::pread(&file, &mut *block, ALIGNMENT as u64).map_err(code)?;
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
        let count = rustix::io::pwrite(&file, block, ALIGNMENT as u64).map_err(code)?;
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
    let sent = rustix::fs::sendfile(&target, &source, None, 5).map_err(code)?;
    let mut writer = tree.open_file("/f", OFlags::WRONLY, 0)?;
    writer.seek(SeekFrom::Start(5))?;
    writer.write_all(b"EFGHI")?;
    let (mut reading, writing) = std::io::pipe()?;
    let flags = rustix::pipe::SpliceFlags::empty();
    source.seek(SeekFrom::Start(5))?;
    let spliced = rustix::pipe::splice(&source, None, &writing, None, 5, flags).map_err(code)?;
    drop(writing);
    let mut content = String::new();
    reading.read_to_string(&mut content)?;
    Ok(format!("{sent} bytes sent, {spliced} spliced: {content}"))
}

fn rename_under_readers(tree: &Tree) -> Result<String> {
    const RENAMES: usize = 200;
    let (ends, missing) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                if tree.open_file("/f", OFlags::RDONLY, 0).is_err() {
                    missing.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let rename = || {
            for _ in 0..RENAMES {
                tree.write("/new", b"1")?;
                tree.rename("/new", "/f", at::RenameFlags::empty())?;
            }
            Ok(())
        };
        let renamed: Result<()> = rename();
        ends.store(true, Ordering::Relaxed);
        renamed
    })?;
    Ok(match missing.into_inner() {
        0 => "always there".to_owned(),
        _ => "missing at times".to_owned(),
    })
}

fn set_with(tree: &Tree, name: &str, flags: rustix::fs::XattrFlags) -> Result<String> {
    let file = tree.open_file("/f", OFlags::RDONLY, 0)?;
    rustix::fs::fsetxattr(&file, name, b"set", flags).map_err(code)?;
    Ok(String::new())
}

fn get_into(tree: &Tree, room: usize) -> Result<String> {
    let file = tree.open_file("/f", OFlags::RDONLY, 0)?;
    let mut value = vec![0; room];
    let size = rustix::fs::fgetxattr(&file, "user.a", &mut value[..]).map_err(code)?;
    Ok(format!("{size} bytes"))
}
