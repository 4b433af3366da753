//! An authorization server on loopback that does what a test says: its metadata, its keys, its
//! introspection endpoint, and the tokens that it signs.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{
    StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
    request::Parts,
};
use jsonwebtoken::{Algorithm, EncodingKey, crypto, get_current_timestamp, jwk::Jwk};
use mcp_serve::{Config, test_util::TestServer};
use rcgen::{KeyPair, RsaKeySize};
use serde_json::{Value, json};

use super::RESOURCE;
use crate::edge::start;

/// What the issuer answers, and what it was asked.
#[derive(Default)]
pub(super) struct Book {
    /// Documents by path.
    pub(super) pages: HashMap<String, Page>,
    /// Answers of the introspection endpoint by token.
    pub(super) tokens: HashMap<String, Value>,
    /// Everything is answered with this status.
    pub(super) outage: Option<StatusCode>,
    /// Paths that were asked for.
    pub(super) asked: Vec<String>,
    /// The credentials with which the introspection endpoint was asked.
    pub(super) logins: Vec<String>,
}

/// One document.
#[derive(Clone)]
pub(super) enum Page {
    Json(Value),
    Aged(Value, u64),
    Redirect(String),
}

pub(super) struct Issuer {
    _server: TestServer,
    url: String,
    pub(super) book: Arc<Mutex<Book>>,
    pub(super) key: Key,
}

impl Issuer {
    /// An issuer with one key, whose metadata are where RFC 8414 has them.
    pub(super) async fn start() -> Self {
        Self::start_with(Config::default()).await
    }

    /// One whose server has these settings; with TLS it is called `localhost`.
    pub(super) async fn start_with(config: Config) -> Self {
        let book = Arc::new(Mutex::new(Book::default()));
        let routes = Router::new().fallback(answer).with_state(book.clone());
        let is_secure = config.tls.is_some();
        let server = start(routes, config).await;
        let issuer = Self {
            url: if is_secure {
                format!("https://localhost:{}", server.addr().port())
            } else {
                server.url()
            },
            _server: server,
            book,
            key: Key::elliptic("first"),
        };
        issuer.set("/.well-known/oauth-authorization-server", issuer.metadata());
        issuer.publish(&[&issuer.key]);
        issuer
    }

    /// Its identifier.
    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    pub(super) fn metadata(&self) -> Value {
        let url = self.url();
        json!({
            "issuer": url,
            "jwks_uri": format!("{url}/jwks"),
            "introspection_endpoint": format!("{url}/introspect"),
        })
    }

    pub(super) fn set(&self, path: &str, page: Value) {
        self.put(path, Page::Json(page));
    }

    pub(super) fn put(&self, path: &str, page: Page) {
        let mut book = self.book.lock().unwrap();
        book.pages.insert(path.to_owned(), page);
    }

    pub(super) fn remove(&self, path: &str) {
        self.book.lock().unwrap().pages.remove(path);
    }

    /// From now on these are its keys.
    pub(super) fn publish(&self, keys: &[&Key]) {
        let keys: Vec<_> = keys.iter().map(|key| key.public.clone()).collect();
        self.set("/jwks", json!({ "keys": keys }));
    }

    /// From now on nothing of it can be had.
    pub(super) fn fail(&self, outage: Option<StatusCode>) {
        self.book.lock().unwrap().outage = outage;
    }

    /// How often this path was asked for.
    pub(super) fn count(&self, path: &str) -> usize {
        let book = self.book.lock().unwrap();
        book.asked.iter().filter(|asked| *asked == path).count()
    }

    /// The claims of a good token.
    pub(super) fn claims(&self) -> Value {
        let now = get_current_timestamp();
        json!({
            "iss": self.url(),
            "aud": RESOURCE,
            "sub": "alice",
            "exp": now + 300,
            "iat": now,
            "client_id": "desk",
            "scope": "notes:read notes:write",
            "jti": "t-1",
        })
    }

    /// A good token, but for these claims; `null` leaves one out.
    pub(super) fn token(&self, changes: Value) -> String {
        self.key.sign(&with(self.claims(), changes))
    }
}

/// The object `base` with the members of `changes`; `null` takes one away.
pub(super) fn with(mut base: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else {
        panic!("no object: {changes}");
    };
    for (name, value) in changes {
        if value.is_null() {
            base.as_object_mut().unwrap().remove(&name);
        } else {
            base[name] = value;
        }
    }
    base
}

async fn answer(State(book): State<Arc<Mutex<Book>>>, parts: Parts, body: Bytes) -> Response {
    let mut book = book.lock().unwrap();
    let path = parts.uri.path().to_owned();
    book.asked.push(path.clone());
    if let Some(status) = book.outage {
        return response(status, "");
    }
    if path == "/introspect" {
        let login = parts.headers.get(AUTHORIZATION);
        let login = login.map_or("", |login| login.to_str().unwrap());
        book.logins.push(login.to_owned());
        let mut form = url::form_urlencoded::parse(&body);
        let token = form.find(|(name, _)| name == "token").unwrap().1;
        let unknown = json!({ "active": false });
        let said = book.tokens.get(&*token).unwrap_or(&unknown);
        return response(StatusCode::OK, &said.to_string());
    }
    match book.pages.get(&path) {
        Some(Page::Json(page)) => response(StatusCode::OK, &page.to_string()),
        Some(Page::Aged(page, seconds)) => {
            let mut response = response(StatusCode::OK, &page.to_string());
            let control = format!("public, max-age={seconds}").parse().unwrap();
            response.headers_mut().insert("cache-control", control);
            response
        }
        Some(Page::Redirect(to)) => {
            let mut response = response(StatusCode::FOUND, "");
            response
                .headers_mut()
                .insert("location", to.parse().unwrap());
            response
        }
        None => response(StatusCode::NOT_FOUND, ""),
    }
}

fn response(status: StatusCode, body: &str) -> Response {
    let response = Response::builder().status(status);
    let response = response.header(CONTENT_TYPE, "application/json");
    response.body(Body::from(body.to_owned())).unwrap()
}

/// A pair of keys.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    pub(super) private: EncodingKey,
    /// As it stands in the set of the issuer.
    pub(super) public: Value,
}

/// An RSA key in the form of PKCS #1, which stands in that of PKCS #8 behind a head that is always the
/// same for keys of this size (RFC 5208 section 5).
static RSA: LazyLock<Vec<u8>> = LazyLock::new(|| {
    const HEAD_BYTES: usize = 26;
    let pair = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048);
    pair.unwrap().serialized_der()[HEAD_BYTES..].to_vec()
});

impl Key {
    /// A key on the curve P-256.
    pub(super) fn elliptic(id: &str) -> Self {
        Self::of(id, Algorithm::ES256)
    }

    /// A key for this algorithm. All RSA keys are the same: they take long to make.
    pub(super) fn of(id: &str, algorithm: Algorithm) -> Self {
        let pair = |kind| KeyPair::generate_for(kind).unwrap();
        let private = match algorithm {
            Algorithm::ES256 => {
                let pair = pair(&rcgen::PKCS_ECDSA_P256_SHA256);
                EncodingKey::from_ec_der(pair.serialized_der())
            }
            Algorithm::ES384 => {
                let pair = pair(&rcgen::PKCS_ECDSA_P384_SHA384);
                EncodingKey::from_ec_der(pair.serialized_der())
            }
            Algorithm::EdDSA => {
                let pair = pair(&rcgen::PKCS_ED25519);
                let private = EncodingKey::from_ed_der(pair.serialized_der());
                let x = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
                let public = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
                return Self::with(id, algorithm, private, public);
            }
            _ => EncodingKey::from_rsa_der(&RSA),
        };
        let public = json!(Jwk::from_encoding_key(&private, algorithm).unwrap());
        Self::with(id, algorithm, private, public)
    }

    fn with(id: &str, algorithm: Algorithm, private: EncodingKey, mut public: Value) -> Self {
        public["kid"] = json!(id);
        public["use"] = json!("sig");
        Self {
            id: id.to_owned(),
            algorithm,
            private,
            public,
        }
    }

    pub(super) fn header(&self) -> Value {
        json!({ "alg": self.algorithm, "kid": self.id, "typ": "at+jwt" })
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header(), claims)
    }

    /// A token with this header, signed with this key whatever the header says.
    pub(super) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        sign(header, claims, &self.private, self.algorithm)
    }
}

pub(super) fn sign(
    header: &Value,
    claims: &Value,
    key: &EncodingKey,
    algorithm: Algorithm,
) -> String {
    let message = unsigned(header, claims);
    let signature = crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

/// Header and claims of a token, before its signature.
pub(super) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}
