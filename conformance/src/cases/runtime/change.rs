//! What containers change, and what becomes of it.

use std::path::Path;

use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product};
use crate::support::program::text;

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/containers-start-equal-and-are-isolated",
        spec: "Two containers of one image start equal, and what one changes neither the other nor the image has.",
        see: &["docs.docker.com, storage drivers, Sharing promotes smaller images"],
        catalogue: &["S05", "I14"],
        impact: Impact::Isolation,
        program: &[
            run("run -d --name con1 base sleep 1000"),
            run("exec con1 cat /testfile").prints("test"),
            run("run -d --name con2 base sleep 1000"),
            run("exec con2 cat /testfile").prints("test"),
            run("exec con1 sh -c 'echo changed >/testfile'"),
            run("exec con1 cat /testfile").prints("changed"),
            run("exec con2 cat /testfile").prints("test"),
            run("run --rm base cat /testfile").prints("test"),
            run("diff con1").prints("C /testfile"),
            run("diff con2").prints(""),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/diff-lists-exactly-the-change",
        spec: "The differences of a container are what it added, changed and deleted, and nothing that it only read.",
        see: &["docs.docker.com, docker container diff"],
        catalogue: &["S01"],
        impact: Impact::AppVisible,
        program: &[
            run(
                "run --name con base sh -c 'cat /etc/passwd; echo new >/etc/new; echo more >>/testfile; rm /etc/group; mkdir /d'",
            ),
            run("diff con").prints(CHANGED),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/commit-compares-the-trees-once",
        spec: "A commit finds out once what a container changed, whatever it leaves out of the layer.",
        see: &["docs.docker.com, docker container commit"],
        catalogue: &["S08"],
        impact: Impact::Performance,
        program: &[
            // The mount point of the volume is made in the container's layer, and no change.
            run("run --name con -v data:/made base sh -c 'echo new >/new'"),
            script(r#"COWLAB_LOG=debug "$COWLAB" commit con two 2>&1 | grep compared | grep -c '"container/'"#).prints("1"),
            run("run --rm two sh -c 'cat /new; [ -e /made ] || echo none'").prints("new\nnone"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/commit-keeps-exactly-the-change",
        spec: "A commit makes an image of one layer more that has exactly the change, and the container keeps its own layer.",
        see: &["docs.docker.com, docker container commit"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        program: &[
            // It runs, and is paused for the time of the commit.
            run("run -d --name con base sh -c 'echo new >/etc/new; echo more >>/testfile; rm /etc/group; mkdir /d; sleep 1000'"),
            script(r#"until "$COWLAB" exec con ls /d; do sleep 0.1; done"#),
            run("commit con two:1"),
            run("image inspect base").json(&[("/0/RootFS/Layers/1", "none")]).keeps(&[("/0/RootFS/Layers/0", "base")]),
            run("image inspect two:1")
                .json(&[("/0/RootFS/Layers/0", "{base}"), ("/0/RootFS/Layers/2", "none")])
                .keeps(&[("/0/RootFS/Layers/1", "change")]),
            run("run --name of-two two:1 sh -c 'cat /testfile /etc/new; ls /etc/group || echo gone'")
                .prints("testmore\nnew\ngone"),
            run("diff of-two").prints(""),
            run("run --rm base cat /testfile").prints("test"),
            run("diff con").prints(CHANGED),
            run("exec con cat /etc/new").prints("new"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/files-are-copied-in-and-out",
        spec: "A file copied into a container, whether it runs or not, is copied out of it as it was, and is in its export.",
        see: &[
            "docs.docker.com, docker container cp",
            "docs.docker.com, docker container export",
        ],
        catalogue: &["S01", "P07"],
        impact: Impact::DataLoss,
        program: &[
            file("one", "content"),
            run("create --name con base sleep 1000"),
            run("cp {dir}/one con:/tmp/stopped"),
            run("start con"),
            run("cp {dir}/one con:/tmp/running"),
            run("exec con cat /tmp/stopped /tmp/running").prints("contentcontent"),
            run("cp con:/tmp/running {dir}/two"),
            content("two").prints("content"),
            run("cp con:/tmp/missing {dir}/two").fails(2, &["/tmp/missing"]),
            run("diff con").prints("C /tmp\nA /tmp/running\nA /tmp/stopped"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/an-image-goes-round-by-export-and-save",
        spec: "An image that was saved and loaded has the same id, and one made of a container's export has the same files.",
        see: &[
            "docs.docker.com, docker image save",
            "docs.docker.com, docker image import",
        ],
        catalogue: &["S08"],
        impact: Impact::DataLoss,
        program: &[
            run("run --name con base sh -c 'echo new >/etc/new; echo more >>/testfile; rm /etc/group; mkdir /d'"),
            run("commit con two"),
            run("export -o {dir}/file con"),
            run("import {dir}/file flat"),
            run("run --rm flat sh -c 'ls -dln /bin/* /srv/* /d/*; cat /testfile'").saves("flat"),
            run("run --rm two sh -c 'ls -dln /bin/* /srv/* /d/*; cat /testfile'").prints("{flat}"),
            script(r#""$COWLAB" image inspect -f '{{json .RootFS.Layers}}' flat | grep -o sha256: | wc -l"#).prints("1"),
            run("image inspect -f {{.Id}} two").saves("id"),
            run("save -o {dir}/file two"),
            run("rm con"),
            run("rmi two"),
            run("run two true").fails(125, &["two"]),
            run("load -i {dir}/file"),
            run("image inspect -f {{.Id}} two").prints("{id}"),
            run("run --rm two sh -c 'ls -dln /bin/* /srv/* /d/*; cat /testfile'").prints("{flat}"),
            run("system check"),
        ],
        ..super::BASE
    },
    Case {
        id: "runtime/a-changed-base-layer-is-named-and-repaired",
        spec: "A file put from the host into a base layer shows in containers, is named by a check, and is gone after a repair.",
        see: &["overlayfs.rst, Changes to underlying filesystems"],
        catalogue: &["S06", "S08", "M30"],
        impact: Impact::Isolation,
        run: Some(a_changed_base_layer_is_named_and_repaired),
        ..super::BASE
    },
    Case {
        id: "runtime/a-size-limit-holds",
        spec: "A container with a size limit is told that its file system is full, and neither its image nor its neighbour is.",
        see: &["docs.docker.com, docker container run, --storage-opt"],
        catalogue: &["S07"],
        impact: Impact::Isolation,
        needs: &[Need::SizeLimit],
        run: Some(a_size_limit_holds),
        ..super::BASE
    },
];

const CHANGED: &str = "A /d\nC /etc\nD /etc/group\nA /etc/new\nC /testfile";

fn a_changed_base_layer_is_named_and_repaired(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let layers = product.json(&["layer", "ls", "--json"])?;
    let layer = product.json(&["layer", "show", &text(&layers, "/0/chain_id")?])?;
    let dir = ["/data/LowerDirs/0", "/data/Directory"]
        .iter()
        .find_map(|at| layer.pointer(at)?.as_str());
    let dir =
        dir.ok_or_else(|| Difference::new("base", "directory", "in the driver's data", "none"))?;
    product.ok(&["system", "check"])?;
    if let Err(error) = std::fs::write(Path::new(dir).join("put"), "put") {
        let code = Code::from_raw(error.raw_os_error().unwrap_or_default());
        return Err(Difference::new("base", "put a file", "ok", code));
    }
    let look = ["run", "--rm", BASE, "cat", "/put"];
    product.says(&look, "put")?;
    let found = product.run(&["system", "check"])?;
    expect("system check", "exit status", 1, found.code)?;
    let names = found.out.contains("/put") && !found.out.contains("/testfile");
    expect("system check", "names the file and no other", true, names)?;
    product.ok(&["system", "check", "--repair"])?;
    product.ok(&["system", "check"])?;
    product.run(&look)?.refused(1, "/put")
}

fn a_size_limit_holds(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let fill = ["dd", "if=/dev/zero", "of=/fill", "bs=1M", "count=96"];
    let limited = ["run", "--name", "con", "--storage-opt", "size=64M", BASE];
    let full = product.run(&[&limited[..], &fill[..]].concat())?;
    if full.code == 125 && full.err.contains("does not support a size limit") {
        let got = "not supported";
        return Err(Difference::new("--storage-opt size", "limit", "held", got));
    }
    full.refused(1, "")?;
    let read = ["cat", "/testfile"];
    product.says(&[&["run", "--rm", BASE], &read[..]].concat(), "test")?;
    product
        .ok(&[&["run", "--rm", BASE], &fill[..]].concat())
        .map(drop)
}
