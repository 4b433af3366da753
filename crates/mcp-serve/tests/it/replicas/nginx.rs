//! A real nginx that gives each request to the next server, in a folder of its own, gone when it is
//! dropped.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Stdio,
    time::{Duration, Instant},
};

use mcp_serve::test_util::{TestServer, tool};
use tempfile::{TempDir, tempdir};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::sleep,
};

use super::stage::{SOON, Stage};

/// nginx before the servers of a stage.
pub(super) struct Nginx {
    child: Child,
    folder: TempDir,
    pub(super) address: SocketAddr,
}

impl Nginx {
    pub(super) async fn before(stage: &Stage) -> Self {
        let folder = tempdir().unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        fs::write(folder.path().join("nginx.conf"), site(address, stage)).unwrap();
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
            address,
        };
        let end = Instant::now() + SOON;
        while TcpStream::connect(address).await.is_err() {
            let ended = nginx.child.try_wait().unwrap();
            let said = fs::read_to_string(nginx.folder.path().join("error.log"));
            assert!(
                ended.is_none() && Instant::now() < end,
                "{ended:?} {said:?}"
            );
            sleep(Duration::from_millis(20)).await;
        }
        nginx
    }

    /// How many requests each server was given, in the order of the servers.
    pub(super) fn requests(&self, stage: &Stage) -> Vec<usize> {
        let log = fs::read_to_string(self.folder.path().join("access.log")).unwrap();
        let of = |server: usize| {
            let address = stage.at(server).to_string();
            log.lines().filter(|line| *line == address).count()
        };
        (0..stage.servers.len()).map(of).collect()
    }
}

/// Every request takes the next server, and none is tried twice.
fn site(address: SocketAddr, stage: &Stage) -> String {
    let server = |it: &TestServer| format!("server {} max_fails=0;", it.addr());
    let servers: Vec<_> = stage.servers.iter().map(server).collect();
    let servers = servers.join(" ");
    format!(
        "daemon off; master_process off; pid pid; error_log error.log;
        events {{}}
        http {{
            log_format upstream $upstream_addr;
            access_log access.log upstream;
            client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi; scgi_temp_path scgi;
            upstream replicas {{ {servers} keepalive 16; }}
            server {{
                listen {address};
                location / {{
                    proxy_pass http://replicas;
                    proxy_http_version 1.1;
                    proxy_set_header Host $http_host;
                    proxy_set_header Connection \"\";
                    proxy_next_upstream off;
                    proxy_read_timeout 300s;
                }}
            }}
        }}"
    )
}
