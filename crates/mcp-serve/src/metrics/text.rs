//! The two formats in which metrics are read: the text format of Prometheus, version 0.0.4, and
//! OpenMetrics 1.0.

use std::fmt::Write as _;

use http::{HeaderMap, header::ACCEPT};

use super::{
    family::{Counter, Family, Gauge, Histogram, Number},
    row::Row,
};

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format that a reader with these headers likes best (RFC 9110 section 12.5.1). Who does
    /// not name OpenMetrics gets the older one.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let fields = headers.get_all(ACCEPT).iter();
        let fields = fields.filter_map(|field| field.to_str().ok());
        let ranges = fields.flat_map(|field| field.split(','));
        let (mut open, mut text) = (0.0_f32, 0.0_f32);
        for range in ranges {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            let quality = quality.map_or(Some(1.0), |q| q.parse().ok());
            let quality = quality.unwrap_or(0.0);
            match kind.as_str() {
                "application/openmetrics-text" => open = open.max(quality),
                "text/plain" | "text/*" => text = text.max(quality),
                _ => {}
            }
        }
        if open > 0.0 && open >= text {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What stands at the end.
    pub(super) const fn end(self) -> &'static str {
        match self {
            Self::Text => "",
            Self::OpenMetrics => "# EOF\n",
        }
    }
}

/// A family, whatever its numbers are.
pub(super) trait Written: Send + Sync {
    /// Writes what is known of it, and every series. Nothing when there is none.
    fn write(&self, out: &mut String, format: Format);
}

impl<N: Number + Sample> Written for Family<N> {
    fn write(&self, out: &mut String, format: Format) {
        let (row, all) = (self.row(), self.all());
        if all.is_empty() {
            return;
        }
        head(row, out, format);
        for (values, number) in all {
            let mut labels = String::new();
            for (name, value) in row.labels.iter().zip(&values) {
                label(&mut labels, name, value);
            }
            number.write(row, &labels, out, format);
        }
    }
}

fn head(row: &Row, out: &mut String, format: Format) {
    let name = match format {
        Format::Text => row.name,
        Format::OpenMetrics => row.family(),
    };
    // Writing to a string cannot fail. The two formats escape differently here, so rows hold nothing
    // that would need it.
    let _ = writeln!(out, "# HELP {name} {}", row.help);
    let _ = writeln!(out, "# TYPE {name} {}", row.kind.as_str());
    if let (Format::OpenMetrics, Some(unit)) = (format, row.unit()) {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
}

/// A number as its samples.
pub(super) trait Sample {
    fn write(&self, row: &Row, labels: &str, out: &mut String, format: Format);
}

impl Sample for Counter {
    fn write(&self, row: &Row, labels: &str, out: &mut String, _: Format) {
        line(out, row.name, "", labels, &self.get().to_string());
    }
}

impl Sample for Gauge {
    fn write(&self, row: &Row, labels: &str, out: &mut String, _: Format) {
        line(out, row.name, "", labels, &number(self.get()));
    }
}

impl Sample for Histogram {
    fn write(&self, row: &Row, labels: &str, out: &mut String, format: Format) {
        let (buckets, sum) = self.read();
        let mut whole = 0;
        for (upper, count) in buckets {
            let mut labels = labels.to_owned();
            label(&mut labels, "le", &bound(upper, format));
            line(out, row.name, "_bucket", &labels, &count.to_string());
            whole = count;
        }
        line(out, row.name, "_sum", labels, &number(sum));
        line(out, row.name, "_count", labels, &whole.to_string());
    }
}

fn line(out: &mut String, name: &str, ending: &str, labels: &str, value: &str) {
    let _ = if labels.is_empty() {
        writeln!(out, "{name}{ending} {value}")
    } else {
        writeln!(out, "{name}{ending}{{{labels}}} {value}")
    };
}

fn label(out: &mut String, name: &str, value: &str) {
    let comma = if out.is_empty() { "" } else { "," };
    let _ = write!(out, "{comma}{name}=\"{}\"", escaped(value));
}

fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    text.replace('"', "\\\"")
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        value.to_string()
    }
}

/// The bound of a bucket. OpenMetrics has every number with a point in it.
fn bound(value: f64, format: Format) -> String {
    let text = number(value);
    let is_whole = text.bytes().all(|byte| byte.is_ascii_digit());
    if format == Format::OpenMetrics && is_whole {
        text + ".0"
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::metrics::Kind;

    const CALLS: Row = Row {
        name: "calls_total",
        kind: Kind::Counter,
        labels: &["tool"],
        help: "Calls.",
    };
    const WAITS: Row = Row {
        name: "wait_seconds",
        kind: Kind::Histogram(&[0.5, 2.0]),
        labels: &[],
        help: "Waits.",
    };

    fn written(format: Format) -> String {
        let (calls, waits) = (
            Family::<Counter>::new(&CALLS),
            Family::<Histogram>::new(&WAITS),
        );
        calls.with(&["a\"b\\c\nd"]).inc();
        waits.with(&[]).observe(1.5);
        let mut out = String::new();
        calls.write(&mut out, format);
        waits.write(&mut out, format);
        out + format.end()
    }

    #[test]
    fn both_formats_say_the_same_in_their_own_words() {
        assert_eq!(
            written(Format::Text),
            "# HELP calls_total Calls.\n# TYPE calls_total counter\n\
             calls_total{tool=\"a\\\"b\\\\c\\nd\"} 1\n\
             # HELP wait_seconds Waits.\n# TYPE wait_seconds histogram\n\
             wait_seconds_bucket{le=\"0.5\"} 0\nwait_seconds_bucket{le=\"2\"} 1\n\
             wait_seconds_bucket{le=\"+Inf\"} 1\nwait_seconds_sum 1.5\nwait_seconds_count 1\n"
        );
        assert_eq!(
            written(Format::OpenMetrics),
            "# HELP calls Calls.\n# TYPE calls counter\n\
             calls_total{tool=\"a\\\"b\\\\c\\nd\"} 1\n\
             # HELP wait_seconds Waits.\n# TYPE wait_seconds histogram\n# UNIT wait_seconds seconds\n\
             wait_seconds_bucket{le=\"0.5\"} 0\nwait_seconds_bucket{le=\"2.0\"} 1\n\
             wait_seconds_bucket{le=\"+Inf\"} 1\nwait_seconds_sum 1.5\nwait_seconds_count 1\n# EOF\n"
        );
    }

    #[test]
    fn a_reader_gets_the_format_that_it_likes_best() {
        let wanted = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
            Format::wanted(&headers)
        };
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::Text);
        for accept in [
            "application/openmetrics-text",
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "text/plain;q=0.3, application/OpenMetrics-text; version=1.0.0; q=0.4",
        ] {
            assert_eq!(wanted(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "*/*",
            "text/plain",
            "text/html, text/plain;q=0.2",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=x",
            "application/openmetrics-text;q=0.5,text/plain",
        ] {
            assert_eq!(wanted(accept), Format::Text, "{accept}");
        }
    }
}
