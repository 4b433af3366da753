//! A real nginx with the site of `docs/proxies.md` or with `deploy/nginx/nginx.conf`.

use std::{
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use mcp_serve::test_util::{Authority, Issued, NginxServer, RawClient, install, tool, trusting};
use serde_json::Value;
use tempfile::{TempDir, tempdir};
use tokio::net::TcpSocket;

use crate::{process::text, proxies::borrowed};

/// The name of the site.
pub(crate) const NAME: &str = "notes.example.com";

/// A client at this address is a balancer before nginx: whom it names in `X-Balanced-For` is the
/// client.
pub(crate) const BALANCER: [u8; 4] = [127, 0, 0, 9];

/// nginx on three ports of an address of its own.
pub(crate) struct Nginx {
    server: NginxServer,
    /// What it was started with, or told to read since.
    configuration: String,
    root: Authority,
    /// Where the site is.
    pub(crate) https: SocketAddr,
    /// Where the site is too, without TLS.
    pub(crate) clear: SocketAddr,
    /// What sends everybody to HTTPS.
    pub(crate) redirect: SocketAddr,
}

/// What stands behind nginx.
pub(crate) enum Behind<'a> {
    /// Replicas at these places.
    Places(&'a [SocketAddr]),
    /// Replicas at this port of all addresses that their name has, which are these.
    Name(u16, &'a [Ipv4Addr]),
    /// What the changes of the file say.
    Itself,
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

    /// Starts nginx with this configuration and these variables in its environment.
    async fn start(self, configuration: String, vars: &[(&str, &str)]) -> Nginx {
        let server = NginxServer::start(self.folder, &configuration, vars, &self.ports).await;
        let [https, clear, redirect] = self.ports;
        Nginx {
            server,
            configuration,
            root: self.root,
            https,
            clear,
            redirect,
        }
    }
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
        plan.start(whole(address, &site), &[]).await
    }

    /// Starts nginx before `replicas` with the file that is shipped, in which only names and ports are
    /// others, and `changes` of it as in [`Nginx::start`].
    pub(crate) async fn shipped(replicas: &[SocketAddr], changes: &[(&str, &str)]) -> Self {
        Self::before(Behind::Places(replicas), changes).await
    }

    /// The same before whatever stands behind it.
    pub(crate) async fn before(behind: Behind<'_>, changes: &[(&str, &str)]) -> Self {
        let plan = Plan::new(Self::address());
        let configuration = shipped(&plan, &behind, changes);
        let names = names(&plan.folder, &behind);
        plan.start(configuration, &borrowed(&names)).await
    }

    /// What nginx says of the shipped file with `changes`.
    pub(crate) fn verdict(behind: &Behind<'_>, changes: &[(&str, &str)]) -> String {
        let plan = Plan::new(Self::address());
        let configuration = shipped(&plan, behind, changes);
        let names = names(&plan.folder, behind);
        NginxServer::verdict(plan.folder.path(), &configuration, &borrowed(&names))
    }

    /// Replaces the certificate by one of another root, and lets nginx read everything again.
    pub(crate) fn renew(&mut self) {
        self.root = Authority::root("renewed");
        let files = install(self.server.folder(), &issued(&self.root));
        // A newer nginx takes it for what it has when it is of the same second.
        make_another(&files.chain);
        make_another(&files.key);
        self.server.reload(&self.configuration);
    }

    /// Puts other replicas behind nginx.
    pub(crate) fn point_to(&mut self, replicas: &[SocketAddr]) {
        let (before, rest) = self.configuration.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        self.configuration = format!("{before}{}{after}", servers(replicas));
        self.server.reload(&self.configuration);
    }

    /// Gives the name of the replicas other addresses, and lets nginx look again.
    pub(crate) fn rename(&mut self, addresses: &[Ipv4Addr]) {
        write_names(self.server.folder(), addresses);
        self.server.reload(&self.configuration);
    }

    /// The certificate of whoever vouches for the site.
    pub(crate) fn authority(&self) -> &str {
        &self.root.pem
    }

    /// What nginx had to complain of.
    pub(crate) fn errors(&self) -> String {
        self.server.errors()
    }

    /// The lines of its access log.
    pub(crate) fn accesses(&self) -> Vec<Value> {
        let log = self.server.read("access.log");
        let line = |it: &str| serde_json::from_str(it).expect(it);
        log.lines().map(line).collect()
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

/// The replicas in the shipped file.
pub(crate) const REPLICAS: &str = "server mcp-notes:3000 max_fails=3 fail_timeout=2s;";
/// Begin and end of what stands there instead.
const BEGIN: &str = "# the replicas:";
const END: &str = "# are all of them";

/// The replicas, instead of the name that they have in a network.
fn servers(replicas: &[SocketAddr]) -> String {
    let server = |it| format!("server {it} max_fails=3 fail_timeout=2s;");
    let servers: Vec<_> = replicas.iter().map(server).collect();
    format!("{BEGIN}\n{}\n{END}", servers.join("\n"))
}

/// The file that is shipped, with other names and ports.
fn shipped(plan: &Plan, behind: &Behind<'_>, changes: &[(&str, &str)]) -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/nginx/nginx.conf");
    let mut file = fs::read_to_string(file).unwrap();
    for (old, new) in changes {
        replace(&mut file, old, new);
    }
    let [https, clear, redirect] = plan.ports;
    match behind {
        Behind::Places(places) => replace(&mut file, REPLICAS, &servers(places)),
        Behind::Name(port, _) => {
            let ported = REPLICAS.replace("3000", &port.to_string());
            replace(&mut file, REPLICAS, &ported);
        }
        Behind::Itself => {}
    }
    // A newer nginx wants the lines of the file that are marked so.
    let (with, on) = if NginxServer::version() >= vec![1, 25, 1] {
        ("", "http2 on;")
    } else {
        (" http2", "")
    };
    let local = [
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
        ("http {", format!("http {{ {}", NginxServer::FOLDERS)),
    ];
    for (old, new) in &local {
        replace(&mut file, old, new);
    }
    file
}

/// Variables with which nginx finds the name of the replicas, as if it stood in `/etc/hosts`.
fn names(folder: &TempDir, behind: &Behind<'_>) -> Vec<(&'static str, String)> {
    let Behind::Name(_, addresses) = behind else {
        return Vec::new();
    };
    let hosts = write_names(folder.path(), addresses);
    let wrapper = text(&tool("libnss_wrapper.so")).to_owned();
    vec![("LD_PRELOAD", wrapper), ("NSS_WRAPPER_HOSTS", hosts)]
}

/// Writes down which addresses the name of the replicas has; the file with them.
fn write_names(folder: &Path, addresses: &[Ipv4Addr]) -> String {
    let path = folder.join("hosts");
    let lines = addresses.iter().map(|it| format!("{it} mcp-notes\n"));
    fs::write(&path, lines.collect::<String>()).unwrap();
    // It is read again when it is of another second.
    make_another(&path);
    text(&path).to_owned()
}

/// Gives a file a time that no file has had.
fn make_another(path: &Path) {
    static AGE: AtomicU64 = AtomicU64::new(0);
    let age = Duration::from_secs(AGE.fetch_add(10, Ordering::Relaxed));
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + age).unwrap();
}

/// The configuration around the site.
///
/// The server asks nginx not to buffer its streams; that is not heard here, for the site to be what
/// is tried.
fn whole(address: Ipv4Addr, site: &str) -> String {
    let (balancer, folders) = (Ipv4Addr::from(BALANCER), NginxServer::FOLDERS);
    format!(
        "master_process off; pid nginx.pid; error_log error.log;
        events {{}}
        http {{
            access_log off;
            {folders}
            proxy_bind {address};
            proxy_ignore_headers X-Accel-Buffering;
            set_real_ip_from {balancer};
            real_ip_header X-Balanced-For;
            {site}
        }}"
    )
}
