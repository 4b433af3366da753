//! A real nginx that gives each request to the next server.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use mcp_serve::test_util::{NginxServer, TestServer};
use tempfile::tempdir;

use super::stage::Stage;

/// nginx before the servers of a stage.
pub(super) struct Nginx {
    server: NginxServer,
    pub(super) address: SocketAddr,
}

impl Nginx {
    pub(super) async fn before(stage: &Stage) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let (folder, site) = (tempdir().unwrap(), site(address, stage));
        let server = NginxServer::start(folder, &site, &[], &[address]).await;
        Self { server, address }
    }

    /// How many requests each server was given, in the order of the servers.
    pub(super) fn requests(&self, stage: &Stage) -> Vec<usize> {
        let log = self.server.read("access.log");
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
    let (servers, folders) = (servers.join(" "), NginxServer::FOLDERS);
    format!(
        "master_process off; pid pid; error_log error.log;
        events {{}}
        http {{
            log_format upstream $upstream_addr;
            access_log access.log upstream;
            {folders}
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
