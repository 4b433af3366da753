//! Log lines as JSON: one object a line, the fields of the event and of the spans around it side by
//! side.

use std::fmt;

use jiff::{
    Timestamp,
    fmt::{StdFmtWrite, temporal::DateTimePrinter},
};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    field::RecordFields,
    fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, format::Writer},
    registry::LookupSpan,
};

/// `{"ts":..,"level":..,"target":..,"msg":..,<fields of the event>,<fields of its spans>}`.
pub(super) struct JsonLine;

const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

/// Writes the fields of a span as they will stand in the line: `,"name":value`.
pub(super) struct JsonFields;

impl<'writer> FormatFields<'writer> for JsonFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut members = Members {
            writer,
            result: Ok(()),
        };
        fields.record(&mut members);
        members.result
    }
}

impl<S> FormatEvent<S, JsonFields> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let meta = event.metadata();
        writer.write_str("{\"ts\":\"")?;
        PRINTER
            .print_timestamp(&Timestamp::now(), StdFmtWrite(&mut writer))
            .map_err(|_| fmt::Error)?;
        writer.write_str("\",\"level\":\"")?;
        writer.write_str(match *meta.level() {
            tracing::Level::ERROR => "error",
            tracing::Level::WARN => "warn",
            tracing::Level::INFO => "info",
            tracing::Level::DEBUG => "debug",
            tracing::Level::TRACE => "trace",
        })?;
        writer.write_str("\",\"target\":")?;
        string(&mut writer, meta.target())?;
        ctx.field_format().format_fields(writer.by_ref(), event)?;
        for span in ctx.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<JsonFields>>() {
                writer.write_str(&fields.fields)?;
            }
        }
        writer.write_str("}\n")
    }
}

/// Writes each field as a member of the object that is open.
struct Members<'writer> {
    writer: Writer<'writer>,
    result: fmt::Result,
}

impl Members<'_> {
    fn member(&mut self, field: &Field, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        // `message` is the name that the macros of tracing give to the text of an event.
        let name = match field.name() {
            "message" => "msg",
            name => name,
        };
        self.result = self.result.and_then(|()| {
            self.writer.write_char(',')?;
            string(&mut self.writer, name)?;
            self.writer.write_char(':')?;
            value(&mut self.writer)
        });
    }
}

impl Visit for Members<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field, |writer| {
            if value.is_finite() {
                write!(writer, "{value}")
            } else {
                writer.write_str("null")
            }
        });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |writer| write!(writer, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |writer| write!(writer, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |writer| write!(writer, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, |writer| string(writer, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.member(field, |writer| {
            writer.write_char('"')?;
            fmt::Write::write_fmt(&mut Escaped(writer), format_args!("{value:?}"))?;
            writer.write_char('"')
        });
    }
}

fn string(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    writer.write_char('"')?;
    fmt::Write::write_str(&mut Escaped(writer), text)?;
    writer.write_char('"')
}

/// Escapes what may not stand in a JSON string (RFC 8259 section 7), and with it every line end.
struct Escaped<'a, 'writer>(&'a mut Writer<'writer>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (index, byte) in text.bytes().enumerate() {
            if byte >= 0x20 && byte != b'"' && byte != b'\\' && byte != 0x7f {
                continue;
            }
            self.0.write_str(&text[plain..index])?;
            match byte {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                b'\r' => self.0.write_str("\\r")?,
                b'\t' => self.0.write_str("\\t")?,
                _ => write!(self.0, "\\u{byte:04x}")?,
            }
            plain = index + 1;
        }
        self.0.write_str(&text[plain..])
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use serde_json::Value;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_line_is_one_object_whatever_is_in_it() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .fmt_fields(JsonFields)
            .event_format(JsonLine)
            .with_writer(lines.clone())
            .finish();
        let evil = "a\n{\"level\":\"info\"}\u{1b}[31m\"\\\u{7f}é\u{2028}";
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("request", request_id = "r1", tool = evil);
            let _entered = span.enter();
            tracing::debug!(
                count = 3_u64,
                ratio = f64::NAN,
                ok = true,
                none = None::<u64>,
                ?evil,
                "{evil}"
            );
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7f}'));
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "debug");
        assert_eq!(line["msg"], evil);
        assert_eq!(line["evil"], format!("{evil:?}"));
        assert_eq!(line["count"], 3);
        assert_eq!(line["ratio"], Value::Null);
        assert_eq!(line["ok"], true);
        assert_eq!(line["request_id"], "r1");
        assert_eq!(line["tool"], evil);
        assert!(line["ts"].as_str().unwrap().parse::<Timestamp>().is_ok());
    }
}
