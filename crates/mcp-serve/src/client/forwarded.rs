//! What proxies say of a client: the `X-Forwarded-*` fields and `Forwarded` (RFC 7239).
//!
//! Every proxy adds to the right of what it was given, so the right end is the word of the nearest
//! one and the left end may be the client's own invention. Lists are read from the right, and only
//! as far as proxies that are trusted wrote them.

use std::{borrow::Cow, collections::VecDeque, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};

use super::{Scheme, TrustedProxies};

/// Most hops that are followed.
const HOPS_MAX: usize = 32;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Why nobody knows for whom a trusted proxy asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub enum ForwardedError {
    /// A `Forwarded` field that the word of a trusted proxy may be part of is not what RFC 7239
    /// section 4 has.
    Malformed,
    /// `Forwarded` says one thing and `X-Forwarded-*` another. The proxy writes one of them, and
    /// the other may come from the client.
    Disagree,
}

impl ForwardedError {
    /// What the caller is told.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Malformed => "the Forwarded header is malformed",
            Self::Disagree => "the headers Forwarded and X-Forwarded-* disagree",
        }
    }
}

/// What the trusted proxies say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told<'a> {
    pub(super) hop: Option<Hop>,
    pub(super) scheme: Option<Scheme>,
    pub(super) host: Option<Cow<'a, str>>,
}

/// How far back a request could be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hop {
    /// The first address, from the right, that is no trusted proxy's.
    pub(super) address: IpAddr,
    /// The proxy at `address` does not say whom it asks for.
    pub(super) hides_client: bool,
}

impl<'a> Told<'a> {
    /// What `headers` say, coming from the trusted proxy at `peer`.
    pub(super) fn by(
        headers: &'a HeaderMap,
        peer: IpAddr,
        trusted: &TrustedProxies,
    ) -> Result<Self, ForwardedError> {
        let old = x_forwarded(headers, peer, trusted);
        if !headers.contains_key(FORWARDED) {
            return Ok(old);
        }
        old.and(forwarded(headers, peer, trusted)?)
    }

    /// Both, as far as they do not contradict each other.
    fn and(self, other: Self) -> Result<Self, ForwardedError> {
        let host_agrees = match (&self.host, &other.host) {
            (Some(one), Some(two)) => one.eq_ignore_ascii_case(two),
            _ => true,
        };
        if !host_agrees || differ(self.hop, other.hop) || differ(self.scheme, other.scheme) {
            return Err(ForwardedError::Disagree);
        }
        Ok(Self {
            hop: self.hop.or(other.hop),
            scheme: self.scheme.or(other.scheme),
            host: self.host.or(other.host),
        })
    }
}

fn differ<T: PartialEq>(one: Option<T>, two: Option<T>) -> bool {
    one.zip(two).is_some_and(|(one, two)| one != two)
}

/// The de-facto fields. `X-Forwarded-For` is a list; of the others the right-most value counts,
/// which the nearest proxy wrote or passed on.
fn x_forwarded<'a>(headers: &'a HeaderMap, peer: IpAddr, trusted: &TrustedProxies) -> Told<'a> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let mut entries = lines.flat_map(entries_from_right).peekable();
    let hop = entries.peek().is_some().then(|| {
        let mut way = Way::from(peer, trusted);
        for entry in entries {
            if way.step(address_of(entry)).is_end() {
                break;
            }
        }
        way.hop()
    });
    let last = |name| {
        let line = headers.get_all(name).iter().next_back()?;
        entries_from_right(line)
            .next()
            .filter(|entry| !entry.is_empty())
    };
    Told {
        hop,
        scheme: last(X_FORWARDED_PROTO).map(scheme_of),
        host: last(X_FORWARDED_HOST).map(Cow::Borrowed),
    }
}

/// The entries of one line, right to left. What is no ASCII is one that says nothing.
fn entries_from_right(line: &HeaderValue) -> impl Iterator<Item = &str> {
    line.to_str().unwrap_or_default().rsplit(',').map(trimmed)
}

/// `Forwarded`: scheme and host are those of the element that names the client, which a trusted
/// proxy wrote whole.
fn forwarded<'a>(
    headers: &'a HeaderMap,
    peer: IpAddr,
    trusted: &TrustedProxies,
) -> Result<Told<'a>, ForwardedError> {
    let mut way = Way::from(peer, trusted);
    let mut told = Told::default();
    'way: for line in headers.get_all(FORWARDED).iter().rev() {
        let line = line.to_str().map_err(|_| ForwardedError::Malformed)?;
        for element in elements(line)?.into_iter().rev() {
            let named = element.node.as_deref().and_then(address_of);
            told.scheme = element.proto.as_deref().map(scheme_of);
            told.host = element.host;
            if way.step(named).is_end() {
                break 'way;
            }
        }
    }
    told.hop = Some(way.hop());
    Ok(told)
}

/// The way back from the peer towards the client.
struct Way<'a> {
    trusted: &'a TrustedProxies,
    address: IpAddr,
    hides_client: bool,
    hops: usize,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    On,
    End,
}

impl Step {
    fn is_end(self) -> bool {
        self == Self::End
    }
}

impl<'a> Way<'a> {
    fn from(peer: IpAddr, trusted: &'a TrustedProxies) -> Self {
        Self {
            trusted,
            address: peer,
            hides_client: false,
            hops: 0,
        }
    }

    /// Goes to whom the proxy at the present address names, if it names one.
    fn step(&mut self, named: Option<IpAddr>) -> Step {
        self.hops += 1;
        let Some(named) = named.filter(|_| self.hops <= HOPS_MAX) else {
            self.hides_client = true;
            return Step::End;
        };
        self.address = named;
        if self.trusted.contains(named) {
            Step::On
        } else {
            Step::End
        }
    }

    fn hop(&self) -> Hop {
        Hop {
            address: self.address,
            hides_client: self.hides_client,
        }
    }
}

/// What travelled in any other way than `https` travelled in the clear.
fn scheme_of(text: &str) -> Scheme {
    if text.eq_ignore_ascii_case("https") {
        Scheme::Https
    } else {
        Scheme::Http
    }
}

/// The address of a hop: IPv4 or IPv6, the latter in brackets or not, with a port or a zone that do
/// not count. `None` for `unknown`, for what begins with `_` (RFC 7239 section 6.3), and for
/// anything else.
fn address_of(text: &str) -> Option<IpAddr> {
    let text = trimmed(text);
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let fits = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return fits.then(|| v6_of(address)).flatten();
    }
    match text.split_once(':') {
        None => text.parse().ok(),
        Some((_, after)) if after.contains(':') => v6_of(text),
        Some((address, port)) if is_port(port) => {
            address.parse().ok().filter(|it: &IpAddr| it.is_ipv4())
        }
        Some(_) => None,
    }
}

fn v6_of(text: &str) -> Option<IpAddr> {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let is_zone = !zone.is_empty() && zone.bytes().all(|b| b.is_ascii_graphic());
    let address = address.parse().ok().filter(|_| is_zone).map(IpAddr::V6)?;
    Some(address.to_canonical())
}

/// A port, or what stands for one (RFC 7239 section 6).
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.bytes().all(is_token),
        None => (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// What one proxy says, as far as it is of use here.
#[derive(Debug, Default, PartialEq, Eq)]
struct Element<'a> {
    node: Option<Cow<'a, str>>,
    proto: Option<Cow<'a, str>>,
    host: Option<Cow<'a, str>>,
}

/// The last elements of one line of `Forwarded`, as many as are followed.
///
/// The whole line must be well formed: a quote that the client opened must not change what the
/// proxy wrote behind it. Beyond RFC 7239 section 4, spaces around `;` and unquoted addresses with
/// a port or brackets are taken, because proxies write them.
fn elements(line: &str) -> Result<VecDeque<Element<'_>>, ForwardedError> {
    let mut found = VecDeque::new();
    let mut rest = line;
    loop {
        let (element, after) = element(rest)?;
        if found.len() > HOPS_MAX {
            found.pop_front();
        }
        found.push_back(element);
        match after {
            Some(after) => rest = after,
            None => return Ok(found),
        }
    }
}

/// The element at the beginning, and what comes after its comma if there is one.
fn element(mut rest: &str) -> Result<(Element<'_>, Option<&str>), ForwardedError> {
    let mut element = Element::default();
    loop {
        rest = rest.trim_start_matches(is_space);
        if !rest.starts_with([',', ';']) && !rest.is_empty() {
            let (name, value, after) = pair(rest)?;
            let place = match name {
                _ if name.eq_ignore_ascii_case("for") => Some(&mut element.node),
                _ if name.eq_ignore_ascii_case("proto") => Some(&mut element.proto),
                _ if name.eq_ignore_ascii_case("host") => Some(&mut element.host),
                _ => None,
            };
            if place.is_some_and(|place| place.replace(value).is_some()) {
                return Err(ForwardedError::Malformed);
            }
            rest = after.trim_start_matches(is_space);
        }
        rest = match rest.as_bytes().first() {
            None => return Ok((element, None)),
            Some(b',') => return Ok((element, Some(&rest[1..]))),
            Some(b';') => &rest[1..],
            Some(_) => return Err(ForwardedError::Malformed),
        };
    }
}

/// `name=value` at the beginning, and what comes after it.
fn pair(text: &str) -> Result<(&str, Cow<'_, str>, &str), ForwardedError> {
    let (name, rest) = text.split_once('=').ok_or(ForwardedError::Malformed)?;
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(ForwardedError::Malformed);
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        let (value, after) = unquoted(quoted).ok_or(ForwardedError::Malformed)?;
        return Ok((name, value, after));
    }
    let end = rest
        .bytes()
        .position(|b| !is_token(b) && !b":[]%".contains(&b));
    let (value, after) = rest.split_at(end.unwrap_or(rest.len()));
    if value.is_empty() {
        return Err(ForwardedError::Malformed);
    }
    Ok((name, Cow::Borrowed(value), after))
}

/// The text up to the closing quote, and what comes after that (RFC 9110 section 5.6.4).
fn unquoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text[end..].starts_with('"') {
        return Some((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = text[..end].to_owned();
    let mut letters = text[end..].char_indices();
    while let Some((index, letter)) = letters.next() {
        match letter {
            '"' => return Some((Cow::Owned(value), &text[end + index + 1..])),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(is_space)
}

fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t')
}

/// A letter of a token (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
