//! Settings for certificates.

use std::path::PathBuf;

use super::{Group, ROW, Setting, put};
use crate::config::value::{self, Word};

pub(super) const TLS: &[Setting] = &[
    Setting {
        name: "SSL_ENABLED",
        group: Group::Tls,
        kind: "true or false",
        about: "Whether the server speaks HTTPS, TLS 1.2 and 1.3, instead of HTTP.",
        set: |c, v| put(&mut c.ssl.enabled, Word::parse(v)),
        show: |c| c.ssl.enabled.word().into(),
        ..ROW
    },
    Setting {
        name: "SSL_KEY_PATH",
        group: Group::Tls,
        kind: "path",
        about: "The private key, as PEM; the files of this group are read again when they change, \
                and on SIGHUP.",
        set: |c, v| put(&mut c.ssl.key_path, value::file(v).map(Some)),
        show: |c| shown(c.ssl.key_path.as_ref()),
        ..ROW
    },
    Setting {
        name: "SSL_CERT_PATH",
        group: Group::Tls,
        kind: "path",
        about: "The certificate of the key and then its chain, as PEM.",
        set: |c, v| put(&mut c.ssl.cert_path, value::file(v).map(Some)),
        show: |c| shown(c.ssl.cert_path.as_ref()),
        ..ROW
    },
    Setting {
        name: "SSL_CLIENT_AUTH",
        group: Group::Tls,
        kind: "none, optional or required",
        about: "Whether clients are asked for a certificate; one that does not hold is refused, \
                and with required so is a client without one.",
        set: |c, v| put(&mut c.ssl.client_auth, Word::parse(v)),
        show: |c| c.ssl.client_auth.word().into(),
        ..ROW
    },
    Setting {
        name: "SSL_CLIENT_CA_PATH",
        group: Group::Tls,
        kind: "path",
        about: "The certificates of those who issue the certificates of clients, as PEM.",
        set: |c, v| put(&mut c.ssl.client_ca_path, value::file(v).map(Some)),
        show: |c| shown(c.ssl.client_ca_path.as_ref()),
        ..ROW
    },
];

fn shown(path: Option<&PathBuf>) -> String {
    path.map_or_else(String::new, |path| path.display().to_string())
}
