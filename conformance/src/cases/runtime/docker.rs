//! What hands and scripts that know docker ask of lists: formats, filters, labels.

use serde_json::{Value, json};

use crate::context::Result;
use crate::prelude::*;
use crate::product::{BASE, Product};

pub(in crate::cases) const CASES: &[Case] = &[
    Case {
        id: "runtime/lists-in-json-have-dockers-members",
        spec: "`--format json` of ps, images, volume ls and history prints an object a line, with docker's members, and `table` columns under docker's names.",
        see: &["docs.docker.com, docker container ls, --format"],
        catalogue: &["S18"],
        impact: Impact::AppVisible,
        run: Some(lists_in_json_have_dockers_members),
        ..super::BASE
    },
    Case {
        id: "runtime/plain-fields-of-templates",
        spec: "A template of --format prints fields, labels and `json` of them as Go does; a field that is not there is refused by its name, and so is what is no field.",
        see: &["docs.docker.com, Format command and log output"],
        catalogue: &["S18"],
        impact: Impact::AppVisible,
        run: Some(plain_fields_of_templates),
        ..super::BASE
    },
];

/// A line of a list in JSON.
fn line(product: &Product, words: &[&str]) -> Result<Value> {
    let out = product.ok(&[words, &["--format", "json"]].concat())?;
    match out.lines().next() {
        Some(line) => Ok(serde_json::from_str(line)?),
        None => Err(Difference::new(words.join(" "), "lines", "some", "none")),
    }
}

fn lists_in_json_have_dockers_members(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let create = ["create", "--name", "con", "-l", "a=b", "-v", "data:/m"];
    let id = product.ok(&[&create[..], &[BASE, "sleep", "1000"]].concat())?;
    for (words, members) in [
        (
            &["ps", "-a", "--no-trunc"][..],
            json!({"ID": id, "Image": BASE, "Command": "\"sleep 1000\"", "Names": "con", "Labels": "a=b", "State": "created",
                "Status": "Created", "Mounts": "data", "LocalVolumes": "1", "Networks": "none", "Ports": ""}),
        ),
        (&["images"], json!({"Repository": BASE, "Tag": "latest"})),
        (
            &["volume", "ls"],
            json!({"Name": "data", "Driver": "local", "Scope": "local", "Labels": ""}),
        ),
        (&["history", BASE], json!({"CreatedBy": "Imported"})),
        (
            &["system", "df"],
            json!({"Type": "Images", "TotalCount": "1", "Active": "1"}),
        ),
    ] {
        let found = line(&product, words)?;
        for (name, wanted) in members.as_object().into_iter().flatten() {
            let what = format!("{} {name}", words.join(" "));
            expect(what, "value", wanted, &found[name])?;
        }
    }
    let table = [
        "ps",
        "-a",
        "--format",
        "table {{.Names}}\\t{{.Label \"a\"}}",
    ];
    product.says(&table, "NAMES   a\ncon     b")?;
    product.says(&["ps", "--format", "table {{.Names}}"], "NAMES")?;
    let both = product.run(&["ps", "-aq", "--no-trunc", "--format", "{{.Names}}"])?;
    expect(
        "-q beside --format",
        "output",
        &format!("{id}\n"),
        &both.out,
    )?;
    product.says(&["images", "-q", "--format", "{{.Tag}}"], "latest")
}

fn plain_fields_of_templates(context: &mut Context) -> Result<()> {
    let product = Product::new(context)?;
    let create = [
        "create", "--name", "con", "-l", "a.b/c=d", "-e", "A=1", "-v", "data:/m",
    ];
    let id = product.ok(&[&create[..], &[BASE, "sleep", "1000"]].concat())?;
    for (template, wanted) in [
        ("{{.Id}} {{.State.Status}}", format!("{id} created")),
        ("{{index .Config.Labels \"a.b/c\"}}", "d".to_owned()),
        ("{{json .Config.Labels}}", "{\"a.b/c\":\"d\"}".to_owned()),
        ("{{.Args}}{{.State.ExitCode}}", "[1000]0".to_owned()),
        ("{{index .Mounts 0 \"Destination\"}}", "/m".to_owned()),
    ] {
        product.says(&["inspect", "--format", template, "con"], &wanted)?;
        product.says(&["container", "inspect", "-f", template, "con"], &wanted)?;
    }
    let place = product.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", "data"])?;
    product.says(&["inspect", "-f", "{{.Mountpoint}}", "data"], &place)?;
    let image = product.ok(&["image", "inspect", "-f", "{{.Id}}", BASE])?;
    product.says(&["images", "--no-trunc", "--format", "{{.ID}}"], &image)?;
    let driver = context.entry().name;
    product.says(&["info", "-f", "{{.Driver}}"], driver)?;
    product.says(
        &["ps", "-a", "--format", "{{.Names}}\\t{{.State}}"],
        "con\tcreated",
    )?;
    let refused = |words: &[&str], word: &str| product.run(words)?.refused(2, word);
    refused(&["inspect", "-f", "{{.Stat}}", "con"], "State")?;
    refused(&["ps", "--format", "{{.Id}}"], "ID, Image")?;
    for template in [
        "{{range .Mounts}}{{.}}{{end}}",
        "{{.Id | json}}",
        "{{join .Args \"\"}}",
    ] {
        refused(
            &["inspect", "-f", template, "con"],
            "is not supported in a template",
        )?;
    }
    Ok(())
}
