//! The real binary over HTTPS: its settings, its health check, its signal, and an official client.

use std::{fs, path::Path, sync::Arc};

use mcp_serve::test_util::{Authority, RawClient, install, trusting};
use tempfile::{TempDir, tempdir};

use crate::{
    clients::drive_at,
    process::{Served, run, signal, stderr, text},
};

/// A folder with a certificate of `root`, and the settings that name it.
struct Stage {
    root: Authority,
    folder: TempDir,
    vars: Vec<(&'static str, String)>,
}

impl Stage {
    fn new() -> Self {
        let (root, folder) = (Authority::root("root"), tempdir().unwrap());
        let files = install(folder.path(), &root.issue());
        let vars = vec![
            ("SSL_ENABLED", "true".into()),
            ("SSL_KEY_PATH", text(&files.key).into()),
            ("SSL_CERT_PATH", text(&files.chain).into()),
        ];
        Self { root, folder, vars }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn vars(&self) -> Vec<(&str, &str)> {
        let vars = self.vars.iter();
        vars.map(|(name, value)| (*name, value.as_str())).collect()
    }

    async fn start(&self) -> Served {
        Served::start(self.path(), &self.vars()).await
    }

    async fn healthcheck(&self, served: &Served) {
        let port = served.port();
        let mut vars = self.vars();
        vars.push(("PORT", &port));
        let check = run(self.path(), &["healthcheck"], &vars).await;
        assert_eq!(check.status.code(), Some(0), "{}", stderr(&check));
    }
}

/// Whether the server presents a certificate of `root`.
async fn presents(served: &Served, root: &Authority) -> bool {
    let client = Arc::new(trusting(root, None, &["http/1.1"]));
    match RawClient::connect_tls(served.address, client).await {
        Ok(mut client) => client.get("/livez").await.unwrap().status == 200,
        Err(_) => false,
    }
}

#[tokio::test]
async fn the_settings_make_it_https_and_healthcheck_finds_it() {
    let stage = Stage::new();
    let served = stage.start().await;
    assert_eq!(served.listening["msg"], "listening");
    assert_eq!(served.listening["scheme"], "https");
    assert!(presents(&served, &stage.root).await);
    stage.healthcheck(&served).await;
    let mut plain = RawClient::connect(served.address).await.unwrap();
    assert_eq!(plain.get("/livez").await.unwrap().status, 400);
    // The health check of plain HTTP does not take this for health.
    let port = served.port();
    let check = run(stage.path(), &["healthcheck"], &[("PORT", &port)]).await;
    assert_eq!(check.status.code(), Some(1));
    assert_eq!(served.stop().await.0.code(), Some(0));
}

#[tokio::test]
async fn healthcheck_needs_no_certificate_where_clients_do() {
    let mut stage = Stage::new();
    let authorities = stage.path().join("clients.pem");
    fs::write(&authorities, &stage.root.pem).unwrap();
    stage.vars.push(("SSL_CLIENT_AUTH", "required".into()));
    stage
        .vars
        .push(("SSL_CLIENT_CA_PATH", text(&authorities).into()));
    let served = stage.start().await;
    stage.healthcheck(&served).await;
    let own = stage.root.issue_to_client(|_| ());
    let client = Arc::new(trusting(&stage.root, Some(&own), &["http/1.1"]));
    let mut client = RawClient::connect_tls(served.address, client)
        .await
        .unwrap();
    assert_eq!(client.get("/livez").await.unwrap().status, 200);
    let none = Arc::new(trusting(&stage.root, None, &["http/1.1"]));
    if let Ok(mut none) = RawClient::connect_tls(served.address, none).await {
        assert!(none.get("/livez").await.is_err());
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start_and_are_named() {
    let stage = Stage::new();
    let mut vars = stage.vars();
    vars.push(("PORT", "0"));
    let key = stage.path().join("key.pem");
    fs::write(&key, Authority::root("other").issue().key).unwrap();
    let mismatch = run(stage.path(), &["serve"], &vars).await;
    assert_eq!(mismatch.status.code(), Some(1));
    let told = stderr(&mismatch);
    assert!(
        told.contains("SSL_CERT_PATH: ") && told.contains("chain.pem"),
        "{told}"
    );
    assert!(told.contains("does not belong to the key"), "{told}");
    fs::remove_file(&key).unwrap();
    let missing = run(stage.path(), &["serve"], &vars).await;
    assert_eq!(missing.status.code(), Some(1));
    let told = stderr(&missing);
    assert!(
        told.contains("SSL_KEY_PATH: ") && told.contains("key.pem"),
        "{told}"
    );
    // It ended before it made anything.
    assert!(!stage.path().join("data").exists());
}

#[tokio::test]
async fn sighup_takes_the_new_certificate_and_keeps_the_old_one_when_it_is_broken() {
    let stage = Stage::new();
    let served = stage.start().await;
    let mut kept = {
        let client = Arc::new(trusting(&stage.root, None, &["http/1.1"]));
        RawClient::connect_tls(served.address, client)
            .await
            .unwrap()
    };
    let chain = stage.path().join("chain.pem");
    fs::write(&chain, "not yet").unwrap();
    signal(&served.child, "HUP").await;
    served.says("the one before it stays").await;
    assert!(presents(&served, &stage.root).await);

    let new = Authority::root("new");
    install(stage.path(), &new.issue());
    signal(&served.child, "HUP").await;
    served.says("loaded anew").await;
    assert!(presents(&served, &new).await);
    assert_eq!(kept.get("/livez").await.unwrap().status, 200);
    let (status, log) = served.stop().await;
    assert_eq!(status.code(), Some(0));
    let errors: Vec<_> = log.iter().filter(|line| line["level"] == "error").collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
}

#[tokio::test]
async fn healthcheck_speaks_for_itself_where_a_proxy_must_name_its_client() {
    let mut stage = Stage::new();
    stage.vars.push(("ALLOW_ANONYMOUS", "true".into()));
    stage.vars.push(("PROXY_PROTOCOL", "on".into()));
    stage.vars.push(("TRUSTED_PROXIES", "127.0.0.1".into()));
    let served = stage.start().await;
    stage.healthcheck(&served).await;
    assert!(!presents(&served, &stage.root).await);
}

#[tokio::test]
async fn an_official_client_works_over_https() {
    let stage = Stage::new();
    let authority = stage.path().join("root.pem");
    fs::write(&authority, &stage.root.pem).unwrap();
    let served = stage.start().await;
    let url = format!("https://{}/mcp", served.address);
    let trust = [("NODE_EXTRA_CA_CERTS", text(&authority))];
    drive_at(&url, "node", "ts-sdk-2/drive.mjs", 76, &trust).await;
    assert_eq!(served.stop().await.0.code(), Some(0));
}
