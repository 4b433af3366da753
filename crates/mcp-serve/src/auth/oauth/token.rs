//! Tokens that are JWTs (RFC 7519, RFC 9068): whose they are, and whether they hold here.

use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::{
    Algorithm as Jwa, DecodingKey, Validation, dangerous::insecure_decode_claims, decode_header,
    errors::ErrorKind,
};
use serde::Deserialize;

use super::{
    algorithm::Algorithm,
    claims::{Claims, Reason},
};

/// Longer names of keys than any issuer gives.
const KEY_ID_BYTES_MAX: usize = 512;

/// Whether it looks like a signed JWT: three parts, the first of them a JSON object.
pub(super) fn is_jwt(token: &str) -> bool {
    token.starts_with("ey") && token.split('.').count() == 3
}

/// What a token says of itself before anything is checked.
pub(super) struct Head {
    pub(super) issuer: String,
    pub(super) key_id: Option<String>,
    pub(super) algorithm: Algorithm,
    jwa: Jwa,
}

#[derive(Deserialize)]
struct Peek {
    iss: String,
}

/// What every token must be, whoever issued it.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) audiences: Vec<String>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) typed: bool,
    pub(super) leeway: Duration,
}

impl Rules {
    /// Reads what is needed to find the key. Nothing that the token says about where to get a key
    /// (`jku`, `jwk`, `x5u`, `x5c`) is looked at.
    pub(super) fn read_head(&self, token: &str) -> Result<Head, Reason> {
        let header = decode_header(token).map_err(|error| reason(error.kind()))?;
        let algorithm = Algorithm::of(header.alg).ok_or("algorithm")?;
        if !self.algorithms.contains(&algorithm) {
            return Err("algorithm");
        }
        if header.crit.is_some() || header.zip.is_some() || header.enc.is_some() {
            return Err("header");
        }
        self.check_type(header.typ.as_deref())?;
        let too_long = |id: &String| id.len() > KEY_ID_BYTES_MAX;
        if header.kid.as_ref().is_some_and(too_long) {
            return Err("key");
        }
        let peek: Peek = insecure_decode_claims(token).map_err(|error| reason(error.kind()))?;
        Ok(Head {
            issuer: peek.iss,
            key_id: header.kid,
            algorithm,
            jwa: header.alg,
        })
    }

    /// `at+jwt` is an access token (RFC 9068 section 2.1). Many issuers write `JWT` or nothing; any
    /// other word is another kind of token (RFC 8725 section 3.11).
    fn check_type(&self, typ: Option<&str>) -> Result<(), Reason> {
        let typ = typ.map(str::to_ascii_lowercase);
        match typ.as_deref() {
            Some("at+jwt" | "application/at+jwt") => Ok(()),
            None | Some("jwt" | "application/jwt") if !self.typed => Ok(()),
            _ => Err("type"),
        }
    }

    /// The claims of a token that was signed with `key` and holds now, here, for this audience.
    pub(super) fn check(
        &self,
        token: &str,
        head: &Head,
        key: &DecodingKey,
    ) -> Result<Claims, Reason> {
        let mut validation = Validation::new(head.jwa);
        validation.leeway = self.leeway.as_secs();
        validation.validate_nbf = true;
        validation.set_audience(&self.audiences);
        validation.set_issuer(&[&head.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let data = jsonwebtoken::decode::<Claims>(token, key, &validation);
        let claims = data.map_err(|error| reason(error.kind()))?.claims;
        claims.check_kind()?;
        claims.check_issued(Timestamp::now(), self.leeway.as_secs_f64())?;
        Ok(claims)
    }
}

fn reason(kind: &ErrorKind) -> Reason {
    match kind {
        ErrorKind::InvalidSignature => "signature",
        ErrorKind::ExpiredSignature => "expired",
        ErrorKind::ImmatureSignature => "not_yet",
        ErrorKind::InvalidIssuer => "issuer",
        ErrorKind::InvalidAudience => "audience",
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => "claims",
        ErrorKind::InvalidAlgorithm => "algorithm",
        _ => "malformed",
    }
}
