//! Plots as inline SVG, drawn by plotters.
//!
//! plotters knows colors, not style sheets. Each color drawn here is therefore a code ([`Paint`]) that [`markup`] turns
//! into classes afterwards, so that the page's style sheet decides: light or dark, and dashes that plotters has not.

mod bars;
mod curves;
mod markup;

use std::collections::BTreeSet;

use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, IntoFont, SVGBackend, Text};
use plotters::style::RGBColor;
use plotters::style::text_anchor::Pos;

use crate::report::ReportError;
use crate::result::Column;

pub(crate) use bars::{Bar, BarGroup, Bars};
pub(crate) use curves::{Axis, Curve, Curves, Point};

/// What a stroke or a fill stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Text and axes.
    Ink,
    /// Less important text.
    Muted,
    /// Grid lines.
    Grid,
    /// Fine grid lines.
    FineGrid,
    /// A column's own look.
    Look(Look),
}

impl Paint {
    /// The code that stands for it: two fixed bytes and a number.
    fn color(self) -> RGBColor {
        let number = match self {
            Self::Ink => 240,
            Self::Muted => 241,
            Self::Grid => 242,
            Self::FineGrid => 243,
            Self::Look(look) => look.hue * Look::PATTERNS + look.pattern,
        };
        RGBColor(markup::CODE.0, markup::CODE.1, number)
    }
}

/// How a column is told apart: a hue for the driver with its variant, a dash pattern and a marker for the backing. So
/// no two columns differ by color alone, and what they share shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// Number of the hue in the style sheet.
    pub(crate) hue: u8,
    /// Number of the dash pattern and of the marker.
    pub(crate) pattern: u8,
}

impl Look {
    /// Hues in the style sheet for drivers.
    pub(crate) const HUES: u8 = 8;
    /// The hue of the plain backing file system, which is no driver.
    pub(crate) const FLOOR: u8 = 8;
    /// Dash patterns in the style sheet.
    pub(crate) const PATTERNS: u8 = 6;
}

/// The looks of all columns of a report; a column looks the same in every plot.
#[derive(Debug, Clone)]
pub(crate) struct Looks {
    drivers: Vec<String>,
}

/// Backings in the order of their patterns; all others share the last pattern.
const BACKINGS: [&str; 5] = ["ext4", "xfs", "btrfs", "xfs-noreflink", "tmpfs"];

impl Looks {
    /// Gives every column a look.
    pub(crate) fn new(columns: impl Iterator<Item = Column>) -> Self {
        let drivers: BTreeSet<String> = columns.map(|column| column.driver_name()).collect();
        Self {
            drivers: drivers.into_iter().collect(),
        }
    }

    /// The look of a column.
    pub(crate) fn of(&self, column: &Column) -> Look {
        let name = column.driver_name();
        let hue = position(&self.drivers, |driver| *driver == name) % usize::from(Look::HUES);
        Look {
            hue: u8::try_from(hue).unwrap_or_default(),
            ..Self::floor(&column.backing)
        }
    }

    /// The look of a plain backing file system.
    pub(crate) fn floor(backing: &str) -> Look {
        let pattern = position(&BACKINGS, |known| *known == backing);
        Look {
            hue: Look::FLOOR,
            pattern: u8::try_from(pattern).unwrap_or_default(),
        }
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// What a plot is called.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Caption {
    /// Id of the markup, unique on the page.
    pub(crate) id: String,
    /// Title, read by screen readers.
    pub(crate) title: String,
    /// What it shows, in words.
    pub(crate) description: String,
}

impl Caption {
    /// The markup of what `draw` writes.
    fn svg(&self, draw: impl FnOnce(&mut String) -> Drawn) -> Result<String, ReportError> {
        let mut svg = String::new();
        draw(&mut svg).map_err(|error| ReportError::Plot {
            plot: self.title.clone(),
            reason: error.to_string(),
        })?;
        let Self {
            id,
            title,
            description,
        } = self;
        Ok(markup::finish(&svg, id, title, description))
    }
}

/// Writes a text of this height beside a point.
fn write(
    root: &Area<'_>,
    text: &str,
    at: (i32, i32),
    (paint, height): (Paint, u32),
    side: Pos,
) -> Drawn {
    let style = ("sans-serif", height)
        .into_font()
        .color(&paint.color())
        .pos(side);
    root.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

/// Position of the first match, or the length.
fn position<T>(list: &[T], matches: impl Fn(&T) -> bool) -> usize {
    list.iter().position(matches).unwrap_or(list.len())
}

/// Marks a value range on a logarithmic axis: every power of ten, and 2 and 5 times it where there are few.
fn ticks(low: f64, high: f64) -> Vec<(f64, bool)> {
    let few = high - low < 2.2;
    let mut ticks = Vec::new();
    let mut power = low.floor();
    while power <= high {
        for factor in [1.0_f64, 2.0, 5.0] {
            let at = power + factor.log10();
            if (low - 1e-9..=high + 1e-9).contains(&at) {
                ticks.push((at, factor == 1.0 || few));
            }
        }
        power += 1.0;
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_share_a_hue_by_driver_and_a_pattern_by_backing() {
        let columns = [
            Column::new("overlay2", "ext4"),
            Column::new("overlay2", "xfs"),
            Column::new("vfs", "ext4"),
            Column::new("btrfs", "bcachefs"),
        ];
        let looks = Looks::new(columns.iter().cloned());
        let look = |index: usize| looks.of(&columns[index]);
        assert_eq!(look(0).hue, look(1).hue);
        assert_eq!(look(0).pattern, look(2).pattern);
        assert_ne!(look(0).hue, look(2).hue);
        assert_eq!(look(3).pattern, 5);
    }

    #[test]
    fn few_decades_get_more_ticks() {
        let labelled = |low, high| {
            ticks(low, high)
                .into_iter()
                .filter(|(_, labelled)| *labelled)
                .count()
        };
        assert_eq!(labelled(3.0, 4.0), 4);
        assert_eq!(labelled(0.0, 6.0), 7);
    }
}
