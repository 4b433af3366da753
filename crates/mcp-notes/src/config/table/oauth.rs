//! Settings of `AUTH_MODE=oauth`.

use super::{Group, ROW, Setting, put};
use crate::config::{
    Secret, oauth,
    value::{self, Word},
};

pub(super) const OAUTH: &[Setting] = &[
    Setting {
        name: "OAUTH_ISSUERS",
        group: Group::Auth,
        kind: "comma-separated URLs",
        about: "With AUTH_MODE=oauth: the authorization servers whose tokens are taken, each as it \
                names itself; their keys are found through their metadata.",
        set: |c, v| put(&mut c.oauth.issuers, oauth::issuers(v)),
        show: |c| oauth::joined(&c.oauth.issuers),
        ..ROW
    },
    Setting {
        name: "OAUTH_AUDIENCE",
        group: Group::Auth,
        kind: "comma-separated names",
        about: "What the `aud` of a token may name.",
        default_words: Some("PUBLIC_URL with each MCP path"),
        set: |c, v| put(&mut c.oauth.audiences, oauth::audiences(v)),
        show: |c| oauth::joined(&c.oauth.audiences),
        ..ROW
    },
    Setting {
        name: "OAUTH_ALGORITHMS",
        group: Group::Auth,
        kind: "comma-separated algorithms",
        about: "How tokens may be signed.",
        set: |c, v| put(&mut c.oauth.algorithms, oauth::algorithms(v)),
        show: |c| oauth::joined(&c.oauth.algorithms),
        ..ROW
    },
    Setting {
        name: "OAUTH_TYPED_TOKENS",
        group: Group::Auth,
        kind: "true or false",
        about: "Whether the header of a token must have the `typ` of an access token, `at+jwt`; \
                many issuers write `JWT`.",
        set: |c, v| put(&mut c.oauth.typed, Word::parse(v)),
        show: |c| c.oauth.typed.word().into(),
        ..ROW
    },
    Setting {
        name: "OAUTH_KEYS_REFRESH_SECONDS",
        group: Group::Auth,
        kind: "seconds",
        about: "The keys of issuers are read again after this time, unless `max-age` of the issuer \
                says another one up to an hour.",
        set: |c, v| put(&mut c.oauth.keys_refresh, value::seconds(v, 1)),
        show: |c| c.oauth.keys_refresh.as_secs().to_string(),
        ..ROW
    },
    Setting {
        name: "OAUTH_KEYS_STALE_SECONDS",
        group: Group::Auth,
        kind: "seconds",
        about: "Known keys count for so long since they were read while they cannot be read again; \
                an issuer that can be reached is asked first.",
        set: |c, v| put(&mut c.oauth.keys_stale, value::seconds(v, 1)),
        show: |c| c.oauth.keys_stale.as_secs().to_string(),
        ..ROW
    },
    Setting {
        name: "OAUTH_CA_PATH",
        group: Group::Auth,
        kind: "path",
        about: "The certificates of those who vouch for issuers beside those whom the machine \
                trusts, as PEM.",
        set: |c, v| put(&mut c.oauth.ca_path, value::file(v).map(Some)),
        show: |c| {
            let path = c.oauth.ca_path.as_ref();
            path.map_or_else(String::new, |path| path.display().to_string())
        },
        ..ROW
    },
    Setting {
        name: "OAUTH_INTROSPECTION_CLIENT_ID",
        group: Group::Auth,
        kind: "client id",
        about: "The client as which the first issuer is asked about tokens that are no JWT; without \
                it they are refused.",
        set: |c, v| put(&mut c.oauth.client_id, Ok(Some(v.to_owned()))),
        show: |c| c.oauth.client_id.clone().unwrap_or_default(),
        ..ROW
    },
    Setting {
        name: "OAUTH_INTROSPECTION_CLIENT_SECRET",
        group: Group::Auth,
        kind: "password",
        about: "The password of that client.",
        secret: true,
        set: |c, v| put(&mut c.oauth.client_secret, Secret::parse(v).map(Some)),
        show: |c| {
            let secret = c.oauth.client_secret.as_ref();
            secret.map_or_else(String::new, |secret| format!("{secret:?}"))
        },
        ..ROW
    },
    Setting {
        name: "OAUTH_INTROSPECTION_URL",
        group: Group::Auth,
        kind: "URL",
        about: "Where the first issuer is asked.",
        default_words: Some("as its metadata say"),
        set: |c, v| put(&mut c.oauth.introspection_url, oauth::endpoint(v).map(Some)),
        show: |c| {
            let url = c.oauth.introspection_url.as_ref();
            url.map_or_else(String::new, |url| url.as_str().to_owned())
        },
        ..ROW
    },
];
