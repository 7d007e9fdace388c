//! The life that is cut: every command that writes, and what the root shows after each.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use clap::ValueEnum;
use cowlab_random::Random;
use cowlab_sys::{Time, at};

use crate::commands::{Plan, VERBS};
use crate::listing::{FLUSHED, FLUSHER};
use crate::root::TestRoot;

/// The files that are written into a snapshot at a time.
const FILES: usize = 12;

/// The time of all that is written: a day in 2024.
const TIME: Time = Time {
    sec: 1_717_200_000,
    nsec: 0,
};

/// Which commands a life has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Life {
    /// A few of them.
    Short,
    /// Those about snapshots.
    Snapshots,
    /// Those about images, containers and volumes.
    Containers,
    /// All of them.
    Whole,
}

/// One step of a life.
#[derive(Debug)]
pub(super) enum Step {
    /// A command of `cowlab`.
    Command(Vec<String>),
    /// A snapshot is mounted, gets files, and is unmounted: none of it is flushed.
    Fill { key: &'static str, number: u64 },
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Command(words) => write!(f, "{}", words.join(" ")),
            Self::Fill { key, .. } => write!(f, "mount `{key}`, write {FILES} files, unmount"),
        }
    }
}

impl Step {
    pub(super) fn run(&self, root: &TestRoot) -> anyhow::Result<()> {
        root.clear_output()?;
        root.write_input("copied")?;
        match self {
            Self::Command(words) => {
                let words: Vec<_> = words.iter().map(String::as_str).collect();
                root.ok(&words)?;
            }
            Self::Fill { key, number } => {
                let target = root.scratch.join("mounted");
                fs::create_dir_all(&target)?;
                let target_word = target.display().to_string();
                root.ok(&["snapshot", "mount", key, &target_word])?;
                let filled = fill(&target, *number);
                root.ok(&["snapshot", "unmount", key, &target_word])?;
                filled?;
            }
        }
        Ok(())
    }

    /// Whether the step sends a container a signal, and no more.
    pub(super) fn is_signal(&self) -> bool {
        self.words().first().is_some_and(|word| word == "kill")
    }

    /// The words of the command, if it is one.
    pub(super) fn words(&self) -> &[String] {
        match self {
            Self::Command(words) => words,
            Self::Fill { .. } => &[],
        }
    }
}

/// Writes, replaces and removes files.
fn fill(root: &Path, number: u64) -> anyhow::Result<()> {
    let mut random = Random::new(number);
    let dir = root.join(format!("layer-{number}"));
    fs::create_dir(&dir)?;
    for file in 0..FILES {
        let mut content = vec![0; 1 + random.below(40_000)];
        random.fill(&mut content);
        fs::write(dir.join(file.to_string()), content)?;
    }
    symlink("0", dir.join("link"))?;
    fs::hard_link(dir.join("1"), dir.join("other"))?;
    fs::set_permissions(dir.join("2"), fs::Permissions::from_mode(0o4711))?;
    let below = root.join(format!("layer-{}", number - 1));
    if below.exists() {
        fs::write(below.join("0"), format!("replaced by {number}"))?;
        fs::remove_file(below.join("3"))?;
        fs::rename(below.join("4"), below.join("moved"))?;
        File::options()
            .append(true)
            .open(below.join("5"))?
            .set_len(7)?;
    }
    set_times(root)
}

/// Has all that a life makes have the same times, so that two lives make the same.
fn set_times(dir: &Path) -> anyhow::Result<()> {
    let open = cowlab_sys::dir::open(dir)?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            set_times(&entry.path())?;
        } else {
            at::set_times(&open, entry.file_name(), TIME, TIME)?;
        }
    }
    Ok(at::set_times(&open, "", TIME, TIME)?)
}

fn command(line: &str) -> Step {
    Step::Command(line.split(' ').map(str::to_owned).collect())
}

/// The steps of a life; `pulled` is an image that a registry has.
pub(super) fn steps(life: Life, root: &TestRoot, pulled: Option<&str>) -> Vec<Step> {
    match life {
        Life::Short => short(root),
        Life::Snapshots => snapshots(root),
        Life::Containers => containers(root, pulled),
        Life::Whole => {
            let mut steps = snapshots(root);
            steps.extend(containers(root, pulled));
            steps
        }
    }
}

/// The same command, with nothing written to the file that is looked at: no command promises that it lasts.
fn promised(mut words: Vec<String>) -> Step {
    for word in &mut words {
        if word.starts_with("echo ") {
            "echo passing >/passing".clone_into(word);
        } else if word.ends_with(":/testfile") {
            *word = word.replace(":/testfile", ":/copied");
        }
    }
    Step::Command(words)
}

/// Each of its writes is to fail in its turn.
fn short(root: &TestRoot) -> Vec<Step> {
    let tar = root.place("tree.tar");
    vec![
        command("snapshot prepare k1"),
        Step::Fill {
            key: "k1",
            number: 1,
        },
        command("snapshot commit s1 k1"),
        command("snapshot prepare untouched s1"),
        command(&format!("snapshot apply applied -i {tar}")),
        command("snapshot rm untouched"),
        command(&format!("import {tar} one:1")),
        command("rmi one:1"),
    ]
}

fn snapshots(root: &TestRoot) -> Vec<Step> {
    let tar = root.place("tree.tar");
    let fill = |key, number| Step::Fill { key, number };
    vec![
        command("snapshot prepare k1"),
        fill("k1", 1),
        command("snapshot commit s1 k1"),
        command("snapshot prepare k2 s1"),
        fill("k2", 2),
        command("snapshot commit s2 k2"),
        command("snapshot prepare untouched s2"),
        command("snapshot view view s2"),
        command(&format!("snapshot apply applied -i {tar}")),
        command("snapshot prepare k3 s2"),
        fill("k3", 3),
        command("snapshot commit --durability full s3 k3"),
        command("snapshot rm view"),
        command("snapshot rm untouched"),
        command("snapshot rm applied"),
        command("snapshot rm s3"),
    ]
}

/// What the proof of killed commands runs, in its order, and what that leaves out.
fn containers(root: &TestRoot, pulled: Option<&str>) -> Vec<Step> {
    let verbs = 0..VERBS.len();
    let mut steps: Vec<_> = verbs
        .map(|verb| promised(root.words(&Plan::first(verb))))
        .collect();
    let tar = root.place("tree.tar");
    let more = [
        format!("import --discard-blobs {tar} lean:1"),
        // In one step: between two, the volume would get its marker and not be empty any more.
        format!("run -d --name {FLUSHER} -v seeded:/bin lean:1 /bin/sleep 100000"),
        format!("exec {FLUSHER} dd if=/bin/sh of={FLUSHED} bs=4096 count=3 conv=fsync"),
        "commit con-c made:1".to_owned(),
        "kill con-c".to_owned(),
        "rm -v con-c".to_owned(),
        "volume rm seeded".to_owned(),
        "system check --repair".to_owned(),
        "system prune -f".to_owned(),
        "rmi made:1".to_owned(),
    ];
    steps.extend(more.iter().map(|line| command(line)));
    if let Some(name) = pulled {
        steps.push(command(&format!("pull -q --tls-verify=false {name}")));
        steps.push(command(&format!("rmi {name}")));
    }
    steps
}
