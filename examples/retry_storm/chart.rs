//! The load over time as an SVG.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::storm::Storm;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 340.0;
const MARGIN: f64 = 50.0;
/// The top of the vertical axis, in multiples of the offered load.
const TOP: f64 = 5.0;
const COLOURS: [&str; 4] = ["#c0392b", "#e08e0b", "#2471a3", "#1e8449"];

/// Draws the storms, and returns the path of the drawing.
pub(crate) fn write(storms: &[Storm]) -> io::Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"));
    fs::create_dir_all(&target)?;
    let path = target.join("retry_storm.svg");
    fs::write(&path, draw(storms).map_err(io::Error::other)?)?;
    Ok(path)
}

fn draw(storms: &[Storm]) -> Result<String, std::fmt::Error> {
    let mut svg = String::new();
    let (right, bottom) = (MARGIN + WIDTH, MARGIN + HEIGHT);
    let (full_width, full_height) = (right + MARGIN, bottom + MARGIN);
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {full_width} {full_height}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>"##
    )?;
    let outage = Storm::outage();
    let (from, to) = (x(outage.start), x(outage.end));
    writeln!(
        svg,
        r##"<rect x="{from}" y="{MARGIN}" width="{}" height="{HEIGHT}" fill="#f5e6e6"/><text x="{}" y="{}">the server fails</text>"##,
        to - from,
        from + 6.0,
        MARGIN + 14.0
    )?;
    for load in [0.0, 1.0, 2.0, 3.0, 4.0, 5.0] {
        let y = y(load);
        writeln!(
            svg,
            r##"<path d="M{MARGIN} {y}H{right}" stroke="#ddd"/><text x="{}" y="{}" text-anchor="end">{load}x</text>"##,
            MARGIN - 6.0,
            y + 4.0
        )?;
    }
    let capacity = y(Storm::capacity());
    writeln!(
        svg,
        r##"<path d="M{MARGIN} {capacity}H{right}" stroke="#555" stroke-dasharray="4"/>"##
    )?;
    for second in (0..=Storm::end()).step_by(20) {
        let x = x(second);
        writeln!(
            svg,
            r##"<text x="{x}" y="{}" text-anchor="middle">{second} s</text>"##,
            bottom + 18.0
        )?;
    }
    for (row, (storm, colour)) in storms.iter().zip(COLOURS).enumerate() {
        let points: Vec<_> = storm
            .loads()
            .enumerate()
            .map(|(second, load)| format!("{:.1},{:.1}", x(second), y(load)))
            .collect();
        let (points, name) = (points.join(" "), storm.name);
        let y = MARGIN + 14.0 + 16.0 * row as f64;
        writeln!(
            svg,
            r##"<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/><text x="{}" y="{y}" fill="{colour}" text-anchor="end">{name}: {:.2}x peak</text>"##,
            right - 6.0,
            storm.peak()
        )?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn x(second: usize) -> f64 {
    MARGIN + WIDTH * second as f64 / Storm::end() as f64
}

fn y(load: f64) -> f64 {
    MARGIN + HEIGHT * (1.0 - load.min(TOP) / TOP)
}
