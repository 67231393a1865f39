//! Draws what becomes of ever more logins.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::Outcome;
use crate::sweep::Point;

const SIZE: (u32, u32) = (760, 640);
const SUCCEEDED: RGBColor = RGBColor(20, 90, 160);
const REFUSED: RGBColor = RGBColor(200, 80, 30);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A line: what it shows, its color, and its points.
type Line<'a> = (&'a str, RGBColor, Vec<(f64, f64)>);

/// Throughput above, latency below, over what is offered.
pub(crate) fn draw(file: &Path, curve: &[Point]) -> Outcome<()> {
    let root = SVGBackend::new(file, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(SIZE.1 / 2);
    let line = |of: fn(&Point) -> f64| curve.iter().map(|point| (point.factor, of(point))).collect::<Vec<_>>();
    // Where nothing was refused, nothing is drawn.
    let refused = curve.iter().filter(|point| point.refused_p99_us > 0);
    let refused: Vec<_> = refused.map(|point| (point.factor, point.refused_p99_us as f64 / 1e3)).collect();
    let throughput = [
        ("succeeded", SUCCEEDED, line(|point| point.succeeded_per_second)),
        ("refused (503)", REFUSED, line(|point| point.refused_per_second)),
    ];
    let latency =
        [("succeeded", SUCCEEDED, line(|point| point.succeeded_p99_us as f64 / 1e3)), ("refused (503)", REFUSED, refused)];
    panel(&upper, "logins a second", &throughput)?;
    panel(&lower, "p99, ms", &latency)?;
    root.present()?;
    Ok(())
}

/// A label at 1, 2 and 5 times a power of ten: more would lie on one another.
fn label(value: f64) -> String {
    let leading = value / 10_f64.powf(value.log10().floor());
    let is_labelled = [1.0, 2.0, 5.0, 10.0].iter().any(|labelled| (leading - labelled).abs() < 0.01);
    if is_labelled { format!("{value}") } else { String::new() }
}

/// Both axes are logarithmic.
fn panel(area: &Area<'_>, what: &str, lines: &[Line<'_>]) -> Outcome<()> {
    let points = || lines.iter().flat_map(|(.., points)| points);
    let over = |of: fn(&(f64, f64)) -> f64| {
        let (low, high) = points().map(of).fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        // Nothing on a logarithmic axis is 0.
        low.max(1.0) * 0.8..high.max(2.0) * 1.2
    };
    let (x, y) = (over(|point| point.0).start.min(0.2)..over(|point| point.0).end, over(|point| point.1));
    let mut chart = ChartBuilder::on(area);
    chart.margin(12).x_label_area_size(40).y_label_area_size(64);
    let mut chart = chart.build_cartesian_2d(x.log_scale(), y.log_scale())?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("logins offered, as a multiple of what can be hashed").y_desc(what).light_line_style(WHITE);
    mesh.max_light_lines(0).x_label_formatter(&|x| label(*x)).y_label_formatter(&|y| label(*y)).draw()?;
    for (name, color, points) in lines {
        let drawn = points.iter().filter(|point| point.1 > 0.0).copied();
        let series = chart.draw_series(LineSeries::new(drawn.clone(), color.stroke_width(2)))?;
        let color = *color;
        series.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        chart.draw_series(drawn.map(|point| Circle::new(point, 3, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()?;
    Ok(())
}
