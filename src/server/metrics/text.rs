//! Prometheus's text format, version 0.0.4: for each metric family a line of help, a line of type, and its samples.
//!
//! No library is used: its registry would have to own the counters, which belong to the code that counts. Nothing needs to be escaped: labels and help texts are constants of this program.

use std::fmt::{Display, Write};

use super::{BOUNDS, Family, HistogramSnapshot, MetricKind};

/// A metrics document under construction.
#[derive(Debug, Default)]
pub struct Exposition(String);

impl Exposition {
    /// Media type of the format.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Writes a family with a single sample.
    pub fn single(&mut self, family: &Family, value: impl Display) {
        self.head(family);
        self.line(format_args!("{} {value}", family.name));
    }

    /// Writes a family with a sample for each value of a label.
    pub fn labeled<'a>(&mut self, family: &Family, label: &str, values: impl IntoIterator<Item = (&'a str, u64)>) {
        self.head(family);
        for (name, value) in values {
            self.line(format_args!("{}{{{label}=\"{name}\"}} {value}", family.name));
        }
    }

    /// Writes a histogram, in seconds.
    pub fn histogram(&mut self, family: &Family, snapshot: &HistogramSnapshot) {
        self.head(family);
        let mut below = 0;
        for (bound, count) in BOUNDS.iter().zip(snapshot.counts) {
            below += count;
            self.line(format_args!("{}_bucket{{le=\"{}\"}} {below}", family.name, bound.as_secs_f64()));
        }
        let all: u64 = snapshot.counts.iter().sum();
        self.line(format_args!("{}_bucket{{le=\"+Inf\"}} {all}", family.name));
        self.line(format_args!("{}_sum {}", family.name, snapshot.sum.as_secs_f64()));
        self.line(format_args!("{}_count {all}", family.name));
    }

    /// Returns the document.
    pub fn into_text(self) -> String {
        self.0
    }

    fn head(&mut self, family: &Family) {
        let kind = match family.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {} {}", family.name, family.help));
        self.line(format_args!("# TYPE {} {kind}", family.name));
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const FAMILY: Family = Family { name: "x_total", kind: MetricKind::Counter, help: "Things." };

    #[test]
    fn a_family_has_its_help_its_type_and_its_numbers() {
        let mut text = Exposition::default();
        text.single(&FAMILY, 7);
        text.labeled(&FAMILY, "reason", [("left", 1), ("lost", 2)]);
        let head = "# HELP x_total Things.\n# TYPE x_total counter\n";
        let expected = format!("{head}x_total 7\n{head}x_total{{reason=\"left\"}} 1\nx_total{{reason=\"lost\"}} 2\n");
        assert_eq!(text.into_text(), expected);
    }

    #[test]
    fn a_histogram_adds_up() {
        let mut snapshot = HistogramSnapshot { sum: Duration::from_millis(1500), ..HistogramSnapshot::default() };
        (snapshot.counts[0], snapshot.counts[1], snapshot.counts[BOUNDS.len()]) = (1, 2, 4);
        let mut text = Exposition::default();
        text.histogram(&Family { name: "x_seconds", kind: MetricKind::Histogram, help: "Time." }, &snapshot);
        let text = text.into_text();
        for line in ["{le=\"0.00001\"} 1", "{le=\"0.000025\"} 3", "{le=\"1\"} 3", "{le=\"+Inf\"} 7"] {
            assert!(text.contains(&format!("x_seconds_bucket{line}\n")), "{line}: {text}");
        }
        assert!(text.ends_with("x_seconds_sum 1.5\nx_seconds_count 7\n"), "{text}");
    }
}
