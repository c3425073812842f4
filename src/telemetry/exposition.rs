//! The text format of Prometheus, 0.0.4: families with help and type, samples with escaped labels. It knows no metric.

use std::fmt::{Display, Write as _};

/// A scrape's text.
#[derive(Debug, Default)]
pub struct Exposition(String);

/// What a family's samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only goes up.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by bounds.
    Histogram,
}

/// Label names and values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

impl Exposition {
    /// The content type of the format.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// The text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }

    /// A family: its name, and what it tells.
    pub fn family(&mut self, kind: Kind, name: &str, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample of the family.
    pub fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if index == 0 { '{' } else { ',' });
            for c in text.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A family of one sample.
    pub fn one(&mut self, kind: Kind, name: &str, help: &str, value: impl Display) {
        self.family(kind, name, help);
        self.sample(name, &[], value);
    }

    /// A histogram without labels: `counts` has one more than `bounds`, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "a sum of microseconds is told in seconds")]
    pub fn histogram(&mut self, name: &str, help: &str, bounds: impl Iterator<Item = f64>, counts: &[u64], sum_us: u64) {
        self.family(Kind::Histogram, name, help);
        let bounds = bounds.map(|bound| bound.to_string()).chain(["+Inf".to_owned()]);
        let mut so_far = 0;
        for (bound, count) in bounds.zip(counts) {
            so_far += count;
            self.sample(&format!("{name}_bucket"), &[("le", &bound)], so_far);
        }
        self.sample(&format!("{name}_sum"), &[], sum_us as f64 / 1e6);
        self.sample(&format!("{name}_count"), &[], so_far);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_the_format_wants_them() {
        let mut text = Exposition::default();
        text.family(Kind::Counter, "a_total", "Things.");
        text.sample("a_total", &[("name", "x\"y\\z\n"), ("code", "2xx")], 3);
        text.histogram("b_seconds", "Times.", [0.5, 1.0].into_iter(), &[1, 2, 3], 1_500_000);
        assert_eq!(
            text.into_text(),
            "# HELP a_total Things.\n# TYPE a_total counter\na_total{name=\"x\\\"y\\\\z\\n\",code=\"2xx\"} 3\n\
             # HELP b_seconds Times.\n# TYPE b_seconds histogram\nb_seconds_bucket{le=\"0.5\"} 1\nb_seconds_bucket{le=\"1\"} 3\n\
             b_seconds_bucket{le=\"+Inf\"} 6\nb_seconds_sum 1.5\nb_seconds_count 6\n"
        );
    }
}
