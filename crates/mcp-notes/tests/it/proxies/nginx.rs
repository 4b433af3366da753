//! A real nginx with the site of `docs/proxies.md`, in a folder of its own, gone when it is dropped.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    process::{self, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use mcp_serve::test_util::{Authority, RawClient, install, tool, trusting};
use tempfile::{TempDir, tempdir};
use tokio::{
    net::{TcpSocket, TcpStream},
    process::{Child, Command},
    time::sleep,
};

use crate::process::{PATIENCE, text};

/// The name of the site.
pub(super) const NAME: &str = "notes.example.com";

/// A client at this address is a balancer before nginx: whom it names in `X-Balanced-For` is the
/// client.
pub(super) const BALANCER: [u8; 4] = [127, 0, 0, 9];

/// nginx on three ports of an address of its own.
pub(super) struct Nginx {
    child: Child,
    folder: TempDir,
    root: Authority,
    /// Where the site is.
    https: SocketAddr,
    /// Where the site is too, without TLS.
    pub(super) clear: SocketAddr,
    /// What sends everybody to HTTPS.
    pub(super) redirect: SocketAddr,
}

impl Nginx {
    /// An address of the loopback network that no other test has.
    pub(super) fn address() -> Ipv4Addr {
        static COUNT: AtomicU8 = AtomicU8::new(64);
        let [.., high, low] = process::id().to_be_bytes();
        Ipv4Addr::new(127, COUNT.fetch_add(1, Ordering::Relaxed), high, low)
    }

    /// Starts nginx at `address` before the server at `upstream`, with `changes` of its site: what is
    /// replaced, which must be there, and by what.
    pub(super) async fn start(
        address: Ipv4Addr,
        upstream: SocketAddr,
        changes: &[(&str, &str)],
    ) -> Self {
        let (folder, root) = (tempdir().unwrap(), Authority::root("root"));
        let issued = root.issue_as(|params| {
            params.subject_alt_names = vec![rcgen::SanType::DnsName(NAME.try_into().unwrap())];
        });
        let files = install(folder.path(), &issued);
        let free = [0; 3].map(|port| TcpListener::bind((address, port)).unwrap());
        let [https, clear, redirect] = free.map(|it| it.local_addr().unwrap());
        let local = [
            ("server 127.0.0.1:3000;", format!("server {upstream};")),
            (
                "listen 80 default_server;",
                format!("listen {redirect} default_server; listen {clear} default_server;"),
            ),
            (
                "listen 443 ssl default_server;",
                format!("listen {https} ssl default_server;"),
            ),
            ("listen 80;", format!("listen {redirect};")),
            (
                "listen 443 ssl;",
                format!("listen {https} ssl; listen {clear};"),
            ),
            ("/etc/nginx/tls/chain.pem", text(&files.chain).into()),
            ("/etc/nginx/tls/key.pem", text(&files.key).into()),
        ];
        let mut site = site();
        for (old, new) in changes {
            replace(&mut site, old, new);
        }
        for (old, new) in &local {
            replace(&mut site, old, new);
        }
        fs::write(folder.path().join("nginx.conf"), whole(address, &site)).unwrap();
        let child = Command::new(tool("nginx"))
            .args(["-c", "nginx.conf", "-e", "error.log", "-p"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut nginx = Self {
            child,
            folder,
            root,
            https,
            clear,
            redirect,
        };
        nginx.wait().await;
        nginx
    }

    /// Waits until nginx listens.
    async fn wait(&mut self) {
        let end = Instant::now() + PATIENCE;
        for address in [self.https, self.clear, self.redirect] {
            while TcpStream::connect(address).await.is_err() {
                let ended = self.child.try_wait().unwrap();
                assert!(
                    ended.is_none() && Instant::now() < end,
                    "{ended:?} {}",
                    self.errors()
                );
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// What nginx had to complain of.
    pub(super) fn errors(&self) -> String {
        fs::read_to_string(self.folder.path().join("error.log")).unwrap()
    }

    /// A connection from `source` in the clear.
    pub(super) async fn http(&self, source: [u8; 4]) -> RawClient {
        connect(source, self.clear).await
    }

    /// A connection from `source` within TLS, if nginx has a certificate for `name`.
    pub(super) async fn https_to(
        &self,
        name: &'static str,
        source: [u8; 4],
    ) -> std::io::Result<RawClient> {
        let config = Arc::new(trusting(&self.root, None, &["http/1.1"]));
        let client = connect(source, self.https).await;
        client.secure_with(name, config).await
    }

    /// A connection from `source` within TLS.
    pub(super) async fn https(&self, source: [u8; 4]) -> RawClient {
        self.https_to(NAME, source).await.unwrap()
    }
}

/// A connection that comes from the loopback address `source`.
pub(super) async fn connect(source: [u8; 4], to: SocketAddr) -> RawClient {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(source), 0).into()).unwrap();
    RawClient::over(socket.connect(to).await.unwrap(), to)
}

/// The site in the document.
fn site() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/proxies.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```nginx\n").expect("a site");
    let (site, _) = rest.split_once("```").expect("its end");
    site.to_owned()
}

fn replace(site: &mut String, old: &str, new: &str) {
    assert_eq!(site.matches(old).count(), 1, "{old} in {site}");
    *site = site.replace(old, new);
}

/// The configuration around the site. Paths are below the folder of nginx.
///
/// The server asks nginx not to buffer its streams; that is not heard here, for the site to be what
/// is tried.
fn whole(address: Ipv4Addr, site: &str) -> String {
    let balancer = Ipv4Addr::from(BALANCER);
    format!(
        "daemon off; master_process off; pid pid; error_log error.log;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi; scgi_temp_path scgi;
            proxy_bind {address};
            proxy_ignore_headers X-Accel-Buffering;
            set_real_ip_from {balancer};
            real_ip_header X-Balanced-For;
            {site}
        }}"
    )
}
