//! A real nginx with the site of `docs/proxies.md` or with `deploy/nginx/nginx.conf`, in a folder of
//! its own, gone when it is dropped.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{self, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use mcp_serve::test_util::{Authority, Issued, RawClient, install, tool, trusting};
use tempfile::{TempDir, tempdir};
use tokio::{
    net::{TcpSocket, TcpStream},
    process::{Child, Command},
    time::sleep,
};

use crate::process::{PATIENCE, text};

/// The name of the site.
pub(crate) const NAME: &str = "notes.example.com";

/// A client at this address is a balancer before nginx: whom it names in `X-Balanced-For` is the
/// client.
pub(crate) const BALANCER: [u8; 4] = [127, 0, 0, 9];

/// nginx on three ports of an address of its own.
pub(crate) struct Nginx {
    /// A shell that ends nginx when its input ends, in whatever way this process does.
    keeper: Child,
    folder: TempDir,
    root: Authority,
    /// Where the site is.
    pub(crate) https: SocketAddr,
    /// Where the site is too, without TLS.
    pub(crate) clear: SocketAddr,
    /// What sends everybody to HTTPS.
    pub(crate) redirect: SocketAddr,
}

/// Places and certificate of an nginx that is not written down yet.
struct Plan {
    folder: TempDir,
    root: Authority,
    chain: String,
    key: String,
    /// [`Nginx::https`], [`Nginx::clear`] and [`Nginx::redirect`].
    ports: [SocketAddr; 3],
}

impl Plan {
    fn new(address: Ipv4Addr) -> Self {
        let (folder, root) = (tempdir().unwrap(), Authority::root("root"));
        let files = install(folder.path(), &issued(&root));
        let free = [0; 3].map(|port| TcpListener::bind((address, port)).unwrap());
        Self {
            folder,
            root,
            chain: text(&files.chain).into(),
            key: text(&files.key).into(),
            ports: free.map(|it| it.local_addr().unwrap()),
        }
    }

    /// Starts nginx with this configuration.
    async fn start(self, configuration: &str) -> Nginx {
        fs::write(self.folder.path().join("nginx.conf"), configuration).unwrap();
        let keeper = Command::new("/bin/sh")
            .args(["-c", "\"$@\" & cat; kill -s TERM $!; wait", "sh"])
            .arg(tool("nginx"))
            .args(arguments(self.folder.path()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let [https, clear, redirect] = self.ports;
        let mut nginx = Nginx {
            keeper,
            folder: self.folder,
            root: self.root,
            https,
            clear,
            redirect,
        };
        nginx.wait().await;
        nginx
    }
}

/// How nginx finds the configuration in `folder`, and stays the process that was started.
fn arguments(folder: &Path) -> [&str; 8] {
    [
        "-p",
        text(folder),
        "-c",
        "nginx.conf",
        "-e",
        "error.log",
        "-g",
        "daemon off;",
    ]
}

/// A certificate for the site.
fn issued(root: &Authority) -> Issued {
    root.issue_as(|params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName(NAME.try_into().unwrap())];
    })
}

impl Nginx {
    /// An address of the loopback network that no other test has.
    pub(crate) fn address() -> Ipv4Addr {
        static COUNT: AtomicU8 = AtomicU8::new(64);
        let [.., high, low] = process::id().to_be_bytes();
        Ipv4Addr::new(127, COUNT.fetch_add(1, Ordering::Relaxed), high, low)
    }

    /// Starts nginx at `address` before the server at `upstream`, with the site of the document and
    /// `changes` of it: what is replaced, which must be there, and by what.
    pub(crate) async fn start(
        address: Ipv4Addr,
        upstream: SocketAddr,
        changes: &[(&str, &str)],
    ) -> Self {
        let plan = Plan::new(address);
        let [https, clear, redirect] = plan.ports;
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
            ("/etc/nginx/tls/chain.pem", plan.chain.clone()),
            ("/etc/nginx/tls/key.pem", plan.key.clone()),
        ];
        let mut site = site();
        for (old, new) in changes {
            replace(&mut site, old, new);
        }
        for (old, new) in &local {
            replace(&mut site, old, new);
        }
        plan.start(&whole(address, &site)).await
    }

    /// Starts nginx before `replicas` with the file that is shipped, in which only names and ports are
    /// others, and `changes` of it as in [`Nginx::start`].
    pub(crate) async fn shipped(replicas: &[SocketAddr], changes: &[(&str, &str)]) -> Self {
        let plan = Plan::new(Self::address());
        let configuration = shipped(&plan, replicas, changes);
        plan.start(&configuration).await
    }

    /// What nginx says of the shipped file.
    pub(crate) async fn verdict(replicas: &[SocketAddr]) -> String {
        let plan = Plan::new(Self::address());
        let folder = plan.folder.path();
        let configuration = shipped(&plan, replicas, &[]);
        fs::write(folder.join("nginx.conf"), configuration).unwrap();
        let mut command = Command::new(tool("nginx"));
        let asked = command.arg("-t").args(arguments(folder)).output().await;
        let said = String::from_utf8(asked.unwrap().stderr).unwrap();
        said.replace(text(folder), "")
    }

    /// Replaces the certificate by one of another root, and lets nginx read everything again.
    pub(crate) async fn renew(&mut self) {
        self.root = Authority::root("renewed");
        install(self.folder.path(), &issued(&self.root));
        self.reload().await;
    }

    /// Puts other replicas behind nginx.
    pub(crate) async fn point_to(&self, replicas: &[SocketAddr]) {
        let path = self.folder.path().join("nginx.conf");
        let configuration = fs::read_to_string(&path).unwrap();
        let (before, rest) = configuration.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        fs::write(&path, format!("{before}{}{after}", servers(replicas))).unwrap();
        self.reload().await;
    }

    async fn reload(&self) {
        let pid = fs::read_to_string(self.folder.path().join("nginx.pid")).unwrap();
        let mut command = Command::new("/bin/sh");
        let asked = command.args(["-c", "kill -s HUP $0", pid.trim()]);
        assert!(asked.status().await.unwrap().success());
    }

    /// The certificate of whoever vouches for the site.
    pub(crate) fn authority(&self) -> &str {
        &self.root.pem
    }

    /// Waits until nginx listens.
    async fn wait(&mut self) {
        let end = Instant::now() + PATIENCE;
        for address in [self.https, self.clear, self.redirect] {
            while TcpStream::connect(address).await.is_err() {
                let errors = self.errors();
                let is_over = Instant::now() > end || errors.contains("[emerg]");
                assert!(!is_over, "{:?} {errors}", self.keeper.try_wait());
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// What nginx had to complain of.
    pub(crate) fn errors(&self) -> String {
        fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }

    /// A connection from `source` in the clear.
    pub(crate) async fn http(&self, source: [u8; 4]) -> RawClient {
        connect(source, self.clear).await
    }

    /// A connection from `source` within TLS, if nginx has a certificate for `name`.
    pub(crate) async fn https_to(
        &self,
        name: &'static str,
        source: [u8; 4],
    ) -> std::io::Result<RawClient> {
        let config = Arc::new(trusting(&self.root, None, &["http/1.1"]));
        let client = connect(source, self.https).await;
        client.secure_with(name, config).await
    }

    /// A connection from `source` within TLS.
    pub(crate) async fn https(&self, source: [u8; 4]) -> RawClient {
        self.https_to(NAME, source).await.unwrap()
    }
}

/// A connection that comes from the loopback address `source`.
pub(crate) async fn connect(source: [u8; 4], to: SocketAddr) -> RawClient {
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

/// Begin and end of the replicas in the shipped file.
const BEGIN: &str = "# the replicas:";
const END: &str = "# are all of them";

/// The replicas, instead of the name that they have in a network.
fn servers(replicas: &[SocketAddr]) -> String {
    let server = |it| format!("server {it} max_fails=3 fail_timeout=2s;");
    let servers: Vec<_> = replicas.iter().map(server).collect();
    format!("{BEGIN}\n{}\n{END}", servers.join("\n"))
}

/// The file that is shipped, with other names and ports.
fn shipped(plan: &Plan, replicas: &[SocketAddr], changes: &[(&str, &str)]) -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/nginx/nginx.conf");
    let mut file = fs::read_to_string(file).unwrap();
    for (old, new) in changes {
        replace(&mut file, old, new);
    }
    let [https, clear, redirect] = plan.ports;
    let (with, on) = if has_http2_on() {
        ("", "http2 on;")
    } else {
        (" http2", "")
    };
    let local = [
        (
            "server mcp-notes:3000 max_fails=3 fail_timeout=2s;",
            servers(replicas),
        ),
        (
            "listen 80 default_server;",
            format!("listen {redirect} default_server; listen {clear} default_server;"),
        ),
        (
            "listen 443 ssl http2 default_server;",
            format!("listen {https} ssl{with} default_server; {on}"),
        ),
        ("listen 80;", format!("listen {redirect};")),
        (
            "listen 443 ssl http2;",
            format!("listen {https} ssl{with}; listen {clear}; {on}"),
        ),
        ("/etc/nginx/tls/chain.pem", plan.chain.clone()),
        ("/etc/nginx/tls/key.pem", plan.key.clone()),
        ("/run/nginx.pid", "nginx.pid".into()),
        ("/var/log/nginx/error.log", "error.log".into()),
        ("/var/log/nginx/access.log", "access.log".into()),
        ("http {", format!("http {{ {FOLDERS}")),
    ];
    for (old, new) in &local {
        replace(&mut file, old, new);
    }
    file
}

/// Whether this is a newer nginx, which wants the lines of the shipped file that are marked so.
fn has_http2_on() -> bool {
    let said = process::Command::new(tool("nginx")).arg("-v").output();
    let said = String::from_utf8(said.unwrap().stderr).unwrap();
    let (_, version) = said.trim().rsplit_once('/').unwrap();
    let parts = version.split(['.', ' ']).map_while(|it| it.parse().ok());
    let parts: Vec<u32> = parts.collect();
    parts >= vec![1, 25, 1]
}

/// Where nginx would put what does not fit into memory. Paths are below its folder.
const FOLDERS: &str = "client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; \
                       uwsgi_temp_path uwsgi; scgi_temp_path scgi;";

/// The configuration around the site.
///
/// The server asks nginx not to buffer its streams; that is not heard here, for the site to be what
/// is tried.
fn whole(address: Ipv4Addr, site: &str) -> String {
    let balancer = Ipv4Addr::from(BALANCER);
    format!(
        "master_process off; pid nginx.pid; error_log error.log;
        events {{}}
        http {{
            access_log off;
            {FOLDERS}
            proxy_bind {address};
            proxy_ignore_headers X-Accel-Buffering;
            set_real_ip_from {balancer};
            real_ip_header X-Balanced-For;
            {site}
        }}"
    )
}
