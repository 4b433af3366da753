//! The public keys of an issuer (RFC 7517).

use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use super::{algorithm::Algorithm, fetch::Trouble};

/// More keys than any issuer has at a time.
const KEYS_MAX: usize = 100;

/// The keys of one issuer that can check a signature.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Key>);

#[derive(Debug)]
struct Key {
    id: Option<String>,
    /// What it can check, and nothing else.
    algorithms: Vec<Algorithm>,
    public: DecodingKey,
}

/// The document of an issuer. Its members are read one by one, so that a kind of key that nobody
/// here knows hides no other key.
#[derive(Deserialize)]
pub(super) struct Document {
    keys: Vec<Value>,
}

/// What there is for a token.
pub(super) enum Found<'a> {
    Key(&'a DecodingKey),
    /// A key of this name cannot have made a signature of this kind.
    Unfit,
    Unknown,
}

impl KeySet {
    /// The keys of `document` that check a signature with one of the `allowed` algorithms.
    pub(super) fn read(document: Document, allowed: &[Algorithm]) -> Result<Self, Trouble> {
        if document.keys.len() > KEYS_MAX {
            return Err(Trouble::NoKeys);
        }
        let keys: Vec<_> = document
            .keys
            .into_iter()
            .filter_map(|value| Key::read(value, allowed))
            .collect();
        if keys.is_empty() {
            return Err(Trouble::NoKeys);
        }
        Ok(Self(keys))
    }

    /// The key called `id` for a signature with `algorithm`. A token that names no key has the only
    /// one of its kind.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let fits = |key: &&Key| key.algorithms.contains(&algorithm);
        let Some(id) = id else {
            let mut fitting = self.0.iter().filter(fits);
            return match (fitting.next(), fitting.next()) {
                (Some(only), None) => Found::Key(&only.public),
                (Some(_), Some(_)) => Found::Unfit,
                (None, _) => Found::Unknown,
            };
        };
        let mut named = self.0.iter().filter(|key| key.id.as_deref() == Some(id));
        let is_known = named.clone().next().is_some();
        match named.find(fits) {
            Some(key) => Found::Key(&key.public),
            None if is_known => Found::Unfit,
            None => Found::Unknown,
        }
    }
}

impl Key {
    fn read(value: Value, allowed: &[Algorithm]) -> Option<Self> {
        let named = value.get("alg").and_then(Value::as_str).map(str::parse);
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let common = &jwk.common;
        let for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
        let operations = common.key_operations.as_ref();
        let verifies = operations.is_none_or(|all| all.contains(&KeyOperations::Verify));
        let kinds: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => &[],
            },
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                &[Algorithm::EdDSA]
            }
            _ => &[],
        };
        let suits = |algorithm: &&Algorithm| {
            allowed.contains(algorithm) && named.is_none_or(|named| named == Ok(**algorithm))
        };
        let algorithms: Vec<_> = kinds.iter().filter(suits).copied().collect();
        if !for_signatures || !verifies || algorithms.is_empty() {
            return None;
        }
        Some(Self {
            public: DecodingKey::from_jwk(&jwk).ok()?,
            id: jwk.common.key_id,
            algorithms,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(keys: &Value) -> Result<KeySet, Trouble> {
        let document = serde_json::from_value(json!({ "keys": keys })).unwrap();
        KeySet::read(document, &Algorithm::all())
    }

    fn is_key(found: &Found<'_>) -> bool {
        matches!(found, Found::Key(_))
    }

    #[test]
    fn only_public_keys_for_signatures_are_kept() {
        let rsa = json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" });
        let with = |name: &str, value: Value| {
            let mut key = rsa.clone();
            key[name] = value;
            key
        };
        for useless in [
            json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" }),
            json!({ "kty": "EC", "crv": "P-521", "x": "AQAB", "y": "AQAB" }),
            json!({ "kty": "OKP", "crv": "X25519", "x": "AQAB" }),
            json!({ "kty": "new" }),
            json!(7),
            with("use", json!("enc")),
            with("key_ops", json!(["encrypt"])),
            with("alg", json!("RSA-OAEP")),
            with("alg", json!("HS256")),
        ] {
            assert!(read(&json!([useless])).is_err(), "{useless}");
            assert!(read(&json!([useless, rsa])).is_ok(), "{useless}");
        }
        assert!(read(&json!([])).is_err());
        assert!(read(&Value::Array(vec![rsa.clone(); KEYS_MAX])).is_ok());
        assert!(read(&Value::Array(vec![rsa.clone(); KEYS_MAX + 1])).is_err());
    }

    #[test]
    fn a_key_checks_what_it_can_have_signed() {
        let keys = read(&json!([
            { "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r" },
            { "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "p", "alg": "PS256" },
            { "kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB", "kid": "e" },
        ]))
        .unwrap();
        let find = |id, algorithm| keys.find(id, algorithm);
        assert!(is_key(&find(Some("r"), Algorithm::RS512)));
        assert!(is_key(&find(Some("p"), Algorithm::PS256)));
        assert!(matches!(find(Some("p"), Algorithm::RS256), Found::Unfit));
        assert!(matches!(find(Some("e"), Algorithm::ES384), Found::Unfit));
        assert!(matches!(find(Some("r"), Algorithm::ES256), Found::Unfit));
        assert!(matches!(find(Some("x"), Algorithm::ES256), Found::Unknown));
        assert!(is_key(&find(None, Algorithm::ES256)));
        assert!(matches!(find(None, Algorithm::PS256), Found::Unfit));
        assert!(matches!(find(None, Algorithm::EdDSA), Found::Unknown));
    }
}
