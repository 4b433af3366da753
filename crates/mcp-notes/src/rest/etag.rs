//! Entity tags and the conditions built on them (RFC 9110, sections 8.8.3 and 13.1).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// A condition on the entity tag of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// The resource exists.
    Any,
    /// Its tag is one of these.
    Tags(Vec<Tag>),
}

/// An entity tag with its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    opaque: String,
    is_weak: bool,
}

/// A header that is not a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Tag {
    /// The version of a note that this tag stands for. A weak tag stands for none.
    pub(super) fn version(&self) -> Option<u64> {
        let version = self.opaque.strip_prefix("\"v")?.strip_suffix('"')?;
        let is_canonical = !version.starts_with('0') && version.bytes().all(|b| b.is_ascii_digit());
        version
            .parse()
            .ok()
            .filter(|_| is_canonical && !self.is_weak)
    }
}

/// The entity tag of a note at `version`.
pub(super) fn of_version(version: u64) -> HeaderValue {
    HeaderValue::try_from(format!("\"v{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The entity tag of what has this digest.
pub(crate) fn of_bytes(digest: &[u8]) -> HeaderValue {
    let text = URL_SAFE_NO_PAD.encode(digest.get(..16).unwrap_or(digest));
    HeaderValue::try_from(format!("\"{text}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The condition in the header `name`, if the request has one.
pub(super) fn condition(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Result<Option<Condition>, Malformed> {
    let mut tags = Vec::new();
    let mut is_given = false;
    for value in headers.get_all(name) {
        is_given = true;
        let text = value
            .to_str()
            .map_err(|_| Malformed)?
            .trim_matches([' ', '\t']);
        if text == "*" {
            return Ok(Some(Condition::Any));
        }
        parse(text, &mut tags)?;
    }
    match (is_given, tags.is_empty()) {
        (false, _) => Ok(None),
        (true, false) => Ok(Some(Condition::Tags(tags))),
        (true, true) => Err(Malformed),
    }
}

/// Whether the client says in `If-None-Match` that it has what `tag` stands for. A malformed header
/// says nothing.
pub(crate) fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    match condition(headers, &header::IF_NONE_MATCH) {
        Ok(Some(Condition::Any)) => true,
        // Weak comparison (RFC 9110, section 13.1.2): W/ does not count.
        Ok(Some(Condition::Tags(tags))) => tags
            .iter()
            .any(|known| known.opaque.as_bytes() == tag.as_bytes()),
        _ => false,
    }
}

fn parse(mut text: &str, tags: &mut Vec<Tag>) -> Result<(), Malformed> {
    loop {
        text = text.trim_start_matches([' ', '\t', ',']);
        if text.is_empty() {
            return Ok(());
        }
        let is_weak = text.starts_with("W/");
        text = text.strip_prefix("W/").unwrap_or(text);
        let rest = text.strip_prefix('"').ok_or(Malformed)?;
        let end = rest.find('"').ok_or(Malformed)?;
        let (opaque, after) = text.split_at(end + 2);
        if opaque.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(Malformed);
        }
        tags.push(Tag {
            opaque: opaque.to_owned(),
            is_weak,
        });
        text = after.trim_start_matches([' ', '\t']);
        if !text.is_empty() && !text.starts_with(',') {
            return Err(Malformed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(value: &str) -> Result<Option<Vec<Option<u64>>>, Malformed> {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_str(value).unwrap());
        Ok(match condition(&headers, &header::IF_MATCH)? {
            None => None,
            Some(Condition::Any) => Some(Vec::new()),
            Some(Condition::Tags(tags)) => Some(tags.iter().map(Tag::version).collect()),
        })
    }

    #[test]
    fn lists_of_tags_are_read() {
        assert_eq!(versions("\"v3\""), Ok(Some(vec![Some(3)])));
        assert_eq!(
            versions(" \"v3\" ,, \"v12\","),
            Ok(Some(vec![Some(3), Some(12)]))
        );
        assert_eq!(versions("*"), Ok(Some(vec![])));
        assert_eq!(versions("\"a,b\", W/\"v4\""), Ok(Some(vec![None, None])));
        assert_eq!(
            versions("\"v03\", \"v\", \"v-1\", \"v+1\""),
            Ok(Some(vec![None; 4]))
        );
        for bad in [
            "",
            "v3",
            "\"v3",
            "\"v3\"\"v4\"",
            "3",
            "W/v3",
            "\"a b\"",
            "*, \"v3\"",
        ] {
            assert_eq!(versions(bad), Err(Malformed), "{bad}");
        }
    }

    #[test]
    fn a_known_tag_is_compared_weakly() {
        let mut headers = HeaderMap::new();
        assert!(!is_known(&headers, &of_version(3)));
        headers.insert(
            header::IF_NONE_MATCH,
            HeaderValue::from_static("W/\"v3\", \"x\""),
        );
        assert!(is_known(&headers, &of_version(3)));
        assert!(!is_known(&headers, &of_version(4)));
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("v4"));
        assert!(!is_known(&headers, &of_version(4)));
    }
}
