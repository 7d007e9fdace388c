//! Bars of a ratio on a logarithmic axis that starts at 1: the length is what is paid beyond the ideal.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, Caption, Drawn, Look, Paint, write};
use crate::report::ReportError;
use crate::units;

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    /// What it stands for.
    pub(crate) label: String,
    /// How it looks.
    pub(crate) look: Look,
    /// The ratio; a ratio of 0 has no bar.
    pub(crate) value: f64,
}

/// Bars under one heading.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BarGroup {
    /// The heading.
    pub(crate) heading: String,
    /// The bars.
    pub(crate) bars: Vec<Bar>,
}

/// A plot of bars.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bars {
    /// What it is called.
    pub(crate) caption: Caption,
    /// The largest value of plots that share the axis.
    pub(crate) largest: f64,
    /// The bars.
    pub(crate) groups: Vec<BarGroup>,
}

const WIDTH: i32 = 480;
const LABELS: i32 = 186;
const VALUES: i32 = 100;
const ROW: i32 = 21;
const HEADING: i32 = 30;
const AXIS: i32 = 26;
const TEXT: u32 = 14;

impl Bars {
    /// Draws it.
    pub(crate) fn svg(&self) -> Result<String, ReportError> {
        self.caption.svg(|svg| self.draw(svg))
    }

    fn height(&self) -> i32 {
        let rows: usize = self.groups.iter().map(|group| group.bars.len()).sum();
        let count = |number: usize| i32::try_from(number).unwrap_or(0);
        AXIS + count(self.groups.len()) * HEADING + count(rows) * ROW + 6
    }

    /// Length of a bar in pixels.
    fn length(&self, value: f64) -> i32 {
        let room = WIDTH - LABELS - VALUES;
        let share = value.max(1.0).log10() / self.decades();
        // The room is a few hundred pixels, which is how many steps a bar can have.
        (0..=room)
            .find(|pixels| f64::from(*pixels) >= share * f64::from(room))
            .unwrap_or(room)
    }

    /// Powers of ten from 1 to the largest value, at least one.
    fn decades(&self) -> f64 {
        self.largest.max(10.0).log10()
    }

    fn draw(&self, svg: &mut String) -> Drawn {
        let height = self.height();
        let size = (u32::try_from(WIDTH)?, u32::try_from(height)?);
        let root = SVGBackend::with_string(svg, size).into_drawing_area();
        self.draw_axis(&root, height)?;
        let mut y = AXIS;
        for group in &self.groups {
            text(
                &root,
                &group.heading,
                (0, y + HEADING - 12),
                Paint::Ink,
                HPos::Left,
            )?;
            y += HEADING;
            for bar in &group.bars {
                self.draw_bar(&root, bar, y)?;
                y += ROW;
            }
        }
        root.present()?;
        Ok(())
    }

    fn draw_axis(&self, root: &Area<'_>, height: i32) -> Drawn {
        let mut power = 0_i32;
        let step = if self.decades() > 5.0 { 2 } else { 1 };
        while f64::from(power) <= self.decades() {
            let value = 10_f64.powi(power);
            let x = LABELS + self.length(value);
            let paint = if power == 0 { Paint::Ink } else { Paint::Grid };
            root.draw(&PathElement::new(
                [(x, AXIS - 4), (x, height - 4)],
                paint.color(),
            ))?;
            let label = power_label(power);
            text(root, &label, (x, AXIS - 15), Paint::Muted, HPos::Center)?;
            power += step;
        }
        Ok(())
    }

    fn draw_bar(&self, root: &Area<'_>, bar: &Bar, y: i32) -> Drawn {
        let middle = y + ROW / 2;
        text(
            root,
            &bar.label,
            (LABELS - 8, middle),
            Paint::Muted,
            HPos::Right,
        )?;
        let length = self.length(bar.value);
        let corners = [(LABELS, y + 3), (LABELS + length, y + ROW - 3)];
        if length > 0 {
            let fill = Paint::Look(bar.look).color().filled();
            root.draw(&Rectangle::new(corners, fill))?;
        }
        let value = units::times(bar.value);
        text(
            root,
            &value,
            (LABELS + length + 6, middle),
            Paint::Ink,
            HPos::Left,
        )
    }
}

/// A power of ten with a sign, small ones written out.
fn power_label(power: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    if power < 4 {
        return units::times(10_f64.powi(power));
    }
    let raised: String = power
        .to_string()
        .chars()
        .filter_map(|digit| digit.to_digit(10))
        .filter_map(|digit| DIGITS.get(usize::try_from(digit).ok()?))
        .collect();
    format!("10{raised}×")
}

fn text(root: &Area<'_>, text: &str, at: (i32, i32), paint: Paint, horizontal: HPos) -> Drawn {
    let side = Pos::new(horizontal, VPos::Center);
    write(root, text, at, (paint, TEXT), side)
}
