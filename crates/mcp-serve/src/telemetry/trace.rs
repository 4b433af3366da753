//! The names under which one request is found again: its request id and its W3C trace.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// `X-Request-Id`.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The id of one request: the caller's `X-Request-Id` where it is fit, otherwise a new one.
///
/// It is in the request's extensions, in every log line of the request and in its answer.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// 1 to 128 characters of `[A-Za-z0-9._-]`.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(crate) fn header(&self) -> &HeaderValue {
        &self.0
    }

    fn from_caller(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(X_REQUEST_ID)?;
        let bytes = value.as_bytes();
        let fits = (1..=128).contains(&bytes.len())
            && bytes
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        fits.then(|| Self(value.clone()))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({})", self.as_str())
    }
}

/// Makes the ids of requests that bring none: no two alike within a process, and hardly within a
/// fleet. They are names and keep no secret.
pub(crate) struct RequestIds {
    process: u32,
    start: u64,
    count: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        // Without randomness ids are still unique within the process.
        let random = getrandom::u64().unwrap_or_default();
        let process = getrandom::u32().unwrap_or_default();
        Self {
            process,
            start: random,
            count: AtomicU64::new(0),
        }
    }

    /// The id of the request with these headers.
    pub(crate) fn of(&self, headers: &HeaderMap) -> RequestId {
        RequestId::from_caller(headers).unwrap_or_else(|| self.next())
    }

    fn next(&self) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let id = format!(
            "{:08x}{:016x}",
            self.process,
            scatter(self.start.wrapping_add(count))
        );
        let value = HeaderValue::from_maybe_shared(Bytes::from(id));
        RequestId(value.unwrap_or_else(|_| HeaderValue::from_static("unknown")))
    }
}

/// A bijection on 64 bits (the finaliser of `SplitMix64`), so that ids do not tell how many there
/// were.
fn scatter(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The caller's place in a distributed trace (W3C Trace Context, section 3.2). It is in the
/// extensions of a request that has a valid `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(HeaderValue);

impl TraceParent {
    /// The trace id: 32 lower-case hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        self.part(3, 35)
    }

    /// The id of the caller's span: 16 lower-case hexadecimal digits.
    pub fn parent_id(&self) -> &str {
        self.part(36, 52)
    }

    /// Whether the caller records the trace.
    pub fn is_sampled(&self) -> bool {
        u8::from_str_radix(self.part(53, 55), 16).is_ok_and(|flags| flags & 1 == 1)
    }

    fn part(&self, from: usize, to: usize) -> &str {
        self.0
            .to_str()
            .ok()
            .and_then(|text| text.get(from..to))
            .unwrap_or_default()
    }

    /// The `traceparent` of a request; `None` when there is none, more than one, or a malformed one.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(TRACEPARENT).iter();
        let value = fields.next()?;
        let valid = fields.next().is_none() && is_traceparent(value.as_bytes());
        valid.then(|| Self(value.clone()))
    }
}

fn is_traceparent(bytes: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |part: &[u8]| part.iter().all(|b| *b == b'0');
    let (Some(head), rest) = (bytes.get(..55), bytes.get(55..).unwrap_or_default()) else {
        return false;
    };
    let version = &head[..2];
    // A later version may add fields; version 00 has none, and ff is no version.
    let length_fits = rest.is_empty() || (version != b"00" && rest[0] == b'-');
    length_fits
        && version != b"ff"
        && [head[2], head[35], head[52]] == *b"---"
        && [version, &head[3..35], &head[36..52], &head[53..55]]
            .iter()
            .all(|part| hex(part))
        && !zero(&head[3..35])
        && !zero(&head[36..52])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn a_fit_request_id_is_kept_and_any_other_replaced() {
        let ids = RequestIds::new();
        let long = "x".repeat(128);
        for id in ["a", "A-b_c.9", &long] {
            assert_eq!(ids.of(&headers("x-request-id", id)).as_str(), id);
        }
        for id in ["", "a b", "a\"b", "a/b", &"x".repeat(129)] {
            let made = ids.of(&headers("x-request-id", id));
            assert_eq!(made.as_str().len(), 24, "{id}");
        }
    }

    #[test]
    fn made_ids_differ() {
        let ids = RequestIds::new();
        let made: std::collections::HashSet<_> = (0..10_000)
            .map(|_| ids.next().as_str().to_owned())
            .collect();
        assert_eq!(made.len(), 10_000);
    }

    #[test]
    fn a_traceparent_is_read_to_the_letter() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let good = format!("00-{trace}-b7ad6b7169203331-01");
        let parent = TraceParent::of(&headers("traceparent", &good)).unwrap();
        assert_eq!(parent.trace_id(), trace);
        assert_eq!(parent.parent_id(), "b7ad6b7169203331");
        assert!(parent.is_sampled());
        assert!(TraceParent::of(&headers("traceparent", &good.replacen("00", "01", 1))).is_some());
        let later = format!("{}-more", good.replacen("00", "01", 1));
        assert!(TraceParent::of(&headers("traceparent", &later)).is_some());
        for bad in [
            good.to_uppercase(),
            format!("{good}-more"),
            good.replacen("00", "ff", 1),
            good.replace(trace, &"0".repeat(32)),
            good.replace("b7ad6b7169203331", &"0".repeat(16)),
            good[..54].to_owned(),
            good.replace('-', "_"),
            String::new(),
        ] {
            assert!(
                TraceParent::of(&headers("traceparent", &bad)).is_none(),
                "{bad}"
            );
        }
        let mut twice = headers("traceparent", &good);
        twice.append("traceparent", HeaderValue::from_str(&good).unwrap());
        assert!(TraceParent::of(&twice).is_none());
    }
}
