//! `cowlab version`.

use std::io::Write;

use cowlab_runtime::{container, image};
use serde_json::json;

use crate::exit;
use crate::format::ObjectFormat;

/// Print the version of the program, of the kernel and of the specifications, and the drivers. There is no server.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    format: ObjectFormat,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<u8> {
    let drivers: Vec<_> = cowlab_drivers::all()
        .iter()
        .map(|entry| entry.name)
        .collect();
    let commit = cowlab_engine::fingerprint::commit();
    let commit = match option_env!("COWLAB_COMMIT") {
        Some(built) if commit.is_empty() => built.to_owned(),
        _ => commit,
    };
    let version = env!("CARGO_PKG_VERSION");
    let kernel = cowlab_sys::process::kernel_release();
    let (os, machine) = (std::env::consts::OS, image::architecture());
    let mut out = std::io::stdout().lock();
    let format = &args.format.format;
    if args.json || !format.is_default() {
        let document = json!({
            "Client": {
                "Platform": {"Name": "cowlab"},
                "Version": version,
                "GitCommit": commit,
                "Os": os,
                "Arch": machine,
                "KernelVersion": kernel,
                "Drivers": drivers,
                "RuntimeSpec": container::SPECIFICATION,
                "ImageSpec": image::SPECIFICATION,
            },
            "Server": null,
        });
        match args.json {
            true => writeln!(out, "{document}")?,
            false => format.document(&mut out, &document)?,
        }
        return Ok(exit::OK);
    }
    writeln!(out, "Client: cowlab")?;
    for (name, value) in [
        ("Version", version),
        ("Git commit", &commit),
        ("OS/Arch", &format!("{os}/{machine}")),
        ("Kernel", &kernel),
        ("Drivers", &drivers.join(" ")),
        ("OCI runtime spec", container::SPECIFICATION),
        ("OCI image spec", image::SPECIFICATION),
    ] {
        if !value.is_empty() {
            writeln!(out, " {:<18} {value}", format!("{name}:"))?;
        }
    }
    Ok(exit::OK)
}
