//! The public keys of an issuer (RFC 7517).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
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
    /// The keys of `document` that check a signature with one of the `allowed` algorithms; there may
    /// be none.
    pub(super) fn read(document: Document, allowed: &[Algorithm]) -> Result<Self, Trouble> {
        if document.keys.len() > KEYS_MAX {
            return Err(Trouble::NoKeys);
        }
        let keys = document.keys.into_iter();
        let keys = keys.filter_map(|value| Key::read(value, allowed));
        Ok(Self(keys.collect()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
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
        // What has been published is no secret any more, and anybody could have signed with it.
        if value.get("d").is_some() {
            return None;
        }
        let named = value.get("alg").and_then(Value::as_str).map(str::parse);
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let common = &jwk.common;
        let for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
        let operations = common.key_operations.as_ref();
        let verifies = operations.is_none_or(|all| all.contains(&KeyOperations::Verify));
        let kinds = kinds(&jwk.algorithm);
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

/// What a key of this kind and size can check.
fn kinds(parameters: &AlgorithmParameters) -> &'static [Algorithm] {
    let has = |text: &str, bytes: usize| {
        let decoded = URL_SAFE_NO_PAD.decode(text);
        decoded.is_ok_and(|decoded| decoded.len() == bytes)
    };
    match parameters {
        AlgorithmParameters::RSA(rsa) if is_strong(&rsa.n) => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(point) => match point.curve {
            EllipticCurve::P256 if has(&point.x, 32) && has(&point.y, 32) => &[Algorithm::ES256],
            EllipticCurve::P384 if has(&point.x, 48) && has(&point.y, 48) => &[Algorithm::ES384],
            _ => &[],
        },
        AlgorithmParameters::OctetKeyPair(pair)
            if pair.curve == EllipticCurve::Ed25519 && has(&pair.x, 32) =>
        {
            &[Algorithm::EdDSA]
        }
        _ => &[],
    }
}

/// RFC 7518 section 3.3 asks for 2048 bits at least; more than 8192 take too long to check.
fn is_strong(modulus: &str) -> bool {
    let modulus = URL_SAFE_NO_PAD.decode(modulus).unwrap_or_default();
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let significant = modulus.get(zeros..).unwrap_or_default();
    let spare = significant.first().map_or(0, |byte| byte.leading_zeros());
    let bits = (significant.len() * 8).saturating_sub(spare as usize);
    (2048..=8192).contains(&bits)
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

    /// An RSA key of so many bits.
    fn rsa(bits: usize) -> Value {
        let mut modulus = vec![0xff; bits.div_ceil(8)];
        modulus[0] >>= bits.div_ceil(8) * 8 - bits;
        // The sign that some issuers put in front.
        modulus.insert(0, 0);
        json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB" })
    }

    fn point(curve: &str, bytes: usize) -> Value {
        let half = URL_SAFE_NO_PAD.encode(vec![7; bytes]);
        json!({ "kty": "EC", "crv": curve, "x": half, "y": half })
    }

    fn called(mut key: Value, id: &str) -> Value {
        key["kid"] = json!(id);
        key
    }

    #[test]
    fn only_public_keys_for_signatures_are_kept() {
        let rsa = rsa(2048);
        let with = |name: &str, value: Value| {
            let mut key = rsa.clone();
            key[name] = value;
            key
        };
        for useless in [
            json!({ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" }),
            point("P-521", 66),
            json!({ "kty": "OKP", "crv": "X25519", "x": URL_SAFE_NO_PAD.encode([7; 32]) }),
            with("d", json!("AQAB")),
            json!({ "kty": "new" }),
            json!(7),
            with("use", json!("enc")),
            with("key_ops", json!(["encrypt"])),
            with("alg", json!("RSA-OAEP")),
            with("alg", json!("HS256")),
        ] {
            assert!(read(&json!([useless])).unwrap().is_empty(), "{useless}");
            let both = read(&json!([useless, rsa])).unwrap();
            assert_eq!(both.0.len(), 1, "{useless}");
        }
        assert!(
            !read(&json!([with("key_ops", json!(["verify"]))]))
                .unwrap()
                .is_empty()
        );
        assert!(read(&Value::Array(vec![rsa.clone(); KEYS_MAX])).is_ok());
        assert!(read(&Value::Array(vec![rsa.clone(); KEYS_MAX + 1])).is_err());
    }

    #[test]
    fn keys_of_the_wrong_size_are_not_kept() {
        for (key, is_kept) in [
            (rsa(1024), false),
            (rsa(2047), false),
            (rsa(2048), true),
            (rsa(8192), true),
            (rsa(8193), false),
            (point("P-256", 32), true),
            (point("P-256", 48), false),
            (point("P-384", 48), true),
            (point("P-384", 32), false),
            (
                json!({ "kty": "OKP", "crv": "Ed25519", "x": "AQAB" }),
                false,
            ),
        ] {
            assert_eq!(!read(&json!([key])).unwrap().is_empty(), is_kept, "{key}");
        }
    }

    #[test]
    fn of_two_keys_with_one_name_the_one_that_fits_is_found() {
        let mut both = [rsa(2048), point("P-256", 32)].map(|key| called(key, "same"));
        for _ in 0..2 {
            let keys = read(&json!(both)).unwrap();
            for algorithm in [Algorithm::RS256, Algorithm::ES256] {
                assert!(is_key(&keys.find(Some("same"), algorithm)));
            }
            both.reverse();
        }
    }

    #[test]
    fn a_key_checks_what_it_can_have_signed() {
        let mut only_pss = rsa(2048);
        only_pss["alg"] = json!("PS256");
        let keys = read(&json!([
            called(rsa(2048), "r"),
            called(only_pss, "p"),
            called(point("P-256", 32), "e"),
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
