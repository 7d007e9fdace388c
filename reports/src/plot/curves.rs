//! Medians with their intervals against a size or a depth, both axes logarithmic.
//!
//! A logarithm has no zero. A size of zero stands left of a break in the axis, with a tick of its own and no line to
//! the other points.

use plotters::chart::ChartContext;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, Caption, Drawn, Look, Paint, ticks, write};
use crate::report::ReportError;
use crate::units;

/// One median.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// Size or depth.
    pub(crate) at: u64,
    /// The median.
    pub(crate) value: f64,
    /// Its interval, a thick line.
    pub(crate) interval: Option<(f64, f64)>,
    /// The range of the samples, a thin line, for a median without an interval.
    pub(crate) range: Option<(f64, f64)>,
}

/// The medians of one column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curve {
    /// How it looks.
    pub(crate) look: Look,
    /// The medians, by size or depth.
    pub(crate) points: Vec<Point>,
    /// Place among the columns of one size: they stand side by side, so that equal medians do not hide each other.
    pub(crate) shift: i32,
}

/// What the x axis shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Axis {
    /// Bytes.
    Size,
    /// A count, with its name.
    Count,
}

/// A plot of several columns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curves {
    /// What it is called.
    pub(crate) caption: Caption,
    /// Kind of the x axis.
    pub(crate) axis: Axis,
    /// Name of the x axis.
    pub(crate) axis_name: String,
    /// Every x value of plots that share the axis.
    pub(crate) values: Vec<u64>,
    /// Least and greatest y value of plots that share the axis, in nanoseconds.
    pub(crate) range: (f64, f64),
    /// The columns.
    pub(crate) curves: Vec<Curve>,
}

const SIZE: (u32, u32) = (480, 350);
const MARGIN_LEFT: u32 = 72;
const MARGIN_BOTTOM: u32 = 54;
const TEXT: u32 = 15;

/// Pixels between columns that stand side by side.
const STEP: i32 = 3;

/// Distance of the zero from the first other value, in powers of two.
const BREAK: f64 = 3.0;

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

impl Curves {
    /// Draws it.
    pub(crate) fn svg(&self) -> Result<String, ReportError> {
        self.caption.svg(|svg| self.draw(svg))
    }

    fn draw(&self, svg: &mut String) -> Drawn {
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let (left, right) = self.x_range();
        let (low, high) = self.y_range();
        let mut chart = ChartBuilder::on(&root)
            .margin_top(10)
            .margin_right(12)
            .x_label_area_size(MARGIN_BOTTOM)
            .y_label_area_size(MARGIN_LEFT)
            .build_cartesian_2d(left..right, low..high)?;
        self.draw_axes(&root, &mut chart)?;
        for curve in &self.curves {
            self.draw_curve(&root, &chart, curve)?;
        }
        drop(chart);
        root.present()?;
        Ok(())
    }

    /// Place of a value on the x axis: the power of two, zero left of the first.
    fn x(&self, value: u64) -> f64 {
        if value == 0 {
            self.first() - BREAK
        } else {
            (value as f64).log2()
        }
    }

    fn first(&self) -> f64 {
        let least = self.values.iter().copied().filter(|value| *value > 0).min();
        (least.unwrap_or(1) as f64).log2()
    }

    fn x_range(&self) -> (f64, f64) {
        let places = || self.values.iter().map(|value| self.x(*value));
        let least = places().fold(f64::INFINITY, f64::min);
        let greatest = places().fold(f64::NEG_INFINITY, f64::max);
        if least > greatest {
            return (0.0, 1.0);
        }
        let margin = ((greatest - least) * 0.05).max(0.5);
        (least - margin, greatest + margin)
    }

    fn y_range(&self) -> (f64, f64) {
        let (low, high) = (self.range.0.max(1.0).log10(), self.range.1.max(1.0).log10());
        let margin = ((high - low) * 0.06).max(0.1);
        (low - margin, high + margin)
    }

    fn draw_axes(&self, root: &Area<'_>, chart: &mut Chart<'_, '_>) -> Drawn {
        let (left, right) = self.x_range();
        let (low, high) = self.y_range();
        for (at, labelled) in ticks(low, high) {
            let paint = if labelled {
                Paint::Grid
            } else {
                Paint::FineGrid
            };
            chart.draw_series([PathElement::new([(left, at), (right, at)], paint.color())])?;
            if labelled {
                let (x, y) = chart.backend_coord(&(left, at));
                let text = units::duration(10_f64.powf(at));
                write(
                    root,
                    &text,
                    (x - 7, y),
                    (Paint::Muted, TEXT),
                    Pos::new(HPos::Right, VPos::Center),
                )?;
            }
        }
        for value in &self.values {
            let at = self.x(*value);
            chart.draw_series([PathElement::new(
                [(at, low), (at, high)],
                Paint::FineGrid.color(),
            )])?;
            let (x, y) = chart.backend_coord(&(at, low));
            write(
                root,
                &self.tick(*value),
                (x, y + 8),
                (Paint::Muted, TEXT),
                Pos::new(HPos::Center, VPos::Top),
            )?;
        }
        chart.draw_series([PathElement::new(
            [(left, low), (right, low)],
            Paint::Ink.color(),
        )])?;
        let (x, y) = chart.backend_coord(&(f64::midpoint(left, right), low));
        write(
            root,
            &self.axis_name,
            (x, y + 30),
            (Paint::Ink, TEXT),
            Pos::new(HPos::Center, VPos::Top),
        )?;
        if self.values.contains(&0) && self.values.len() > 1 {
            self.draw_break(root, chart)?;
        }
        Ok(())
    }

    /// Two strokes across the axis between zero and the first other value.
    fn draw_break(&self, root: &Area<'_>, chart: &Chart<'_, '_>) -> Drawn {
        let (low, _) = self.y_range();
        let (x, y) = chart.backend_coord(&(self.first() - BREAK / 2.0, low));
        for shift in [-3, 3] {
            root.draw(&PathElement::new(
                [(x + shift - 3, y + 6), (x + shift + 3, y - 6)],
                Paint::Ink.color(),
            ))?;
        }
        Ok(())
    }

    fn tick(&self, value: u64) -> String {
        match self.axis {
            Axis::Size => units::bytes(value as f64),
            Axis::Count => value.to_string(),
        }
    }

    fn draw_curve(&self, root: &Area<'_>, chart: &Chart<'_, '_>, curve: &Curve) -> Drawn {
        let paint = Paint::Look(curve.look).color();
        let place = |at: u64, value: f64| {
            let (x, y) = chart.backend_coord(&(self.x(at), value.max(1.0).log10()));
            (x + curve.shift * STEP, y)
        };
        let line: Vec<(i32, i32)> = curve
            .points
            .iter()
            .filter(|point| point.at > 0)
            .map(|point| place(point.at, point.value))
            .collect();
        let is_floor = curve.look.hue == Look::FLOOR;
        let width = if is_floor { 1 } else { 2 };
        if line.len() > 1 {
            root.draw(&PathElement::new(line, paint.stroke_width(width)))?;
        }
        if is_floor {
            return Ok(());
        }
        // A dashed bar would look shorter than it is.
        let solid = Look {
            pattern: 0,
            ..curve.look
        };
        let solid = Paint::Look(solid).color();
        for point in &curve.points {
            let thin = point.range.map(|range| (range, 1));
            let bar = point.interval.map(|interval| (interval, 3)).or(thin);
            if let Some(((low, high), width)) = bar {
                let ends = [place(point.at, low), place(point.at, high)];
                root.draw(&PathElement::new(ends, solid.stroke_width(width)))?;
            }
            draw_marker(root, place(point.at, point.value), curve.look)?;
        }
        Ok(())
    }
}

fn draw_marker(root: &Area<'_>, (x, y): (i32, i32), look: Look) -> Drawn {
    let fill = Paint::Look(look).color().filled();
    let polygon = |corners: &[(i32, i32)]| {
        let corners: Vec<_> = corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
        Polygon::new(corners, fill)
    };
    match look.pattern {
        0 => root.draw(&Circle::new((x, y), 4, fill))?,
        1 => root.draw(&Rectangle::new([(x - 4, y - 4), (x + 4, y + 4)], fill))?,
        2 => root.draw(&polygon(&[(0, -6), (5, 4), (-5, 4)]))?,
        3 => root.draw(&polygon(&[(0, -6), (6, 0), (0, 6), (-6, 0)]))?,
        4 => root.draw(&polygon(&[(0, 6), (5, -4), (-5, -4)]))?,
        _ => root.draw(&Rectangle::new([(x - 2, y - 6), (x + 2, y + 6)], fill))?,
    }
    Ok(())
}
