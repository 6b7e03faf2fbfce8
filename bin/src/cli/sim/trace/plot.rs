//! `--plot FILE` as SVG: what was used and lost and who waited over time, one line for each policy;
//! for how long tasks waited; and the shares of users under each policy.
//!
//! Drawn without fonts: the reader's own write the letters.

use std::fs;
use std::path::Path;

use plotters::chart::{ChartBuilder, ChartContext, SeriesLabelPosition};
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::types::RangedCoordf64;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{PathElement, Rectangle};
use plotters::prelude::SVGBackend;
use plotters::series::LineSeries;
use plotters::style::{BLACK, Color, Palette, Palette99, WHITE};
use tepui_core::sim::Sample;

use super::Run;
use crate::cli::failure::Failure;
use crate::cli::node::refused;

/// Width and height, in pixels.
const SIZE: (u32, u32) = (960, 400);
/// More lines than these nobody can tell apart.
const USERS: usize = 12;

type Drawn = Result<(), Box<dyn std::error::Error>>;
type Plane = Cartesian2d<RangedCoordf64, RangedCoordf64>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Plane>;
type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Writes the plot.
pub(super) fn write(path: &Path, runs: &[Run]) -> Result<(), Failure> {
    let mut text = String::new();
    draw(&mut text, runs).map_err(|error| {
        let path = path.display();
        Failure::failed(format_args!("cannot draw {path}: {error}"))
    })?;
    fs::write(path, text).map_err(|error| {
        let problem = format_args!("{error}; expected a file that can be written to");
        refused("--plot", path, &error, &problem)
    })
}

fn draw(text: &mut String, runs: &[Run]) -> Drawn {
    let Some(first) = runs.first() else {
        return Ok(());
    };
    let names = &first.figures.resources;
    // Used and lost of each resource, what waits, for how long, and the shares of each policy.
    let rows = 2 * names.len() + 2 + runs.len();
    let height = SIZE.1 * u32::try_from(rows)?;
    let root = SVGBackend::with_string(text, (SIZE.0, height)).into_drawing_area();
    root.fill(&WHITE).map_err(owned)?;
    let areas = root.split_evenly((rows, 1));
    let mut areas = areas.iter();
    let mut next = || areas.next().ok_or("more charts than places");
    for (i, name) in names.iter().enumerate() {
        let used = |sample: &Sample| sample.used_permille[i] as f64 / 10.0;
        let lost = |sample: &Sample| sample.lost_permille[i] as f64 / 10.0;
        lines(
            next()?,
            &format!("{name} in use, %"),
            &by_policy(runs, &used),
        )?;
        let title = format!("{name} lost to packing while something waits, %");
        lines(next()?, &title, &by_policy(runs, &lost))?;
    }
    let waiting = |sample: &Sample| sample.waiting as f64;
    lines(next()?, "tasks that wait", &by_policy(runs, &waiting))?;
    waits(next()?, runs)?;
    for run in runs {
        let title = format!("dominant shares under {}, %", run.policy.name());
        lines(next()?, &title, &by_user(run))?;
    }
    root.present().map_err(owned)?;
    Ok(())
}

/// A name and its points, by seconds.
type Line = (String, Vec<(f64, f64)>);

fn by_policy(runs: &[Run], value: &dyn Fn(&Sample) -> f64) -> Vec<Line> {
    let line = |run: &Run| (run.policy.name().to_owned(), points(run, value));
    runs.iter().map(line).collect()
}

/// The users with the greatest shares on average, and how many others there are.
fn by_user(run: &Run) -> Vec<Line> {
    let users = &run.figures.users;
    let mut order: Vec<usize> = (0..users.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(users[i].mean_share_permille));
    order.truncate(USERS);
    let line = |&i: &usize| {
        let share = |sample: &Sample| sample.shares_permille[i] as f64 / 10.0;
        (users[i].name.clone(), points(run, &share))
    };
    let mut lines: Vec<Line> = order.iter().map(line).collect();
    if users.len() > USERS {
        let rest = format!("(and {} others)", users.len() - USERS);
        lines.push((rest, Vec::new()));
    }
    lines
}

fn points(run: &Run, value: &dyn Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    let samples = run.figures.samples.iter();
    samples
        .map(|sample| (sample.at.as_secs_f64(), value(sample)))
        .collect()
}

fn lines(area: &Area<'_>, title: &str, lines: &[Line]) -> Drawn {
    let all = || lines.iter().flat_map(|(_, points)| points);
    let end = all().map(|point| point.0).fold(1.0, f64::max);
    let most = all().map(|point| point.1).fold(1.0, f64::max);
    let mut chart = chart(area, title, end, most)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .light_line_style(WHITE)
        .draw()
        .map_err(owned)?;
    for (i, (name, points)) in lines.iter().enumerate() {
        let color = Palette99::pick(i).to_rgba();
        let line = chart
            .draw_series(LineSeries::new(points.iter().copied(), &color))
            .map_err(owned)?;
        line.label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
    name(&mut chart)
}

/// For how long tasks waited that have started: three bars for each policy.
fn waits(area: &Area<'_>, runs: &[Run]) -> Drawn {
    let times = |run: &Run| {
        let waiting = run.figures.waiting;
        [waiting.mean, waiting.p50, waiting.p99].map(|time| time.as_secs_f64())
    };
    let most = runs.iter().flat_map(times).fold(0.001, f64::max);
    let width = runs.len() as f64;
    let mut chart = chart(
        area,
        "seconds that tasks waited: mean, p50, p99",
        width,
        most,
    )?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh()
        .disable_x_axis()
        .light_line_style(WHITE);
    mesh.draw().map_err(owned)?;
    for (i, run) in runs.iter().enumerate() {
        let color = Palette99::pick(i).to_rgba();
        let bars = times(run).into_iter().enumerate().map(|(k, time)| {
            let left = i as f64 + 0.1 + 0.27 * k as f64;
            Rectangle::new([(left, 0.0), (left + 0.25, time)], color.filled())
        });
        let drawn = chart.draw_series(bars).map_err(owned)?;
        drawn
            .label(run.policy.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
    name(&mut chart)
}

fn chart<'a, 'b>(
    area: &Area<'b>,
    title: &str,
    width: f64,
    most: f64,
) -> Result<Chart<'a, 'b>, String> {
    ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..width, 0.0..most * 1.05)
        .map_err(owned)
}

/// Says which series is which.
fn name<'a, 'b: 'a>(chart: &mut Chart<'a, 'b>) -> Drawn {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
        .map_err(owned)?;
    Ok(())
}

/// Errors of the backend borrow what is drawn on.
fn owned<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> String {
    error.to_string()
}
