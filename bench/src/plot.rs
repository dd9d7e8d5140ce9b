//! The plot: an SVG with one panel for each plot of the rows, drawn without further tools.

use std::borrow::Cow;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::contenders::MAJJEN;
use crate::sample::short;

#[derive(Serialize, Deserialize)]
pub enum Plot {
    /// One bar for each name, from 0; less is better.
    Bars { title: String, unit: Words, values: Vec<(String, f64)> },
    /// One line for each name, both axes logarithmic.
    Lines { title: String, unit: Words, across: Words, lines: Vec<Line> },
}

type Words = Cow<'static, str>;

/// A name, and points from left to right.
pub type Line = (String, Vec<(f64, f64)>);

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 300.0;
const COLUMNS: usize = 2;
/// Room for names or numbers on the left, and for the title.
const LEFT: f64 = 118.0;
const TOP: f64 = 34.0;
const RIGHT: f64 = 70.0;
const BOTTOM: f64 = 36.0;
/// Also distinct for color-blind readers (Okabe and Ito, "Color Universal Design").
const COLORS: [&str; 8] =
    ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C00", "#666666"];

pub fn draw(plots: &[&Plot]) -> String {
    let rows = plots.len().div_ceil(COLUMNS);
    let (width, height) = (WIDTH * COLUMNS as f64, HEIGHT * rows as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (index, plot) in plots.iter().enumerate() {
        let (x, y) = ((index % COLUMNS) as f64 * WIDTH, (index / COLUMNS) as f64 * HEIGHT);
        let _ = writeln!(svg, "<g transform=\"translate({x} {y})\">");
        match plot {
            Plot::Bars { title, unit, values } => bars(&mut svg, title, unit, values),
            Plot::Lines { title, unit, across, lines } => {
                curves(&mut svg, title, unit, across, lines)
            }
        }
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, style: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {style}>{words}</text>"
    );
}

fn bars(svg: &mut String, title: &str, unit: &str, values: &[(String, f64)]) {
    text(svg, 12.0, 20.0, "start", "font-weight=\"bold\"", &format!("{title}, {unit}"));
    let most = values.iter().map(|(_, value)| *value).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let step = (HEIGHT - TOP - BOTTOM) / values.len().max(1) as f64;
    for (index, (name, value)) in values.iter().enumerate() {
        let y = TOP + step * index as f64;
        let (width, thickness) = (value / most * (WIDTH - LEFT - RIGHT), (step * 0.7).min(22.0));
        let color = if name.starts_with(MAJJEN) { COLORS[0] } else { "#B0B0B0" };
        let _ = writeln!(
            svg,
            "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{thickness:.1}\" fill=\"{color}\"/>"
        );
        let middle = y + thickness / 2.0 + 4.0;
        text(svg, LEFT - 6.0, middle, "end", "", name);
        text(svg, LEFT + width + 5.0, middle, "start", "", &short(*value));
    }
}

fn curves(svg: &mut String, title: &str, unit: &str, across: &str, lines: &[Line]) {
    text(svg, 12.0, 20.0, "start", "font-weight=\"bold\"", &format!("{title}, {unit}"));
    let points = || lines.iter().flat_map(|(_, points)| points);
    let decade =
        |value: f64, up: bool| if up { value.log10().ceil() } else { value.log10().floor() };
    let range = |of: fn(&(f64, f64)) -> f64| {
        let least = points().map(of).fold(f64::INFINITY, f64::min).max(0.1);
        let most = points().map(of).fold(1.0, f64::max);
        (decade(least, false), decade(most, true).max(decade(least, false) + 1.0))
    };
    let ((x0, x1), (y0, y1)) = (range(|point| point.0), range(|point| point.1));
    let left = 48.0;
    let right = 96.0;
    let x = |value: f64| left + (value.log10() - x0) / (x1 - x0) * (WIDTH - left - right);
    let y =
        |value: f64| HEIGHT - BOTTOM - (value.log10() - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
    for power in y0 as i32..=y1 as i32 {
        let value = 10f64.powi(power);
        let _ = writeln!(
            svg,
            "<line x1=\"{left}\" x2=\"{:.1}\" y1=\"{1:.1}\" y2=\"{1:.1}\" stroke=\"#E0E0E0\"/>",
            WIDTH - right,
            y(value)
        );
        text(svg, left - 6.0, y(value) + 4.0, "end", "", &short_power(power));
    }
    for power in x0 as i32..=x1 as i32 {
        text(svg, x(10f64.powi(power)), HEIGHT - BOTTOM + 16.0, "middle", "", &short_power(power));
    }
    text(svg, (left + WIDTH - right) / 2.0, HEIGHT - 6.0, "middle", "", across);
    // Names at the ends of the lines, without overlap.
    let mut ends: Vec<(f64, usize)> = lines
        .iter()
        .enumerate()
        .filter_map(|(index, (_, points))| Some((y(points.last()?.1), index)))
        .collect();
    ends.sort_by(|left, right| left.0.total_cmp(&right.0));
    let mut lowest = 0.0f64;
    for (end, index) in ends {
        let (name, points) = &lines[index];
        let color = COLORS[index % COLORS.len()];
        let path: Vec<String> =
            points.iter().map(|(across, up)| format!("{:.1},{:.1}", x(*across), y(*up))).collect();
        let thickness = if name.starts_with(MAJJEN) { 3.0 } else { 1.5 };
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{thickness}\"/>",
            path.join(" ")
        );
        let place = end.max(lowest + 13.0);
        lowest = place;
        let last = points.last().map_or(left, |point| x(point.0));
        text(svg, last + 6.0, place + 4.0, "start", &format!("fill=\"{color}\""), name);
    }
}

fn short_power(power: i32) -> String {
    match power {
        ..0 => format!("{}", 10f64.powi(power)),
        0..3 => format!("{}", 10u64.pow(power as u32)),
        3..6 => format!("{}k", 10u64.pow(power as u32 - 3)),
        _ => format!("{}M", 10u64.pow(power as u32 - 6)),
    }
}
