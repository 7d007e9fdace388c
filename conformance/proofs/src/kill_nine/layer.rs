//! Layers that can be told whole: every file follows from the layer's name.

use std::fs;
use std::path::Path;

use cowlab_layer::ArchiveWriter;
use cowlab_random::Random;

/// Files in a layer; enough that an apply or a copy lasts a while.
pub(super) const FILES: u64 = 96;

/// The content of a file of a layer.
pub(super) fn content(layer: &str, file: u64) -> Vec<u8> {
    let seed = layer.bytes().fold(file, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(byte.into())
    });
    let mut random = Random::new(seed);
    let mut content = vec![0; 1 + random.below(3000)];
    random.fill(&mut content);
    content
}

/// The directory that a layer's files are in.
pub(super) fn place_of(layer: &str) -> String {
    layer.replace('/', "_")
}

/// Writes a layer's files.
pub(super) fn write_layer(root: &Path, layer: &str) -> anyhow::Result<()> {
    let dir = root.join(place_of(layer));
    fs::create_dir(&dir)?;
    for file in 0..FILES {
        fs::write(dir.join(file.to_string()), content(layer, file))?;
    }
    Ok(())
}

/// Makes the archive of a layer.
pub(super) fn archive_of(layer: &str) -> anyhow::Result<Vec<u8>> {
    let mut archive = ArchiveWriter::new(Vec::new());
    let dir = place_of(layer);
    archive.directory(&dir)?;
    for file in 0..FILES {
        let content = content(layer, file);
        let name = format!("{dir}/{file}");
        archive.file(&name, content.len() as u64, &mut content.as_slice())?;
    }
    Ok(archive.finish()?)
}
