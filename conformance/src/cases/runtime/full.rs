//! Disks and pools that are full, or fill while a command is at work.

use std::fs;
use std::path::Path;

use crate::context::Result;
use crate::disk_full::Filler;
use crate::prelude::*;
use crate::product::{BASE, Product, Ran, layered};
use crate::support::program::state;
use cowlab_tarball::{Entry, archive};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/a-full-disk-costs-nothing-that-was-there",
        spec: "On a full disk a run, a commit, a copy and an export are done whole or refused, a program's status is kept, and with room everything goes on.",
        see: &["write(2), ENOSPC"],
        catalogue: &["M36"],
        impact: Impact::DataLoss,
        risk: Risk::Fs,
        run: Some(a_full_disk),
        ..super::BASE
    },
    Case {
        id: "runtime/a-disk-that-fills-within-a-command",
        spec: "On a disk that fills while it works each command is done, or says that there is no room and leaves nothing, and is done once there is room.",
        see: &["write(2), ENOSPC"],
        catalogue: &["M36"],
        impact: Impact::DataLoss,
        risk: Risk::Fs,
        run: Some(a_disk_that_fills),
        ..super::BASE
    },
];

/// Expects success, or a refusal that says that there is no room; tells which.
fn done_or_told(ran: Ran) -> Result<bool> {
    let words = [
        "no space",
        "No space",
        "full",
        "no room",
        "no data space",
        "refused writes",
        "quota",
        "Input/output",
    ];
    let is_told = words.iter().any(|word| ran.err.contains(word));
    match ran.code {
        0 => Ok(true),
        _ if is_told => Ok(false),
        code => {
            let got = format!("{code}: {}", ran.err.trim());
            Err(Difference::new(ran.command, "error", "no room", got))
        }
    }
}

fn a_full_disk(context: &mut Context) -> Result<()> {
    let product = Product::on_small_disk(context)?;
    let out = context.dir().join("out.tar");
    let to = out.display().to_string();
    let program = "while [ ! -e /stop ]; do sleep 0.05; done; exit 9";
    product.ok(&["run", "-d", "--name", "con", BASE, "sh", "-c", program])?;
    product.ok(&["exec", "con", "sh", "-c", "echo kept >/f; : >/stopping"])?;
    let filler = fill(context, &product, 0)?;
    let full = full_commands(&product, &to);
    // A name for a file that is there takes no room where a file would.
    let stopped = product.run(&[
        "exec",
        "con",
        "sh",
        "-c",
        "ln /stopping /stop || mv /stopping /stop",
    ]);
    let mut waited = None;
    if stopped.is_ok_and(|ran| ran.code == 0) {
        waited = Some(product.run(&["wait", "con"]));
    }
    context.make_space(filler)?;
    let full = full?;
    if let Some(waited) = waited {
        expect("wait", "status", "9".to_owned(), waited?.ok()?)?;
    }
    let is_there = out.exists();
    expect("export", "leaves a file", full.exported, is_there)?;
    let names = product.ok(&["images", "--json"])?;
    expect(
        "commit",
        "leaves an image",
        full.committed,
        names.contains("of-con"),
    )?;
    let other = state(&product, "other")?;
    match other.as_str() {
        // What could not even be taken back says so, and goes.
        "creating" | "removing" if !full.made => drop(product.ok(&["rm", "other"])?),
        other => expect("create", "leaves a container", full.made, other != "none")?,
    }
    product.ok(&["rm", "-f", "con"])?;
    if state(&product, "filler")? != "none" {
        product.ok(&["rm", "filler"])?;
    }
    product.ok(&["run", "--rm", "--name", "next", BASE, "cat", "/testfile"])?;
    product.ok(&["system", "check"]).map(drop)
}

/// Leaves so many bytes. In a pool of devices nothing is left, and that is a container's work, for nothing else has files there.
fn fill(context: &Context, product: &Product, left: u64) -> Result<Filler> {
    let Some(pool) = context.small().filter(|small| small.directory.is_none()) else {
        return context.fill(left);
    };
    let count = format!("count={}", (pool.bytes >> 20) + 16);
    let write = [
        "dd",
        "if=/dev/zero",
        "of=/fill",
        "bs=1M",
        &count,
        "conv=fsync",
    ];
    product
        .run(&[&["run", "--name", "filler", BASE][..], &write].concat())?
        .refused(1, "")?;
    // What a file of one block asks for.
    expect("pool", "has room", false, context.free()? > 1 << 20)?;
    Ok(Filler::of_a_pool())
}

struct Full {
    made: bool,
    committed: bool,
    exported: bool,
}

/// Commands that want room; each is done or says that there is none.
fn full_commands(product: &Product, out: &str) -> Result<Full> {
    let made = done_or_told(product.run(&["create", "--name", "other", BASE, "true"])?)?;
    if made {
        let started = product.run(&["start", "-a", "other"])?;
        done_or_told(started)?;
    }
    let committed = done_or_told(product.run(&["commit", "con", "of-con"])?)?;
    done_or_told(product.run(&["cp", "con:/bin", &format!("{out}.bin")])?)?;
    let exported = done_or_told(product.run(&["export", "-o", out, "con"])?)?;
    let read = product.run(&["exec", "con", "cat", "/f"])?;
    if done_or_told(read.clone())? {
        expect("/f", "content", "kept\n", &read.out)?;
    }
    Ok(Full {
        made,
        committed,
        exported,
    })
}

/// What is left when the commands begin, in bytes: the first ones need more, and begin all the same.
const LEFT: u64 = 1 << 20;

/// How large the files are that the commands move, in bytes.
const LARGE: usize = 6 << 20;

/// What a command does, as one sees afterwards.
#[derive(Debug, Clone, Copy)]
enum Effect {
    /// This command works.
    Works(&'static [&'static str]),
    /// This command finds nothing any more.
    Gone(&'static [&'static str]),
    /// A file of this name is there.
    File(&'static str),
    /// It shows or stops something.
    None,
}

/// A command on a disk that fills. `@` is the directory for files of the host.
#[derive(Debug)]
struct Attempt {
    words: &'static [&'static str],
    /// What it reads.
    input: fn() -> Result<Vec<u8>>,
    effect: Effect,
}

const ATTEMPT: Attempt = Attempt {
    words: &[],
    input: || Ok(Vec::new()),
    effect: Effect::None,
};

/// The larger ones first: each leaves the room that it found to the next.
const ATTEMPTS: &[Attempt] = &[
    Attempt {
        words: &["load"],
        input: || {
            let layers = [vec![large("large")]];
            let image = layered::Layered {
                name: "loaded:1",
                layers: &layers,
            };
            layered::docker_archive(&[image])
        },
        effect: Effect::Works(&["image", "inspect", "loaded:1"]),
    },
    Attempt {
        words: &["import", "-", "imported:1"],
        input: || Ok(archive(&[large("imported")])),
        effect: Effect::Works(&["image", "inspect", "imported:1"]),
    },
    Attempt {
        words: &["save", "-o", "@saved.tar", BASE],
        effect: Effect::File("saved.tar"),
        ..ATTEMPT
    },
    Attempt {
        words: &["cp", "@large", "con:/copied"],
        ..ATTEMPT
    },
    Attempt {
        words: &["cp", "con:/bin", "@copied"],
        ..ATTEMPT
    },
    Attempt {
        words: &["commit", "con", "of-con:1"],
        effect: Effect::Works(&["image", "inspect", "of-con:1"]),
        ..ATTEMPT
    },
    Attempt {
        words: &["export", "-o", "@exported.tar", "con"],
        effect: Effect::File("exported.tar"),
        ..ATTEMPT
    },
    Attempt {
        words: &["run", "--rm", "-v", "seeded:/srv", BASE, "cat", "/srv/data"],
        ..ATTEMPT
    },
    Attempt {
        words: &["tag", BASE, "tagged:1"],
        effect: Effect::Works(&["image", "inspect", "tagged:1"]),
        ..ATTEMPT
    },
    Attempt {
        words: &["volume", "create", "made"],
        effect: Effect::Works(&["volume", "inspect", "made"]),
        ..ATTEMPT
    },
    Attempt {
        words: &["ps", "-a", "-s"],
        ..ATTEMPT
    },
    Attempt {
        words: &["logs", "con"],
        ..ATTEMPT
    },
    Attempt {
        words: &["system", "df"],
        ..ATTEMPT
    },
    Attempt {
        words: &["stop", "-t", "0", "ends"],
        ..ATTEMPT
    },
    Attempt {
        words: &["rm", "-f", "goes"],
        effect: Effect::Gone(&["inspect", "goes"]),
        ..ATTEMPT
    },
    Attempt {
        words: &["volume", "rm", "spare"],
        effect: Effect::Gone(&["volume", "inspect", "spare"]),
        ..ATTEMPT
    },
    Attempt {
        words: &["rmi", "spare:1"],
        effect: Effect::Gone(&["image", "inspect", "spare:1"]),
        ..ATTEMPT
    },
];

fn large(name: &str) -> Entry {
    let seed = name.len() as u64;
    Entry::file(name, cowlab_random::bytes(seed, LARGE))
}

fn attempt(product: &Product, attempt: &Attempt, host: &Path) -> Result<Ran> {
    let place = |word: &&str| match word.strip_prefix('@') {
        Some(name) => host.join(name).display().to_string(),
        None => (*word).to_owned(),
    };
    let words: Vec<String> = attempt.words.iter().map(place).collect();
    product.run_with(&words, &(attempt.input)()?)
}

/// What the effect of a command that is done, or was refused, has to be.
fn expect_effect(product: &Product, one: &Attempt, is_done: bool, host: &Path) -> Result<()> {
    let what = one.words.join(" ");
    match one.effect {
        Effect::Works(words) => {
            let works = product.run(words)?.code == 0;
            expect(what, "has its effect", is_done, works)
        }
        // A removal that was cut off may have come to its end.
        Effect::Gone(words) if is_done => {
            let is_there = product.run(words)?.code == 0;
            expect(what, "leaves something", false, is_there)
        }
        Effect::File(name) => expect(what, "leaves a file", is_done, host.join(name).exists()),
        Effect::Gone(_) | Effect::None => Ok(()),
    }
}

fn a_disk_that_fills(context: &mut Context) -> Result<()> {
    let product = Product::on_small_disk(context)?;
    let host = context.dir().join("files");
    fs::create_dir(&host)?;
    fs::write(host.join("large"), cowlab_random::bytes(1, LARGE))?;
    product.load("spare:1", &serde_json::json!({"User": "1"}))?;
    product.ok(&["volume", "create", "spare"])?;
    for name in ["con", "ends", "goes"] {
        product.ok(&["run", "-d", "--name", name, BASE, "sleep", "1000"])?;
    }
    // What was not flushed is lost with a pool that takes nothing more.
    let write = "echo kept | dd of=/f conv=fsync; dd if=/dev/urandom of=/large bs=1M count=6";
    product.ok(&["exec", "con", "sh", "-c", write])?;
    let filler = fill(context, &product, LEFT)?;
    let judged: Result<Vec<bool>> = ATTEMPTS
        .iter()
        .map(|one| done_or_told(attempt(&product, one, &host)?))
        .collect();
    context.make_space(filler)?;
    let judged = judged?;
    let is_refused = judged.contains(&false);
    expect("commands", "found no room", true, is_refused)?;
    for (one, is_done) in ATTEMPTS.iter().zip(&judged) {
        expect_effect(&product, one, *is_done, &host)?;
    }
    product.ok(&["system", "check"])?;
    // What a full pool refused to a container that wrote may have ended that container's file system.
    product.ok(&["stop", "-t", "0", "con"])?;
    product.ok(&["start", "con"])?;
    for (one, _) in ATTEMPTS.iter().zip(&judged).filter(|(_, done)| !**done) {
        attempt(&product, one, &host)?.ok()?;
        expect_effect(&product, one, true, &host)?;
    }
    product.says(&["exec", "con", "cat", "/f"], "kept")?;
    let seeded = ["run", "--rm", "-v", "seeded:/srv", BASE, "cat", "/srv/data"];
    product.says(&seeded, "served")?;
    product.ok(&["system", "check"]).map(drop)
}
