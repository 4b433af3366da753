//! Clients that prove with a certificate who they are.

use std::{fmt::Write as _, fs, sync::Arc};

use mcp_serve::{
    Config,
    test_util::{Authority, Issued, RawClient},
    tls::Clients,
};
use rcgen::date_time_ymd;
use rustls::ClientConfig;
use sha2::{Digest as _, Sha256};

use super::Stage;

/// A server that asks clients for a certificate of its own root.
async fn stage(required: bool) -> Stage {
    Stage::with(
        |_: &mut Config| (),
        |root, files| {
            let authorities = files.key.with_file_name("authorities.pem");
            fs::write(&authorities, &root.pem).unwrap();
            files.clients = Some(Clients {
                authorities,
                required,
            });
        },
    )
    .await
}

/// What `/who` answers, or why there is no answer.
async fn who(stage: &Stage, own: Option<&Issued>) -> Result<String, String> {
    ask(stage, stage.client_with(own)).await
}

async fn ask(stage: &Stage, client: Arc<ClientConfig>) -> Result<String, String> {
    let mut client = RawClient::connect_tls(stage.server.addr(), client)
        .await
        .map_err(|error| error.to_string())?;
    // In TLS 1.3 a client learns only with the first answer that its certificate was not taken.
    let answer = client.get("/who").await;
    answer
        .map(|it| it.text())
        .map_err(|error| error.to_string())
}

fn thumbprint(issued: &Issued) -> String {
    let mut seen = "https 127.0.0.1 ".to_owned();
    for byte in Sha256::digest(&issued.certificate) {
        write!(seen, "{byte:02x}").unwrap();
    }
    seen
}

#[tokio::test]
async fn nobody_is_asked_for_a_certificate_by_default() {
    let stage = Stage::new().await;
    let own = stage.root.issue_to_client(|_| ());
    assert_eq!(who(&stage, Some(&own)).await.unwrap(), "https 127.0.0.1 ");
}

#[tokio::test]
async fn a_certificate_that_holds_arrives_with_the_request() {
    for required in [false, true] {
        let stage = stage(required).await;
        let own = stage.root.issue_to_client(|_| ());
        assert_eq!(who(&stage, Some(&own)).await.unwrap(), thumbprint(&own));
        let through = stage.root.intermediate("branch").issue_to_client(|_| ());
        assert_eq!(
            who(&stage, Some(&through)).await.unwrap(),
            thumbprint(&through)
        );
    }
}

#[tokio::test]
async fn without_a_certificate_it_depends() {
    let optional = stage(false).await;
    assert_eq!(who(&optional, None).await.unwrap(), "https 127.0.0.1 ");
    let required = stage(true).await;
    let refused = who(&required, None).await.unwrap_err();
    assert!(refused.contains("CertificateRequired"), "{refused}");
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_refused_even_where_none_is_needed() {
    for required in [false, true] {
        let stage = stage(required).await;
        // The name is the same, the key is not.
        let strange = Authority::root("root").issue_to_client(|_| ());
        let expired = stage.root.issue_to_client(|params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        });
        let of_a_server = stage.root.issue();
        for (own, what) in [
            (strange, "strange"),
            (expired, "expired"),
            (of_a_server, "a server's"),
        ] {
            let refused = who(&stage, Some(&own)).await;
            assert!(refused.is_err(), "{what}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn what_clients_need_changes_with_the_file_and_no_ticket_goes_around_it() {
    let stage = stage(true).await;
    let own = stage.root.issue_to_client(|_| ());
    let client = stage.client_with(Some(&own));
    assert_eq!(ask(&stage, client.clone()).await.unwrap(), thumbprint(&own));

    let authorities = &stage.files.clients.as_ref().unwrap().authorities;
    let other = Authority::root("other");
    fs::write(authorities, &other.pem).unwrap();
    stage.tls.reload().unwrap();
    // The client has tickets of the session that it had.
    let refused = ask(&stage, client.clone()).await;
    assert!(refused.is_err(), "{refused:?}");
    let new = other.issue_to_client(|_| ());
    assert_eq!(who(&stage, Some(&new)).await.unwrap(), thumbprint(&new));
}

#[tokio::test]
async fn the_server_knows_itself() {
    let stage = stage(true).await;
    let own = mcp_serve::tls::Tls::client_of_itself(&stage.files).unwrap();
    let answer = ask(&stage, Arc::new(own)).await.unwrap();
    assert!(answer.starts_with("https 127.0.0.1 "), "{answer}");
}
