//! Certificates that are renewed while the server runs.

use std::{fs, os::unix::fs::symlink, path::Path, sync::Arc, time::Instant};

use mcp_serve::{
    test_util::{Issued, Next, RawClient, Samples, install},
    tls::Files,
};
use rustls::{ClientConfig, HandshakeKind};

use super::{PATIENCE, SOON, Stage};

impl Stage {
    /// Whether `issued` is what the server presents.
    async fn presents(&self, issued: &Issued) -> bool {
        let stream = self.shake(self.client()).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0] == issued.certificate
    }

    /// Waits until the server presents `issued`.
    async fn comes_to_present(&self, issued: &Issued) {
        let begun = Instant::now();
        while !self.presents(issued).await {
            assert!(
                begun.elapsed() < PATIENCE,
                "the new certificate is not presented"
            );
            tokio::time::sleep(SOON / 5).await;
        }
    }

    /// Whether `issued` is still presented after the server has looked several times.
    async fn goes_on_presenting(&self, issued: &Issued) {
        for _ in 0..10 {
            assert!(self.presents(issued).await);
            tokio::time::sleep(SOON / 5).await;
        }
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_presented_and_streams_go_on() {
    let stage = Stage::new().await;
    let mut events = stage
        .connect()
        .await
        .open_stream("GET", "/events", &[], b"")
        .await
        .unwrap();
    let mut kept = stage.connect().await;
    assert_eq!(kept.get("/hello").await.unwrap().status, 200);
    let expires = stage.tls.not_after();

    let renewed = stage
        .root
        .issue_as(|params| params.not_after = rcgen::date_time_ymd(2090, 1, 1));
    install(stage.folder.path(), &renewed);
    stage.comes_to_present(&renewed).await;
    assert_ne!(stage.tls.not_after(), expires);
    assert_eq!(stage.tls.not_after().to_string(), "2090-01-01T00:00:00Z");

    assert_eq!(kept.get("/tell").await.unwrap().status, 200);
    assert_eq!(events.next_event(PATIENCE).await.event().data, "told");
    assert_eq!(events.next_event(SOON).await, Next::Silence);
}

#[tokio::test]
async fn the_metrics_say_when_the_certificate_begins_and_expires() {
    let listen = Some("127.0.0.1:0".parse().unwrap());
    let stage = Stage::with(|config| config.scrape.listen = listen, |_, _| ()).await;
    let readers = stage.server.metrics_addr().unwrap();
    let begins = "mcp_tls_certificate_not_before_timestamp_seconds";
    let expires = "mcp_tls_certificate_expiry_timestamp_seconds";
    let says = |time: jiff::Timestamp, series: &'static str| {
        let line = format!("\n{series} {}\n", time.as_second());
        move |now: &Samples| now.text.contains(&line)
    };
    let (first, last) = (stage.tls.not_before(), stage.tls.not_after());
    Samples::until(readers, "the beginning", says(first, begins)).await;
    Samples::until(readers, "the end", says(last, expires)).await;
    let renewed = stage
        .root
        .issue_as(|params| params.not_after = rcgen::date_time_ymd(2090, 1, 1));
    install(stage.folder.path(), &renewed);
    let later = "2090-01-01T00:00:00Z".parse().unwrap();
    Samples::until(readers, "the end of the renewed one", says(later, expires)).await;
}

#[tokio::test]
async fn a_pair_that_is_half_written_changes_nothing() {
    let stage = Stage::new().await;
    let old = stage.root.issue();
    install(stage.folder.path(), &old);
    stage.comes_to_present(&old).await;
    let renewed = stage.root.issue();
    fs::write(&stage.files.key, &renewed.key).unwrap();
    stage.goes_on_presenting(&old).await;
    fs::write(&stage.files.chain, &renewed.chain).unwrap();
    stage.comes_to_present(&renewed).await;
}

#[tokio::test]
async fn a_version_that_cannot_be_used_leaves_the_one_before_it() {
    let stage = Stage::new().await;
    let old = stage.root.issue();
    install(stage.folder.path(), &old);
    stage.comes_to_present(&old).await;
    for broken in ["", "no PEM at all", &old.chain[..100]] {
        fs::write(&stage.files.chain, broken).unwrap();
        stage.goes_on_presenting(&old).await;
        assert!(stage.tls.reload().is_err());
        assert!(stage.presents(&old).await);
    }
    fs::remove_file(&stage.files.chain).unwrap();
    stage.goes_on_presenting(&old).await;
    let renewed = stage.root.issue();
    install(stage.folder.path(), &renewed);
    stage.comes_to_present(&renewed).await;
}

/// A version of the files in a folder of its own, as certbot and Kubernetes keep them.
fn version(folder: &Path, name: &str, issued: &Issued) {
    let folder = folder.join(name);
    fs::create_dir(&folder).unwrap();
    install(&folder, issued);
}

/// Makes `link` lead to `target` in one step.
fn point(link: &Path, target: &str) {
    let new = link.with_extension("new");
    symlink(target, &new).unwrap();
    fs::rename(&new, link).unwrap();
}

#[tokio::test]
async fn links_that_move_count_as_changes() {
    let mut first = None;
    let stage = Stage::with(
        |_| (),
        |root, files| {
            let folder = files.key.parent().unwrap().to_owned();
            let issued = root.issue();
            version(&folder, "1", &issued);
            point(&folder.join("data"), "1");
            for name in ["live-key", "live-chain"] {
                let file = name.strip_prefix("live-").unwrap();
                point(&folder.join(name), &format!("data/{file}.pem"));
            }
            *files = Files {
                key: folder.join("live-key"),
                chain: folder.join("live-chain"),
                clients: None,
            };
            first = Some(issued);
        },
    )
    .await;
    assert!(stage.presents(&first.unwrap()).await);
    let renewed = stage.root.issue();
    version(stage.folder.path(), "2", &renewed);
    point(&stage.folder.path().join("data"), "2");
    stage.comes_to_present(&renewed).await;
}

async fn kind(stage: &Stage, client: &Arc<ClientConfig>) -> HandshakeKind {
    let stream = stage.shake(client.clone()).await.unwrap();
    let kind = stream.get_ref().1.handshake_kind().unwrap();
    // The tickets come behind the handshake, with the first answer at the latest.
    let mut client = RawClient::over(stream, stage.server.addr());
    assert_eq!(client.get("/hello").await.unwrap().status, 200);
    kind
}

#[tokio::test]
async fn sessions_are_resumed_before_and_after_a_renewal() {
    let stage = Stage::new().await;
    let client = stage.client();
    assert_eq!(kind(&stage, &client).await, HandshakeKind::Full);
    assert_eq!(kind(&stage, &client).await, HandshakeKind::Resumed);
    let renewed = stage.root.issue();
    install(stage.folder.path(), &renewed);
    stage.tls.reload().unwrap();
    assert_eq!(kind(&stage, &client).await, HandshakeKind::Resumed);
    assert!(stage.presents(&renewed).await);
}
