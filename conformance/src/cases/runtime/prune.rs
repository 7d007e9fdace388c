//! What `prune` of containers, images and volumes removes, and what it asks and tells.

use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product};
use crate::support::program::state;

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/container-prune-removes-what-does-not-run",
        spec: "Pruning containers removes those that were never started or have ended, neither one that runs or is paused nor a volume, and tells which and how much.",
        see: &["docs.docker.com, docker container prune"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        run: Some(container_prune),
        ..super::BASE
    },
    Case {
        id: "runtime/image-prune-removes-what-nobody-names",
        spec: "Pruning images removes those without a name that no container uses, with --all those with a name too, and tells how much that was.",
        see: &["docs.docker.com, docker image prune"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        run: Some(image_prune),
        ..super::BASE
    },
    Case {
        id: "runtime/prune-asks-before-it-removes",
        spec: "A prune at a terminal asks and removes after a yes alone, and without a terminal it removes nothing unless it is forced.",
        see: &["docs.docker.com, docker volume prune, --force"],
        catalogue: &["S07"],
        impact: Impact::DataLoss,
        needs: &[Need::Program("script")],
        run: Some(prune_asks),
        ..super::BASE
    },
];

/// The number before a unit in the last line.
fn reclaimed(said: &str) -> Result<bool> {
    let last = said.lines().last().unwrap_or_default();
    let size = last.strip_prefix("Total reclaimed space: ");
    expect("the last line", "words", true, size.is_some())?;
    Ok(size != Some("0 B"))
}

fn container_prune(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let prune = ["container", "prune", "-f"];
    let write = ["sh", "-c", "echo x >/f; echo x >/data/f"];
    let ended = [
        "run", "--name", "ended", "--label", "a=1", "-v", "/data", BASE,
    ];
    product.ok(&[&ended[..], &write].concat())?;
    product.ok(&["create", "--name", "new", BASE, "true"])?;
    for name in ["running", "paused"] {
        product.ok(&["run", "-d", "--name", name, BASE, "sleep", "1000"])?;
    }
    product.ok(&["pause", "paused"])?;
    product.ok(&[&prune[..], &["--filter", "label=a=2"]].concat())?;
    product.ok(&[&prune[..], &["--filter", "until=1h"]].concat())?;
    expect("ended", "state", "exited", &state(&product, "ended")?)?;
    let ids = product.ok(&["ps", "-aq", "--no-trunc", "--filter", "label=a=1"])?;
    let said = product.ok(&[&prune[..], &["--filter", "label=a=1"]].concat())?;
    let told = format!("Deleted Containers:\n{ids}\n\n");
    expect("prune", "told", true, said.starts_with(&told))?;
    expect("prune", "reclaimed", true, reclaimed(&said)?)?;
    product.ok(&prune)?;
    expect("new", "state", "none", &state(&product, "new")?)?;
    expect("running", "state", "running", &state(&product, "running")?)?;
    expect("paused", "state", "paused", &state(&product, "paused")?)?;
    let volumes = product.ok(&["volume", "ls", "-q"])?;
    expect("volume ls", "volumes", 1, volumes.lines().count())?;
    let said = product.ok(&["volume", "prune", "-f"])?;
    let told = format!("Deleted Volumes:\n{volumes}\n\n");
    expect("volume prune", "told", true, said.starts_with(&told))?;
    expect("volume prune", "reclaimed", true, reclaimed(&said)?)?;
    let nothing = product.ok(&prune)?;
    expect("prune of nothing", "reclaimed", false, reclaimed(&nothing)?)
}

fn image_prune(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.ok(&["run", "--name", "con", BASE, "sh", "-c", "echo x >/f"])?;
    let first = product.ok(&["commit", "con", "made"])?;
    product.ok(&["commit", "con", "made"])?;
    let images = || -> Result<usize> { Ok(product.ok(&["images", "-q"])?.lines().count()) };
    expect("images", "before", 3, images()?)?;
    let said = product.ok(&["image", "prune", "-f"])?;
    expect("prune", "told", true, said.contains(&first))?;
    expect("prune", "reclaimed", true, reclaimed(&said)?)?;
    expect("images", "without a name", 2, images()?)?;
    product.ok(&["image", "prune", "-af", "--filter", "until=1h"])?;
    product.ok(&["image", "prune", "-af"])?;
    // A container uses it.
    product.says(&["images", "--format", "{{.Repository}}"], BASE)?;
    product.ok(&["rm", "con"])?;
    let said = product.ok(&["image", "prune", "--all", "--force"])?;
    expect("prune --all", "reclaimed", true, reclaimed(&said)?)?;
    product.says(&["images", "-q"], "")
}

fn prune_asks(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    product.ok(&["create", "--name", "con", BASE, "true"])?;
    product.ok(&["volume", "create", "vol"])?;
    for words in ["container prune", "image prune -a", "volume prune -a"] {
        let words: Vec<_> = words.split(' ').collect();
        product.run(&words)?.refused(1, "--force")?;
    }
    let answered = |answer: &str| -> Result<(i32, String)> {
        let script = format!(
            r#"echo {answer} | timeout 60 script -qec '"$COWLAB" container prune' /dev/null"#
        );
        let ran = product.script(&script)?;
        Ok((ran.code, ran.out))
    };
    let (code, asked) = answered("n")?;
    expect("n", "status", 1, code)?;
    let question = "WARNING! This will remove all stopped containers.";
    expect("n", "question", true, asked.contains(question))?;
    expect("con", "state", "created", &state(&product, "con")?)?;
    expect("y", "status", 0, answered("y")?.0)?;
    expect("con", "state", "none", &state(&product, "con")?)
}
