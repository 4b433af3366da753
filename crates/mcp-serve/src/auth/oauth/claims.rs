//! What an authorization server says of a token: the claims of a JWT (RFC 7519, RFC 9068) or the
//! answer of an introspection (RFC 7662).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::auth::{Actor, Confirmation, Identity, Scopes};

/// Why a token does not count, in one word for logs and metrics.
pub(super) type Reason = &'static str;

#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: Option<String>,
    pub(super) aud: Option<OneOrMore>,
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    scope: Option<OneOrMore>,
    scp: Option<OneOrMore>,
    client_id: Option<String>,
    azp: Option<String>,
    act: Option<Act>,
    cnf: Option<Map<String, Value>>,
    jti: Option<String>,
    /// What Keycloak calls the kind of a token.
    typ: Option<String>,
    /// What others call it.
    token_use: Option<String>,
    /// Introspection has it: `Bearer` or `DPoP`.
    token_type: Option<String>,
    nonce: Option<Value>,
    at_hash: Option<Value>,
    c_hash: Option<Value>,
    events: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Act {
    iss: Option<String>,
    sub: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
        .iter()
        .map(String::as_str)
    }
}

impl Claims {
    /// Refuses what was made for something else than calling a resource: ID tokens (`OpenID` Connect
    /// Core section 2), refresh tokens, logout tokens and other events.
    pub(super) fn check_kind(&self) -> Result<(), Reason> {
        const ACCESS: [&str; 4] = ["bearer", "at+jwt", "access", "access_token"];
        let marks = [&self.nonce, &self.at_hash, &self.c_hash, &self.events];
        let other = |kind: &String| !ACCESS.contains(&&*kind.to_ascii_lowercase());
        let is_other = [&self.typ, &self.token_use]
            .into_iter()
            .flatten()
            .any(other);
        if is_other || marks.iter().any(|mark| mark.is_some()) {
            return Err("kind");
        }
        let is_bearer = |kind: &String| kind.eq_ignore_ascii_case("bearer");
        if self.token_type.as_ref().is_some_and(|it| !is_bearer(it)) {
            return Err("binding");
        }
        Ok(())
    }

    /// Whether the token was issued and counts by now; `leeway` in seconds.
    pub(super) fn check_issued(&self, now: Timestamp, leeway: f64) -> Result<(), Reason> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "seconds since 1970 are far below 2^52"
        )]
        let now = now.as_second() as f64;
        let is_ahead = |time: &f64| *time > now + leeway;
        if [self.iat, self.nbf].iter().flatten().any(is_ahead) {
            return Err("not_yet");
        }
        Ok(())
    }

    /// The end of the token.
    pub(super) fn expires_at(&self) -> Result<Timestamp, Reason> {
        let end = self.exp.ok_or("claims")?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what is out of range saturates and is refused"
        )]
        Timestamp::from_second(end as i64).map_err(|_| "claims")
    }

    /// Who calls with this token of `issuer`, on a connection with the client certificate
    /// `certificate`.
    pub(super) fn identity(
        &self,
        issuer: &str,
        certificate: Option<[u8; 32]>,
    ) -> Result<Identity, Reason> {
        let subject = self.sub.clone().filter(|sub| !sub.is_empty());
        let scopes = self.scope.as_ref().or(self.scp.as_ref());
        let scopes = scopes.into_iter().flat_map(OneOrMore::iter);
        Ok(Identity {
            issuer: Some(issuer.to_owned()),
            subject: subject.ok_or("claims")?,
            client_id: self.client_id.clone().or_else(|| self.azp.clone()),
            // A token without scopes allows what needs none.
            scopes: Some(scopes.flat_map(|text| text.split(' ')).collect::<Scopes>()),
            expires_at: Some(self.expires_at()?),
            actor: self.act.as_ref().map(|act| Actor {
                issuer: act.iss.clone(),
                subject: act.sub.clone(),
            }),
            confirmation: self.confirmation(certificate)?,
            credential: self.jti.clone().filter(|id| id.len() <= 200),
        })
    }

    /// The key that the token is bound to. Whoever presents it must have proved to hold that key; a
    /// binding that cannot be checked here makes the token useless (RFC 7800 section 3.1).
    fn confirmation(&self, proved: Option<[u8; 32]>) -> Result<Option<Confirmation>, Reason> {
        let Some(cnf) = &self.cnf else {
            return Ok(None);
        };
        let thumbprint = cnf.get("x5t#S256").and_then(Value::as_str);
        let thumbprint = thumbprint
            .filter(|_| cnf.len() == 1)
            .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or("binding")?;
        if proved != Some(thumbprint) {
            return Err("binding");
        }
        Ok(Some(Confirmation::Certificate(thumbprint)))
    }
}
