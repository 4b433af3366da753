//! The files: what is served of them, and what stops the start.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use der::{Decode as _, Reader as _, SliceReader, asn1::OctetStringRef};
use mcp_serve::{
    test_util::{Authority, install},
    tls::{Clients, Files, Part, Problem, Tls, TlsError},
};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd};

use super::Stage;

#[tokio::test]
async fn the_chain_is_served_in_its_order() {
    let mut issued = None;
    let stage = Stage::with(
        |_| (),
        |root, files| {
            let between = root.intermediate("first").intermediate("second");
            let leaf = between.issue();
            fs::write(&files.key, &leaf.key).unwrap();
            fs::write(&files.chain, &leaf.chain).unwrap();
            issued = Some((leaf, between));
        },
    )
    .await;
    // The client knows the root alone.
    let stream = stage.shake(stage.client()).await.unwrap();
    let served = stream.get_ref().1.peer_certificates().unwrap();
    let (leaf, between) = issued.unwrap();
    assert_eq!(served.len(), 3);
    assert_eq!(served[0], leaf.certificate);
    assert_eq!(served[1], between.certificate());
}

/// What PKCS#8 wraps (RFC 5958 section 2): a key in the older form of its kind.
fn unwrapped(pkcs8: &[u8]) -> Vec<u8> {
    let mut reader = SliceReader::new(pkcs8).unwrap();
    let inner = reader.sequence(|fields| {
        fields.tlv_bytes()?;
        fields.tlv_bytes()?;
        let key = <&OctetStringRef>::decode(fields)?.as_bytes().to_vec();
        while !fields.is_finished() {
            fields.tlv_bytes()?;
        }
        Ok::<_, der::Error>(key)
    });
    inner.unwrap()
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----\n")
}

#[test]
fn keys_are_taken_in_all_their_forms() {
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let ec = KeyPair::generate().unwrap();
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let pkcs1 = pem("RSA PRIVATE KEY", &unwrapped(rsa.serialized_der()));
    let sec1 = pem("EC PRIVATE KEY", &unwrapped(ec.serialized_der()));
    let forms = [
        (rsa.serialize_pem(), &rsa, "RSA, PKCS#8"),
        (pkcs1, &rsa, "RSA, PKCS#1"),
        (ec.serialize_pem(), &ec, "EC, PKCS#8"),
        (sec1, &ec, "EC, SEC1"),
        (ed25519.serialize_pem(), &ed25519, "Ed25519, PKCS#8"),
    ];
    for (text, pair, form) in forms {
        let folder = tempfile::tempdir().unwrap();
        let files = files_in(folder.path());
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        fs::write(&files.chain, params.self_signed(pair).unwrap().pem()).unwrap();
        fs::write(&files.key, text).unwrap();
        let loaded = Tls::load(files);
        assert!(loaded.is_ok(), "{form}: {loaded:?}");
    }
}

fn files_in(folder: &Path) -> Files {
    install(folder, &Authority::root("root").issue())
}

/// What stops the start when `spoil` was at the files.
fn refused(spoil: impl FnOnce(&mut Files)) -> TlsError {
    let folder = tempfile::tempdir().unwrap();
    let mut files = files_in(folder.path());
    spoil(&mut files);
    let error = Tls::load(files.clone()).unwrap_err();
    let path = match error.part {
        Part::Key => &files.key,
        Part::Chain => &files.chain,
        Part::Authorities => &files.clients.as_ref().unwrap().authorities,
    };
    assert_eq!(&error.path, path);
    assert!(
        error.to_string().starts_with(path.to_str().unwrap()),
        "{error}"
    );
    error
}

fn with_authorities(files: &mut Files, text: &str) {
    let authorities = files.key.with_file_name("authorities.pem");
    fs::write(&authorities, text).unwrap();
    files.clients = Some(Clients {
        authorities,
        required: true,
    });
}

#[test]
fn what_cannot_be_used_stops_the_start_and_is_named() {
    let key = |error: TlsError, says: &str| {
        assert_eq!(error.part, Part::Key, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    let chain = |error: TlsError, says: &str| {
        assert_eq!(error.part, Part::Chain, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    key(
        refused(|it| fs::remove_file(&it.key).unwrap()),
        "cannot be read",
    );
    key(
        refused(|it| it.key = "/dev/zero".into()),
        "larger than 1 MiB",
    );
    key(
        refused(|it| fs::write(&it.key, "").unwrap()),
        "no private key",
    );
    key(
        refused(|it| fs::write(&it.key, "-----BEGIN PRIVATE KEY-----\nMIG").unwrap()),
        "PEM",
    );
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGj\n-----END ENCRYPTED PRIVATE KEY-----\n";
    key(
        refused(|it| fs::write(&it.key, encrypted).unwrap()),
        "encrypted",
    );
    let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    key(
        refused(|it| fs::write(&it.key, nonsense).unwrap()),
        "cannot be used",
    );

    chain(
        refused(|it| fs::remove_file(&it.chain).unwrap()),
        "cannot be read",
    );
    chain(
        refused(|it| fs::write(&it.chain, "").unwrap()),
        "no certificate",
    );
    chain(
        refused(|it| fs::write(&it.chain, fs::read(&it.key).unwrap()).unwrap()),
        "no certificate",
    );
    let cut = |it: &mut Files| {
        let text = fs::read_to_string(&it.chain).unwrap();
        fs::write(&it.chain, &text[..text.len() / 2]).unwrap();
    };
    chain(refused(cut), "PEM");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    chain(
        refused(|it| fs::write(&it.chain, nonsense).unwrap()),
        "cannot be used",
    );
    let other = |it: &mut Files| {
        fs::write(&it.chain, Authority::root("other").issue().chain).unwrap();
    };
    let mismatch = refused(other);
    assert!(
        matches!(mismatch.problem, Problem::Mismatch(_)),
        "{mismatch}"
    );
    chain(mismatch, "key.pem");

    let none = refused(|it| with_authorities(it, ""));
    assert_eq!(none.part, Part::Authorities);
    let bad = refused(|it| with_authorities(it, nonsense));
    assert_eq!(bad.part, Part::Authorities);
}

#[test]
fn a_key_that_everybody_can_write_stops_the_start() {
    let open = |mode| {
        move |it: &mut Files| {
            fs::set_permissions(&it.key, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    for mode in [0o602, 0o666] {
        let error = refused(open(mode));
        assert!(matches!(error.problem, Problem::Open), "{error}");
        assert_eq!(error.part, Part::Key);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut files = files_in(folder.path());
    // One that everybody can read is a warning.
    open(0o664)(&mut files);
    assert!(Tls::load(files).is_ok());
}

#[test]
fn a_certificate_that_does_not_hold_now_stops_the_start() {
    let dated = |from: i32, until: i32| {
        refused(|files| {
            let issued = Authority::root("root").issue_as(|params| {
                params.not_before = date_time_ymd(from, 1, 1);
                params.not_after = date_time_ymd(until, 1, 1);
            });
            fs::write(&files.key, issued.key).unwrap();
            fs::write(&files.chain, issued.chain).unwrap();
        })
    };
    let expired = dated(2001, 2002).to_string();
    assert!(
        expired.ends_with("expired at 2002-01-01T00:00:00Z"),
        "{expired}"
    );
    let early = dated(2950, 2951).to_string();
    assert!(
        early.ends_with("holds from 2950-01-01T00:00:00Z only"),
        "{early}"
    );
}
