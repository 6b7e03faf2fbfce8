//! `--plot FILE`: utilisation and waiting tasks over time, one line for each policy, as SVG.
//!
//! Drawn without fonts: the reader's own write the letters.

use std::fs;
use std::path::Path;

use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::PathElement;
use plotters::prelude::SVGBackend;
use plotters::series::LineSeries;
use plotters::style::{BLACK, Color, Palette, Palette99, WHITE};
use tepui_core::sim::Sample;

use super::Run;
use crate::cli::failure::Failure;
use crate::cli::node::refused;

/// Width and height, in pixels.
const SIZE: (u32, u32) = (960, 400);

type Drawn = Result<(), Box<dyn std::error::Error>>;
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
    let names = runs.first().map(|run| run.figures.resources.clone());
    let names = names.unwrap_or_default();
    let rows = names.len() + 1;
    let height = SIZE.1 * u32::try_from(rows)?;
    let root = SVGBackend::with_string(text, (SIZE.0, height)).into_drawing_area();
    root.fill(&WHITE).map_err(owned)?;
    let areas = root.split_evenly((rows, 1));
    for (i, (name, area)) in names.iter().zip(&areas).enumerate() {
        let title = format!("{name} in use, %");
        chart(area, &title, runs, &|sample| {
            sample.used_permille[i] as f64 / 10.0
        })?;
    }
    if let Some(area) = areas.last() {
        chart(area, "tasks that wait", runs, &|sample| {
            sample.waiting as f64
        })?;
    }
    root.present().map_err(owned)?;
    Ok(())
}

fn chart(area: &Area<'_>, title: &str, runs: &[Run], value: &dyn Fn(&Sample) -> f64) -> Drawn {
    let samples = || runs.iter().flat_map(|run| &run.figures.samples);
    let end = samples()
        .map(|sample| sample.at.as_secs_f64())
        .fold(1.0, f64::max);
    let most = samples().map(value).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..end, 0.0..most * 1.05)
        .map_err(owned)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .light_line_style(WHITE)
        .draw()
        .map_err(owned)?;
    for (i, run) in runs.iter().enumerate() {
        let color = Palette99::pick(i).to_rgba();
        let points = run.figures.samples.iter();
        let points = points.map(|sample| (sample.at.as_secs_f64(), value(sample)));
        let line = chart
            .draw_series(LineSeries::new(points, &color))
            .map_err(owned)?;
        line.label(run.policy.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
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
