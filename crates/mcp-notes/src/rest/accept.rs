//! Which representation of a note a client prefers (RFC 9110, section 12.5.1).

use http::{HeaderMap, header};

/// Whether `Accept` prefers `text/html` to `application/json`. In doubt it does not: a client that
/// says nothing, or likes both as much, gets JSON. A range that is malformed does not count.
pub(super) fn prefers_html(headers: &HeaderMap) -> bool {
    let (mut html, mut json) = (Choice::default(), Choice::default());
    for value in headers.get_all(header::ACCEPT) {
        // A comma within quotes ends a range, too: no parameter of these types needs one.
        for range in value.to_str().unwrap_or_default().split(',') {
            html.consider(range, "text", "html");
            json.consider(range, "application", "json");
        }
    }
    html.thousandths > json.thousandths
}

/// How much a client likes a media type, after the range that says most exactly what is meant.
#[derive(Default)]
struct Choice {
    exactness: u8,
    thousandths: u16,
}

impl Choice {
    fn consider(&mut self, range: &str, kind: &str, subtype: &str) {
        let mut parts = range.split(';').map(|part| part.trim_matches([' ', '\t']));
        let Some((given_kind, given_subtype)) = parts.next().and_then(|it| it.split_once('/'))
        else {
            return;
        };
        let is = |given: &str, name: &str| given.eq_ignore_ascii_case(name);
        let exactness = match (given_kind, given_subtype) {
            ("*", "*") => 1,
            (given, "*") if is(given, kind) => 2,
            (given, sub) if is(given, kind) && is(sub, subtype) => 3,
            _ => return,
        };
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            is(name, "q").then_some(value)
        });
        let Some(thousandths) = weight.map_or(Some(1000), thousandths) else {
            return;
        };
        let is_same = exactness == self.exactness;
        if exactness > self.exactness || (is_same && thousandths > self.thousandths) {
            *self = Self {
                exactness,
                thousandths,
            };
        }
    }
}

/// A weight between 0 and 1 with at most three decimals, in thousandths (RFC 9110, section 12.4.2).
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match (whole, decimals) {
        ("0", decimals) => Some(decimals),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn html(values: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        prefers_html(&headers)
    }

    #[test]
    fn html_is_for_who_prefers_it() {
        for values in [
            &["text/html"][..],
            &["TEXT/HTML; charset=utf-8"],
            &["text/*"],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
            &["application/json;q=0.8, text/html;q=0.801"],
            &["application/json ; Q=0.5", "text/html"],
            &["application/json;q=0, */*"],
            &["application/*;q=0.1,*/*;q=0.2"],
            &["text/html;q=0.001"],
            &["text/html, application/json;q=2"],
        ] {
            assert!(html(values), "{values:?}");
        }
    }

    #[test]
    fn json_is_for_everybody_else() {
        for values in [
            &[][..],
            &[""],
            &["*/*"],
            &["application/json"],
            &["text/html, application/json"],
            &["text/html, */*"],
            &["text/html;q=0.5, application/json;q=0.5"],
            &["text/html;q=0"],
            &["text/html;q=0, */*"],
            &["text/html;q=1.001"],
            &["text/html;q=0.0001"],
            &["text/html;q=-1"],
            &["text/html;q="],
            &["text/html;q=1x"],
            &["text/htm"],
            &["text"],
            &["*/html"],
            &["image/png"],
        ] {
            assert!(!html(values), "{values:?}");
        }
    }
}
