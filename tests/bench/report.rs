//! Output of the figures as a table and as JSON.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::measure::Sample;
use crate::scenario::{Scenario, Unit};

/// Samples of a server in a scenario.
#[derive(Debug)]
pub(crate) struct Series {
    /// Name of the server.
    pub(crate) server: String,
    /// One sample for each round.
    pub(crate) samples: Vec<Sample>,
}

impl Series {
    fn median(&self, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<f64> = self.samples.iter().filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
        Some((low + high) / 2.0)
    }

    fn value(&self) -> Option<f64> {
        self.median(|sample| Some(sample.value))
    }

    /// Returns half the range of the samples, in percent of the median.
    fn spread(&self) -> Option<f64> {
        let (low, high) = self
            .samples
            .iter()
            .fold((f64::MAX, f64::MIN), |(low, high), sample| (low.min(sample.value), high.max(sample.value)));
        Some((high - low) / self.value()? * 50.0)
    }
}

/// Scenario with its measurements.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Scenario that was measured.
    pub(crate) scenario: Scenario,
    /// Measurements of each server.
    pub(crate) series: Vec<Series>,
}

impl Outcome {
    /// Returns the reference: the better batching of the limit, or the textbook if there is none.
    fn yardstick(&self) -> Option<&Series> {
        let better = |one: &&Series, other: &&Series| {
            let order = one.value().unwrap_or(0.0).total_cmp(&other.value().unwrap_or(0.0));
            if self.scenario.unit().is_rate() { order } else { order.reverse() }
        };
        let measured = || self.series.iter().filter(|series| !series.samples.is_empty());
        measured()
            .filter(|series| series.server.starts_with("limit-"))
            .max_by(better)
            .or_else(|| measured().find(|series| series.server == "textbook"))
    }

    /// Returns the table's lines of this scenario: the better batching of the limit, and all other servers.
    pub(crate) fn table(&self) -> String {
        let yardstick = self.yardstick();
        let mut text = String::new();
        for series in self.series.iter().filter(|series| !series.samples.is_empty()) {
            if series.server.starts_with("limit-") && !yardstick.is_some_and(|best| std::ptr::eq(best, series)) {
                continue;
            }
            let ratio = yardstick.and_then(Series::value).zip(series.value()).map(|(limit, value)| value / limit);
            let cpu = |series: &Series| series.median(|sample| sample.cpu_each);
            let cpu_ratio = yardstick.and_then(cpu).zip(cpu(series)).map(|(limit, cpu)| limit / cpu);
            let _ = writeln!(
                text,
                "{:<23} {:<11} {:>8} {:<15} {:>5} {:>4} {:>8} {:>8} {:>8} {:>9} {:>5} {:>5} {:>7}  {}",
                self.scenario.name,
                series.server,
                figure(series.value(), self.scenario.unit()),
                self.scenario.unit().name(),
                fixed(ratio, 2),
                fixed(series.spread(), 0),
                fixed(series.median(|sample| sample.p50), 1),
                fixed(series.median(|sample| sample.p99), 1),
                fixed(cpu(series), 3),
                fixed(cpu_ratio, 2),
                fixed(series.median(|sample| sample.server_load.map(|load| load * 100.0)), 0),
                fixed(series.median(|sample| sample.generator_load.map(|load| load * 100.0)), 0),
                fixed(series.median(|sample| Some(sample.peak as f64 / f64::from(1 << 20))), 1),
                extras(series),
            );
        }
        text
    }

    fn json(&self) -> Value {
        let limit = self.yardstick().and_then(Series::value);
        let series: Vec<_> = self
            .series
            .iter()
            .map(|series| {
                json!({
                    "server": series.server,
                    "median": series.value(),
                    "ratio": limit.zip(series.value()).map(|(limit, value)| value / limit),
                    "samples": series.samples,
                })
            })
            .collect();
        json!({
            "scenario": self.scenario.name,
            "unit": self.scenario.unit().name(),
            "yardstick": self.yardstick().map(|series| &series.server),
            "servers": series,
        })
    }
}

/// Returns the head of the table.
pub(crate) fn head() -> String {
    format!(
        "{:<23} {:<11} {:>8} {:<15} {:>5} {:>4} {:>8} {:>8} {:>8} {:>9} {:>5} {:>5} {:>7}  more",
        "scenario",
        "server",
        "median",
        "unit",
        "ratio",
        "+-%",
        "p50 us",
        "p99 us",
        "CPU us",
        "CPU ratio",
        "srv %",
        "gen %",
        "peak MB"
    )
}

/// Writes all samples, the medians and a description of the machine.
pub(crate) fn write_json(path: &Path, outcomes: &[Outcome]) -> io::Result<()> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let report = json!({
        "machine": {
            "kernel": read("/proc/sys/kernel/osrelease").trim(),
            "processor": model.map(|(_, model)| model),
            "cores": cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
        },
        "scenarios": outcomes.iter().map(Outcome::json).collect::<Vec<_>>(),
    });
    std::fs::write(path, serde_json::to_vec_pretty(&report)?)
}

fn extras(series: &Series) -> String {
    let Some(first) = series.samples.first() else { return String::new() };
    let extra = first.extra.keys().filter_map(|name| {
        let value = series.median(|sample| sample.extra.get(name).copied())?;
        Some(format!("{name} {value:.1}"))
    });
    let calls = first.calls.keys().filter_map(|name| {
        let value = series.median(|sample| sample.calls.get(name).copied())?;
        (value >= 0.0005).then(|| format!("{name} {value:.3}"))
    });
    extra.chain(calls).collect::<Vec<_>>().join(", ")
}

fn figure(value: Option<f64>, unit: Unit) -> String {
    match value {
        None => "-".into(),
        Some(value) if unit == Unit::Micros => format!("{value:.1}"),
        Some(value) if value >= 1e6 => format!("{:.2} M", value / 1e6),
        Some(value) if value >= 1e4 => format!("{:.1} k", value / 1e3),
        Some(value) => format!("{value:.0}"),
    }
}

fn fixed(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}
