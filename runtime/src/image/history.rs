//! The history of an image: every step that made it, with the layer that it made, if it made one.

use super::Image;

/// What is said of a layer that the history does not tell of.
pub(super) const UNTOLD: &str = "not in the history";

/// A step of an image's history.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Line {
    /// When, as the image says.
    pub created: Option<String>,
    /// The command.
    pub created_by: Option<String>,
    /// A comment.
    pub comment: Option<String>,
    /// The chain id of the layer that it made; `None` of a step that changed no file.
    pub layer: Option<String>,
    /// The size of that layer's archive in bytes.
    pub size: u64,
}

impl Image {
    /// Tells the image's history, newest step first. Layers that the history does not tell of come first, as the
    /// newest, for nothing is known of them but that they are there.
    #[must_use]
    pub fn history(&self) -> Vec<Line> {
        let mut layers = self.layers.iter();
        let mut lines = Vec::new();
        for step in self.config.history().iter().flatten() {
            let layer = match step.empty_layer().unwrap_or(false) {
                true => None,
                false => layers.next(),
            };
            lines.push(Line {
                created: step.created().as_ref().map(ToString::to_string),
                created_by: step.created_by().clone(),
                comment: step.comment().clone(),
                layer: layer.map(|layer| layer.chain_id.clone()),
                size: layer.map_or(0, |layer| layer.size),
            });
        }
        lines.extend(layers.map(|layer| Line {
            created: None,
            created_by: None,
            comment: Some(UNTOLD.to_owned()),
            layer: Some(layer.chain_id.clone()),
            size: layer.size,
        }));
        lines.reverse();
        lines
    }
}
