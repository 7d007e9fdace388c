//! `snapshot diff` and `snapshot apply`: layers out and in.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use cowlab_layer::{Change, ChangeKind, DiffId, DiffOptions, Digest, Duplicates, Written};
use cowlab_snapshots::{ApplyOptions, Store};
use serde_json::json;

use super::show::Printer;
use super::{DurabilityArg, LabelArgs};

#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// A key or a name: what differs from its parent is told, or where there is a second one, what differs there.
    snapshot: String,
    /// The key or name of any other snapshot: what differs there from the first.
    other: Option<String>,
    /// Write the layer, an uncompressed tar, to this file; `-` is stdout.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write holes of sparse files as zeros: not every tool reads sparse members of a tar.
    #[arg(long, requires = "output")]
    no_sparse: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ApplyArgs {
    /// The name of the committed snapshot to make.
    name: String,
    /// The committed snapshot that the layer is on; none for a base layer.
    parent: Option<String>,
    /// The layer's file; `-` is stdin.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// The digest that the layer must have as it comes, such as sha256:...
    #[arg(long, value_name = "DIGEST")]
    digest: Option<Digest>,
    /// The digest that the uncompressed tar must have.
    #[arg(long, value_name = "DIGEST")]
    diff_id: Option<DiffId>,
    /// The most bytes that the uncompressed tar may have.
    #[arg(long, value_name = "BYTES")]
    size_limit: Option<cowlab_driver::Bytes>,
    /// Refuse a layer with a name twice, as the image specification has it, instead of taking the last entry.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    labels: LabelArgs,
    #[command(flatten)]
    durability: DurabilityArg,
}

impl DiffArgs {
    fn changes(&self, store: &Store) -> cowlab_snapshots::Result<Vec<Change>> {
        match &self.other {
            Some(other) => store.changes_since(&self.snapshot, other),
            None => store.changes(&self.snapshot),
        }
    }

    fn write(
        &self,
        store: &Store,
        sink: &mut dyn Write,
        options: &DiffOptions,
    ) -> cowlab_snapshots::Result<Written> {
        match &self.other {
            Some(other) => store.diff_since(&self.snapshot, other, sink, options),
            None => store.diff(&self.snapshot, sink, options),
        }
    }
}

/// Lists the changes of a snapshot, or writes its layer.
pub(super) fn diff(store: &Store, args: &DiffArgs, out: &Printer) -> anyhow::Result<()> {
    let Some(output) = &args.output else {
        return changes(&args.changes(store)?, out);
    };
    let options = DiffOptions {
        sparse: !args.no_sparse,
        ..DiffOptions::default()
    };
    if output == Path::new("-") {
        let mut sink = std::io::stdout().lock();
        let written = args.write(store, &mut sink, &options)?;
        cowlab_sys::io("write", output, sink.flush())?;
        // The tar is the result; what is known about it goes beside it.
        writeln!(std::io::stderr(), "{}", summary(&written))?;
        return Ok(());
    }
    let written = to_file(store, args, output, &options)?;
    let facts = json!({
        "diff_id": written.diff_id.to_string(),
        "size": written.size,
        "entries": written.entries,
        "file": output,
    });
    out.line(&facts, &summary(&written))
}

/// Writes a layer under a name that appears when the layer is whole.
fn to_file(
    store: &Store,
    args: &DiffArgs,
    output: &Path,
    options: &DiffOptions,
) -> anyhow::Result<Written> {
    let mut partial = output.to_owned().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let written = (|| {
        let file = cowlab_sys::io("open", &partial, File::create(&partial))?;
        let mut sink = BufWriter::with_capacity(1 << 20, file);
        let written = args.write(store, &mut sink, options)?;
        cowlab_sys::io("write", &partial, sink.flush())?;
        cowlab_sys::io("fsync", &partial, sink.get_ref().sync_all())?;
        cowlab_sys::io("rename", output, std::fs::rename(&partial, output))?;
        Ok(written)
    })();
    if written.is_err()
        && let Err(error) = std::fs::remove_file(&partial)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %partial.display(), %error, "left behind");
    }
    written
}

fn summary(written: &Written) -> String {
    let Written {
        diff_id,
        size,
        entries,
    } = written;
    format!("{diff_id} {size} bytes {entries} entries")
}

fn changes(changes: &[Change], out: &Printer) -> anyhow::Result<()> {
    if out.json {
        return out.json(&serde_json::to_value(changes)?);
    }
    let mut stdout = std::io::stdout().lock();
    for change in changes {
        let letter = letter(change.kind);
        writeln!(stdout, "{letter} {}", change.path.display())?;
    }
    Ok(())
}

/// The letter that docker has for a change.
const fn letter(kind: ChangeKind) -> char {
    match kind {
        ChangeKind::Added => 'A',
        ChangeKind::Modified => 'C',
        ChangeKind::Deleted => 'D',
    }
}

/// Makes a committed snapshot of a layer.
pub(super) fn apply(store: &Store, args: &ApplyArgs, out: &Printer) -> anyhow::Result<()> {
    let options = ApplyOptions {
        digest: args.digest,
        diff_id: args.diff_id,
        size_limit: args.size_limit.map(|limit| limit.0),
        duplicates: match args.strict {
            true => Duplicates::Refused,
            false => Duplicates::LastWins,
        },
        labels: args.labels.labels(),
        durability: (&args.durability).into(),
    };
    let mut source: Box<dyn Read + Send> = if args.input == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let file = File::open(&args.input);
        Box::new(cowlab_sys::io("open", &args.input, file)?)
    };
    let applied = store.apply(&args.name, args.parent.as_deref(), &mut source, &options)?;
    let facts = json!({
        "snapshot": applied.info,
        "digest": applied.digest.to_string(),
        "diff_id": applied.diff_id.to_string(),
        "size": applied.size,
        "entries": applied.counts.entries,
        "whiteouts": applied.counts.whiteouts,
        "bytes": applied.counts.bytes,
        "repeated": applied.counts.repeated,
        "skipped": applied.counts.skipped,
        "dropped_xattrs": applied.counts.dropped_xattrs,
    });
    let text = format!("{} {}", args.name, applied.diff_id);
    out.line(&facts, &text)
}
