//! `cowlab system df|check|prune` and `cowlab info`.

use std::io::{self, Write};

use cowlab_runtime::Root;
use cowlab_runtime::image::short;
use cowlab_runtime::system::{Health, LayerFinding, PruneOptions, Share};
use serde_json::{Value, json};

use crate::filter::{self, Filter};
use crate::format::{Column, ListFormat, ObjectFormat, Row};
use crate::root::RootArgs;
use crate::{exit, image, prune, table};

/// Manages the root: disk usage, checks, pruning.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Command {
    /// Show what images, snapshots and blobs take on disk, measured, each layer once.
    Df(DfArgs),
    /// Check records against what is on disk, and blobs and layers against their digests; exit 1 for a finding.
    Check(CheckArgs),
    /// Remove images without names, and layers and blobs that no image has.
    Prune(PruneArgs),
    /// Show the root, its driver and what it keeps.
    Info(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct DfArgs {
    #[command(flatten)]
    format: ListFormat,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: RootArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    format: ObjectFormat,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: RootArgs,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Unpack again the layers that changed.
    #[arg(long)]
    repair: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: RootArgs,
}

#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Images with names too, unless containers use them.
    #[arg(long, short)]
    all: bool,
    /// Only images that fulfil a condition: label, label!, until.
    #[arg(long, value_name = "NAME=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,
    /// Accepted for docker's scripts: no confirmation is ever asked for.
    #[arg(long, short, hide = true)]
    force: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    root: RootArgs,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    match &args.command {
        Command::Df(args) => df(args),
        Command::Check(args) => check(args),
        Command::Prune(args) => prune(args),
        Command::Info(args) => info(args),
    }
}

/// The members of a share for `--format`.
const SHARE: [Column; 5] = [
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

fn formatted((name, share): (&str, &Share)) -> Row {
    Row {
        fields: json!({
            "Type": name,
            "TotalCount": share.total.to_string(),
            "Active": share.active.to_string(),
            "Size": table::size(share.size.bytes.0),
            "Reclaimable": table::size(share.reclaimable.bytes.0),
        }),
        labels: None,
    }
}

fn df(args: &DfArgs) -> anyhow::Result<u8> {
    let used = args.root.open()?.disk_use()?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_value(used)?)?;
        return Ok(exit::OK);
    }
    let shares = [
        ("Images", &used.images),
        ("Snapshots", &used.snapshots),
        ("Blobs", &used.blobs),
        ("Recipes", &used.recipes),
        ("Volumes", &used.volumes),
        ("Build Cache", &used.build_cache),
    ];
    let format = &args.format.format;
    if !format.is_default() {
        format.list(&mut out, &SHARE, &shares.map(formatted))?;
        return Ok(exit::OK);
    }
    let row = |(name, share): (&str, &Share)| {
        vec![
            name.to_owned(),
            share.total.to_string(),
            share.active.to_string(),
            table::size(share.size.bytes.0),
            share.size.inodes.to_string(),
            table::size(share.reclaimable.bytes.0),
        ]
    };
    let rows = shares.map(row);
    let header = ["TYPE", "TOTAL", "ACTIVE", "SIZE", "INODES", "RECLAIMABLE"];
    table::write(&mut out, &header, &rows)?;
    Ok(exit::OK)
}

fn check(args: &CheckArgs) -> anyhow::Result<u8> {
    let health = args.root.open()?.check(args.repair)?;
    let mut out = io::stdout().lock();
    if args.json {
        let document = json!({
            "sound": health.is_sound(),
            "snapshots": health.store.snapshots,
            "missing_snapshots": health.store.missing,
            "quarantined": health.store.quarantined.iter().map(|(_, path)| path).collect::<Vec<_>>(),
            "doubtful_snapshots": health.store.doubtful,
            "store_database": health.store.database,
            "graph_database": health.graph,
            "damaged_blobs": health.damaged,
            "absent_blobs": health.missing,
            "compared_layers": health.compared,
            "layers_without_blobs": health.recipes,
            "layers": health.layers,
        });
        writeln!(out, "{document}")?;
    } else {
        tell(&mut out, &health)?;
    }
    Ok(match health.is_sound() {
        true => exit::OK,
        false => exit::FINDING,
    })
}

fn tell(out: &mut impl Write, health: &Health) -> io::Result<()> {
    let store = &health.store;
    for name in &store.missing {
        writeln!(out, "snapshot {name}: its data is not there")?;
    }
    for (id, path) in &store.quarantined {
        writeln!(
            out,
            "object {id} that no snapshot owns: moved to {}",
            path.display()
        )?;
    }
    for name in &store.doubtful {
        writeln!(
            out,
            "snapshot {name}: committed without a flush before the last reboot"
        )?;
    }
    if let Some(stuck) = &store.stuck {
        writeln!(out, "the driver takes no changes: {stuck}")?;
    }
    for text in store.database.iter().chain(&health.graph) {
        writeln!(out, "database: {text}")?;
    }
    for blob in &health.damaged {
        writeln!(out, "blob {blob}: its content changed")?;
    }
    for finding in &health.layers {
        tell_layer(out, finding)?;
    }
    let sound = match health.is_sound() {
        true => "sound",
        false => "not sound",
    };
    writeln!(
        out,
        "{sound}: {} snapshots, {} layers compared with their blobs, {} with archives made again",
        store.snapshots,
        health.compared - health.recipes,
        health.recipes
    )
}

fn tell_layer(out: &mut impl Write, finding: &LayerFinding) -> io::Result<()> {
    let id = short(&finding.chain_id);
    for change in &finding.changes {
        let kind = match change.kind {
            cowlab_layer::ChangeKind::Added => "added",
            cowlab_layer::ChangeKind::Modified => "modified",
            cowlab_layer::ChangeKind::Deleted => "deleted",
        };
        let path = change.path.display().to_string();
        writeln!(out, "layer {id}: {kind} {}", path.escape_debug())?;
    }
    if let Some(reason) = &finding.unknown {
        writeln!(out, "layer {id}: cannot be compared: {reason}")?;
    }
    match (&finding.kept, finding.repaired) {
        (_, true) => writeln!(out, "layer {id}: unpacked anew"),
        _ if finding.lost => writeln!(
            out,
            "layer {id}: cannot be repaired: its blob was discarded, and with it this content; remove its images and pull or load them again"
        ),
        (Some(reason), _) => writeln!(out, "layer {id}: cannot be repaired: {reason}"),
        (None, false) => writeln!(
            out,
            "layer {id}: `cowlab system check --repair` unpacks it anew"
        ),
    }
}

fn prune(args: &PruneArgs) -> anyhow::Result<u8> {
    let root = args.root.open()?;
    let wanted = image::pruned(&root, &args.filter)?;
    let pruned = root.prune(PruneOptions { all: args.all }, &wanted)?;
    if args.json {
        writeln!(io::stdout(), "{}", serde_json::to_value(&pruned)?)?;
        return Ok(exit::OK);
    }
    image::tell_removed(&pruned.removed)?;
    if pruned.unfinished > 0 {
        let size = table::size(pruned.unfinished);
        writeln!(io::stdout(), "Deleted unfinished downloads: {size}")?;
    }
    prune::tell_reclaimed(&mut io::stdout(), pruned.reclaimed)?;
    Ok(exit::OK)
}

/// Runs `cowlab info`.
///
/// # Errors
///
/// As [`Root::open`], and when stdout is closed.
pub(crate) fn info(args: &ShowArgs) -> anyhow::Result<u8> {
    let root = args.root.open()?;
    let facts = facts(&root)?;
    let mut out = io::stdout().lock();
    let format = &args.format.format;
    if !format.is_default() {
        format.document(&mut out, &as_dockers(&facts))?;
        return Ok(exit::OK);
    }
    if args.json {
        let object: serde_json::Map<_, _> = facts
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        writeln!(out, "{}", serde_json::Value::Object(object))?;
        return Ok(exit::OK);
    }
    for (name, value) in facts {
        match value.as_str() {
            Some(text) => writeln!(out, "{name}: {text}")?,
            None => writeln!(out, "{name}: {value}")?,
        }
    }
    Ok(exit::OK)
}

/// The facts under docker's names.
fn as_dockers(facts: &[(&'static str, Value)]) -> Value {
    let fact = |wanted: &str| {
        let found = facts.iter().find(|(name, _)| *name == wanted);
        found.map_or(Value::Null, |(_, value)| value.clone())
    };
    let security = match fact("seccomp").as_bool() {
        Some(true) => vec!["name=seccomp,profile=builtin"],
        _ => Vec::new(),
    };
    json!({
        "ServerVersion": fact("version"),
        "DockerRootDir": fact("root"),
        "Driver": fact("driver"),
        "DriverStatus": [["Variant", fact("variant")], ["Root", fact("driver_root")]],
        "Images": fact("images"),
        "Containers": fact("containers"),
        "KernelVersion": fact("kernel"),
        "OSType": std::env::consts::OS,
        "Architecture": std::env::consts::ARCH,
        "SecurityOptions": security,
        "Warnings": fact("warnings"),
    })
}

fn facts(root: &Root) -> anyhow::Result<Vec<(&'static str, serde_json::Value)>> {
    let identity = root.store().identity();
    let info = root.store().driver().info();
    let warnings: Vec<String> = match root.store().health() {
        Ok(warnings) => warnings
            .iter()
            .map(|warning| format!("{warning:?}"))
            .collect(),
        Err(error) => vec![error.to_string()],
    };
    let space = cowlab_sys::stat::statfs(root.dir())?;
    Ok(vec![
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("root", json!(root.dir())),
        ("driver", json!(identity.driver)),
        ("variant", json!(identity.variant)),
        ("driver_root", json!(identity.driver_root)),
        ("settings", json!(identity.settings)),
        ("depth_limit", json!(info.depth_limit)),
        ("copy_up", json!(info.copy_up)),
        ("flush", json!(info.flush)),
        ("store", json!(identity.uuid)),
        ("images", json!(root.graph().images()?.len())),
        ("layers", json!(root.graph().layers()?.len())),
        ("containers", json!(root.users(None)?.len())),
        ("blobs", json!(root.blobs().list()?.len())),
        ("available", json!(table::size(space.available_bytes()))),
        ("kernel", json!(cowlab_sys::process::kernel_release())),
        (
            "seccomp",
            json!(cowlab_runtime::container::seccomp::is_supported()),
        ),
        ("warnings", json!(warnings)),
    ])
}
