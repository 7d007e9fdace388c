//! Pools that are not the store's, and the store's own when it went away.

use std::fs;

use anyhow::{Context, ensure};
use cowlab_driver::Settings;
use cowlab_sys::Cmd;
use cowlab_testbed::BackingFs;

use super::pool::{Pool, dmsetup};
use super::{Fault, Findings, expect_refusal, open};

/// What makes an empty pool one that is not to be taken.
struct Foreign {
    is: &'static str,
    /// What the error has to say besides the pool's name.
    says: &'static str,
    make: fn(&Pool) -> anyhow::Result<()>,
}

const FOREIGN: &[Foreign] = &[
    Foreign {
        is: "a pool of docker, which counts transactions",
        says: "its transaction id is 5",
        make: |pool| pool.message("set_transaction_id 0 5"),
    },
    Foreign {
        is: "a pool of containerd, which has thin devices",
        says: "holds thin devices: 7",
        make: |pool| pool.message("create_thin 7"),
    },
    Foreign {
        is: "a pool of LVM, by its UUID",
        says: "belongs to LVM",
        make: |pool| dmsetup(["rename", &pool.name, "--setuuid", "LVM-abcdefghijkl-tpool"]),
    },
    Foreign {
        is: "a pool below another device",
        says: "is in use",
        make: |pool| {
            let table = format!("0 8 linear {} 0", pool.node()?.display());
            let name = format!("{}-above", pool.name);
            dmsetup(["create", &name, "--noudevrules", "--table", &table])
        },
    },
    Foreign {
        is: "a pool on a device with a file system",
        says: "has a data device that holds something",
        make: put_file_system,
    },
];

/// Proves that none of them is taken or written to.
pub(super) fn prove(
    made: &BackingFs,
    fault: Option<Fault>,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let place = made.mount_point();
    for (number, foreign) in FOREIGN.iter().enumerate() {
        let pool = Pool::fresh(made)?;
        if fault != Some(Fault::NobodyElse) {
            (foreign.make)(&pool).with_context(|| foreign.is.to_owned())?;
        }
        let before = pool.content()?;
        let tried = open(&place.join(format!("foreign-{number}")), &pool.settings);
        expect_refusal(findings, foreign.is, &[&pool.name, foreign.says], tried)?;
        if pool.content()? != before {
            findings.add(format_args!("{} was written to", foreign.is));
        }
    }
    none(made, findings)?;
    overwrite(made, findings)?;
    own(made, findings)
}

fn put_file_system(pool: &Pool) -> anyhow::Result<()> {
    let table = pool.table()?;
    // mkfs refuses a device that is in use.
    pool.deactivate()?;
    let command = Cmd::new("mkfs.ext4");
    command.args(["-q", "-F"]).arg(&pool.data).run()?;
    pool.activate(table.trim())
}

/// Names that stand for no pool.
fn none(made: &BackingFs, findings: &mut Findings) -> anyhow::Result<()> {
    let pool = Pool::fresh(made)?;
    let linear = format!("{}-linear", pool.name);
    let table = format!("0 8 linear {} 0", pool.data.display());
    dmsetup(["create", &linear, "--noudevrules", "--table", &table])?;
    for (name, says) in [
        ("cowlab-nowhere", "does not exist"),
        (&linear, "is no thin pool"),
        ("no/name", "name it as device-mapper does"),
        ("", "the name of a thin pool is missing"),
    ] {
        let settings = Settings::from([("pool".to_owned(), name.to_owned())]);
        let tried = open(&made.mount_point().join("none"), &settings);
        expect_refusal(findings, "what is no pool", &[name, says], tried)?;
    }
    Ok(())
}

/// A data device that holds something is taken when somebody says so.
fn overwrite(made: &BackingFs, findings: &mut Findings) -> anyhow::Result<()> {
    let pool = Pool::fresh(made)?;
    put_file_system(&pool)?;
    let mut settings = pool.settings.clone();
    settings.insert("overwrite-data-device".to_owned(), "yes".to_owned());
    if let Err(error) = open(&made.mount_point().join("overwrite"), &settings) {
        findings.add(format_args!("nobody needed the content, and: {error}"));
    }
    Ok(())
}

/// The pool of a store: refused to others, missed when it is gone, known again, and not mistaken for a new one.
fn own(made: &BackingFs, findings: &mut Findings) -> anyhow::Result<()> {
    let pool = Pool::fresh(made)?;
    let root = made.mount_point().join("own");
    let target = made.mount_point().join("own-target");
    fs::create_dir(&target)?;
    let store = open(&root, &pool.settings)?;
    store.prepare("key", None, &Default::default())?;
    let mounted = store.mount("key", &target)?;
    fs::write(target.join("f"), "kept")?;
    drop(mounted);
    store.commit("key", "base", &Default::default())?;
    drop(store);
    let other = open(&made.mount_point().join("other"), &pool.settings);
    let words = [pool.name.as_str(), "transaction id"];
    expect_refusal(findings, "a pool of another store", &words, other)?;

    // As a reboot leaves it.
    pool.deactivate()?;
    let gone = open(&root, &pool.settings);
    let text = gone.as_ref().err().map(ToString::to_string);
    let words = [pool.name.as_str(), "does not exist"];
    expect_refusal(findings, "a pool that is not active", &words, gone)?;
    let text = text.unwrap_or_default();
    let table = text.split('\'').nth(1).context("no table in the error")?;
    pool.activate(table)?;
    let store = open(&root, &pool.settings)?;
    store.view("view", "base")?;
    let mounted = store.mount("view", &target)?;
    let kept = fs::read_to_string(target.join("f"))?;
    ensure!(kept == "kept", "`f` reads `{kept}`");
    drop(mounted);
    store.remove("view")?;
    let report = store.check()?;
    if !report.is_sound() {
        findings.add(format_args!("made again, the check found {report:?}"));
    }
    drop(store);

    // Every thin device of the store is gone.
    pool.renew(8 << 20, super::SPACE, "0")?;
    let anew = open(&root, &pool.settings);
    let words = [pool.name.as_str(), "is not this store's any more"];
    expect_refusal(findings, "a pool that was made anew", &words, anew)
}
