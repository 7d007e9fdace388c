//! unlink and rmdir: what is removed is gone, what is not empty stays.

use std::ops::Range;

use cowlab_sys::cmd::Cmd;

use crate::prelude::*;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "removal/directory-is-empty-only-when-every-layer-says-so",
        spec: "A directory with entries of any layer cannot be removed, and can once they are gone.",
        see: &["rmdir(2), ENOTEMPTY", "unionmount-testsuite, rmdir"],
        catalogue: &["G01"],
        impact: Impact::DataLoss,
        layers: &[
            &[dir("/d", 0o755), write("/d/lower", "l")],
            &[write("/d/upper", "u")],
        ],
        steps: &[
            remove_dir("/d").fails(ENOTEMPTY),
            unlink("/d/upper").succeeds(),
            remove_dir("/d").fails(ENOTEMPTY),
            unlink("/d/lower").succeeds(),
            remove_dir("/d").succeeds(),
            absent("/d"),
        ],
        ..Case::BASE
    },
    Case {
        id: "removal/tree-of-two-layers",
        spec: "A tree whose entries come from two layers can be removed as a whole.",
        see: &["unionmount-testsuite, rmtree", "unlink(2)"],
        catalogue: &["G02"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                dir("/t", 0o755),
                dir("/t/a", 0o755),
                write("/t/a/1", "1"),
                dir("/t/b", 0o755),
                symlink("a", "/t/s"),
            ],
            &[
                write("/t/a/2", "2"),
                dir("/t/b/c", 0o755),
                fifo("/t/b/c/p", 0o600),
            ],
            &[remove_tree("/t")],
        ],
        steps: &[absent("/t"), entries("/", "")],
        ..Case::BASE
    },
    Case {
        id: "removal/twice-is-an-error",
        spec: "A removed name cannot be removed again, and a directory is not unlinked.",
        see: &["unlink(2), ENOENT, EISDIR", "rmdir(2)"],
        catalogue: &["G02", "A20"],
        impact: Impact::AppVisible,
        layers: &[&[write("/f", "f"), dir("/d", 0o755)]],
        steps: &[
            unlink("/f").succeeds(),
            unlink("/f").fails(ENOENT),
            unlink("/d").fails(EISDIR),
            remove_dir("/d").succeeds(),
            remove_dir("/d").fails(ENOENT),
            rename("/f", "/g").fails(ENOENT),
            chmod("/d", 0o700).fails(ENOENT),
        ],
        ..Case::BASE
    },
    Case {
        id: "removal/create-and-remove-storm",
        spec: "A name made and removed a hundred times over a file of the parent ends as the last step left it.",
        see: &["containers/fuse-overlayfs tests, stress 29"],
        catalogue: &["G04"],
        impact: Impact::DataLoss,
        layers: &[&[write("/f", "old"), dir("/d", 0o755)]],
        steps: &[
            call("/f", "storm", |tree| {
                for _ in 0..100 {
                    tree.unlink("/f")?;
                    tree.write("/f", b"new")?;
                    tree.remove_dir("/d")?;
                    tree.make_dir("/d", 0o700)?;
                }
                Ok("done".to_owned())
            })
            .gives("done"),
            reads("/f", "new"),
            stat("/d", Field::Mode).gives("0700"),
        ],
        ..Case::BASE
    },
    Case {
        id: "removal/while-the-directory-is-read",
        spec: "Every entry of a directory of two layers can be removed while the directory is being read, and none is seen twice.",
        see: &["readdir(3)", "rmdir(2)"],
        catalogue: &["A14"],
        impact: Impact::DataLoss,
        layers: &[&[
            dir("/d", 0o755),
            call("/d", "entries made", |tree| fill(tree, 0..1500)),
        ]],
        steps: &[
            call("/d", "entries made", |tree| fill(tree, 1500..3000)),
            call("/d", "entries seen and left", remove_while_reading).gives("3000, 0"),
            remove_dir("/d").succeeds(),
        ],
        ..Case::BASE
    },
    Case {
        id: "removal/of-a-file-another-name-has",
        spec: "Removing one name of a file of the parent leaves the other name with the data.",
        see: &["unlink(2)"],
        catalogue: &["E05", "G02"],
        impact: Impact::DataLoss,
        layers: &[&[write("/a", "x"), link("/a", "/b")], &[remove("/a")]],
        steps: &[
            absent("/a"),
            reads("/b", "x"),
            append("/b", "y").succeeds(),
            reads("/b", "xy"),
        ],
        ..Case::BASE
    },
    Case {
        id: "removal/refused-for-the-working-directory",
        spec: "A directory of the parent whose removal is refused can still be worked in, by its name and by getcwd.",
        see: &["rmdir(2), ENOTEMPTY", "getcwd(3)", "xfstests overlay/007"],
        catalogue: &["A18", "G05"],
        impact: Impact::AppVisible,
        layers: &[&[dir("/d", 0o755), write("/d/f", "f")]],
        steps: &[
            call("/d", "name and content after a refusal", |tree| {
                let script = "rmdir ../d 2>/dev/null && exit 1; basename \"$(/bin/pwd)\"; echo new >new; cat f new";
                let shell = Cmd::new("sh").args(["-c", script]);
                let said = shell.current_dir(tree.path().join("d")).read();
                Ok(said.map_or_else(|_| "failed".to_owned(), |said| said.replace('\n', " ")))
            })
            .gives("d fnew"),
            reads("/d/new", "new\\x0a"),
        ],
        ..Case::BASE
    },
];

fn fill(tree: &Tree, numbers: Range<u32>) -> Result<String, Code> {
    for number in numbers {
        tree.write(&format!("/d/{number}"), b"")?;
    }
    Ok("made".to_owned())
}

/// Removes each entry as soon as it is read: more entries than readdir(3) takes from the kernel at once.
fn remove_while_reading(tree: &Tree) -> Result<String, Code> {
    let mut seen = 0;
    for entry in std::fs::read_dir(tree.path().join("d"))? {
        tree.unlink(&format!("/d/{}", entry?.file_name().display()))?;
        seen += 1;
    }
    Ok(format!("{seen}, {}", tree.list("/d")?.len()))
}
