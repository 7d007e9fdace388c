//! Hard links: names of one file stay names of one file.

use crate::prelude::*;

pub(super) const CASES: &[Case] = &[
    Case {
        id: "link/write-shows-under-every-name",
        spec: "A write in a child to one name of a file of the parent shows under its other name.",
        see: &["overlayfs.rst, Non-standard behavior", "link(2)"],
        catalogue: &["E01", "E02"],
        impact: Impact::AppVisible,
        layers: &[
            &[write("/a", "old"), link("/a", "/b")],
            &[append("/a", "new")],
        ],
        steps: &[reads("/b", "oldnew"), same_file("/a", "/b")],
        ..Case::BASE
    },
    Case {
        id: "link/count-is-the-number-of-names",
        spec: "The link count of a file of the parent is the number of its names, after changes in a child too.",
        see: &[
            "overlayfs.rst, index",
            "xfstests overlay/033",
            "inode(7), st_nlink",
        ],
        catalogue: &["E02"],
        impact: Impact::AppVisible,
        layers: &[
            &[write("/a", "x"), link("/a", "/b"), link("/a", "/c")],
            &[chmod("/b", 0o600)],
        ],
        steps: &[
            stat("/a", Field::LinkCount).gives("3"),
            remove("/c").succeeds(),
            stat("/a", Field::LinkCount).gives("2"),
        ],
        ..Case::BASE
    },
    Case {
        id: "link/untouched-group-stays-one-file",
        spec: "Names of one file in one layer are one file in every descendant that leaves them alone.",
        see: &["link(2)", "image-spec layer.md, Hardlinks"],
        catalogue: &["E07"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                dir("/d", 0o755),
                write_sized("/a", 20_000, 21),
                link("/a", "/d/b"),
                symlink("a", "/s"),
                link("/s", "/t"),
                fifo("/p", 0o600),
                link("/p", "/q"),
            ],
            &[write("/other", "o")],
        ],
        steps: &[
            same_file("/a", "/d/b"),
            same_file("/s", "/t"),
            same_file("/p", "/q"),
        ],
        ..Case::BASE
    },
    Case {
        id: "link/new-name-for-a-file-of-the-parent",
        spec: "A new name given in a child to a file of the parent is a name of the same file.",
        see: &["link(2)", "unionmount-testsuite, hard-link"],
        catalogue: &["E03"],
        impact: Impact::DataLoss,
        layers: &[
            &[
                write("/a", "old"),
                chown("/a", 5, 6),
                mtime("/a", 1_000_000_000, 4),
            ],
            &[link("/a", "/b")],
        ],
        steps: &[
            same_file("/a", "/b"),
            append("/b", "new").succeeds(),
            reads("/a", "oldnew"),
            stat("/a", Field::LinkCount).gives("2"),
        ],
        ..Case::BASE
    },
    Case {
        id: "link/new-group-survives-commit",
        spec: "Names of one file made in a child are one file in the child's descendants.",
        see: &["link(2)", "moby/moby issue 9411"],
        catalogue: &["E07", "E03"],
        impact: Impact::DataLoss,
        layers: &[
            &[dir("/d", 0o755)],
            &[write("/a", "x"), link("/a", "/d/b"), link("/a", "/d/c")],
            &[write("/later", "l")],
        ],
        steps: &[same_file("/a", "/d/b"), same_file("/d/b", "/d/c")],
        ..Case::BASE
    },
    Case {
        id: "link/directory-is-refused",
        spec: "A directory of the parent gets no second name, and a link in the way is refused.",
        see: &["link(2), EPERM, EEXIST"],
        catalogue: &["E04"],
        impact: Impact::AppVisible,
        layers: &[&[dir("/d", 0o755), write("/f", "f"), write("/g", "g")]],
        steps: &[
            link("/d", "/e").fails(EPERM),
            link("/f", "/g").fails(EEXIST),
            link("/none", "/h").fails(ENOENT),
            reads("/g", "g"),
        ],
        ..Case::BASE
    },
    Case {
        id: "link/symlink-itself-gets-a-name",
        spec: "A link to a symbolic link of the parent is another name of the symbolic link, not of its target.",
        see: &["link(2), NOTES", "unionmount-testsuite, hard-link-sym"],
        catalogue: &["E04"],
        impact: Impact::AppVisible,
        layers: &[&[write("/f", "f"), symlink("f", "/s")], &[link("/s", "/t")]],
        steps: &[
            is_a("/t", Kind::Symlink),
            read_link("/t").gives("f"),
            same_file("/s", "/t"),
        ],
        ..Case::BASE
    },
    Case {
        id: "link/last-name-keeps-the-data",
        spec: "A file linked and then removed under its old name keeps its data under the new one.",
        see: &[
            "xfstests overlay/047",
            "containers/fuse-overlayfs tests, hard links 9",
        ],
        catalogue: &["E05", "E06"],
        impact: Impact::DataLoss,
        layers: &[
            &[write_sized("/a", 50_000, 22)],
            &[chown("/a", 1, 1), link("/a", "/b"), remove("/a")],
            &[append("/b", "+")],
        ],
        steps: &[absent("/a"), stat("/b", Field::LinkCount).gives("1")],
        ..Case::BASE
    },
    Case {
        id: "link/replaced-name-leaves-the-group",
        spec: "A name replaced by another file in a child leaves its group, and the other names keep the old content.",
        see: &["rename(2)", "package managers' replace by rename"],
        catalogue: &["E06", "E01"],
        impact: Impact::DataLoss,
        layers: &[
            &[write("/a", "old"), link("/a", "/b"), link("/a", "/c")],
            &[write("/new", "new"), rename("/new", "/b")],
        ],
        steps: &[
            reads("/a", "old"),
            reads("/b", "new"),
            reads("/c", "old"),
            same_file("/a", "/c"),
        ],
        ..Case::BASE
    },
    Case {
        id: "link/permission-change-shows-under-every-name",
        spec: "A change of mode in a child under one name of a file of the parent shows under its other names.",
        see: &["overlayfs.rst, Non-standard behavior", "chmod(2)"],
        catalogue: &["E01"],
        impact: Impact::Isolation,
        layers: &[&[write("/a", "x"), link("/a", "/b"), chmod("/a", 0o666)]],
        steps: &[
            chmod("/a", 0o600).succeeds(),
            stat("/b", Field::Mode).gives("0600"),
        ],
        ..Case::BASE
    },
];
