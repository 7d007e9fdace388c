//! What an ordinary user has of containers.

use cowlab_sys::mountinfo;

use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product};
use crate::support::program::closed_device;

pub(in crate::cases) const CASES: &[Case] = &[Case {
    id: "runtime/an-ordinary-user-runs",
    spec: "An ordinary user imports an image, runs, changes, commits and removes containers, and leaves no mount behind; a driver \
           that needs the host's root, or a device that is closed, says so.",
    see: &["user_namespaces(7)", "subuid(5)", "newuidmap(1)"],
    catalogue: &["S05", "J04", "N18"],
    impact: Impact::AppVisible,
    needs: &[Need::OrdinaryUsers],
    run: Some(an_ordinary_user_runs),
    ..super::BASE
}];

fn an_ordinary_user_runs(context: &mut Context) -> Result<()> {
    let before = mountinfo::read_self()?.len();
    let product = Product::of_an_ordinary_user(context)?;
    if context.entry().rootless.is_none() {
        return product.run(&["info"])?.refused(69, "is missing");
    }
    product.import_base()?;
    if let Some(device) = closed_device(context.entry()) {
        return product
            .run(&["run", "--rm", BASE, "true"])?
            .refused(125, device);
    }
    let run = |flags: &[&str], script: &str| {
        product.ok(&[&["run", "--rm"], flags, &[BASE, "sh", "-c", script]].concat())
    };
    expect("id -u", "user", "0".to_owned(), run(&[], "id -u")?)?;
    let groups = run(&["-u", "7:8"], "id -u; id -G")?;
    expect("id -u; id -G", "user", "7\n8".to_owned(), groups)?;
    let map = run(&[], "cat /proc/self/uid_map")?;
    let outside = map.split_whitespace().nth(1).unwrap_or_default();
    let own = product.user().unwrap_or_default().to_string();
    expect("root", "outside", own, outside.to_owned())?;
    // A second command finds what the first one started, though each begins outside.
    product.ok(&["run", "-d", "--name", "one", BASE, "sleep", "300"])?;
    product.ok(&["exec", "one", "sh", "-c", "echo x >/made; chown 7:8 /made"])?;
    product.says(&["diff", "one"], "A /made")?;
    // No cgroup is delegated to the user of this suite.
    let paused = product.run(&["pause", "one"])?;
    paused.refused(1, "an ordinary user's has one only where")?;
    product.ok(&["commit", "--pause=false", "one", "two"])?;
    product.ok(&["stop", "--time", "1", "one"])?;
    product.ok(&["start", "one"])?;
    product.says(&["exec", "one", "cat", "/made"], "x")?;
    product.ok(&["rm", "-f", "one"])?;
    let made = ["run", "--rm", "two", "stat", "-c", "%u:%g", "/made"];
    product.says(&made, "7:8")?;
    product.says(&["ps", "-aq"], "")?;
    product.ok(&["system", "check"])?;
    let after = mountinfo::read_self()?.len();
    expect("mounts", "of the host", before, after)
}
