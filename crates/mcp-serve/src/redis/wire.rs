//! One connection: to a server, or to the nodes of a cluster.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, TlsCertificates, Value,
    aio::MultiplexedConnection,
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cluster_routing::{RoutingInfo, SingleNodeRoutingInfo},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};

use super::settings::{Address, Login, Settings, Trust};

/// A connection; clones share it.
#[derive(Clone)]
pub(super) enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What a server says of itself.
pub(super) struct Greeting {
    /// `standalone`, `sentinel` or `cluster`.
    mode: String,
    /// `master` or `replica`.
    role: String,
}

/// A dead connection is noticed after about this time even when nothing is sent over it.
const SILENCE: Duration = Duration::from_secs(5);
/// How often a dead connection is asked before it counts as dead.
const PROBES: u32 = 3;

impl Wire {
    /// Connects to one server. `gone` is called once when the connection ends.
    pub(super) async fn to(
        settings: &Settings,
        address: &Address,
        gone: impl Fn() + Send + Sync + 'static,
    ) -> redis::RedisResult<Self> {
        let push = move |push: PushInfo| -> Result<(), ()> {
            if push.kind == PushKind::Disconnection {
                gone();
            }
            Ok(())
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.deadlines.connect))
            // Whoever asks has a deadline of its own.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(1024)
            .set_push_sender(push);
        let client = client(settings, address, &settings.login, settings.database)?;
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        Ok(Self::One(connection.await?))
    }

    /// Connects to a cluster.
    pub(super) async fn to_cluster(settings: &Settings) -> redis::RedisResult<Self> {
        let connection = cluster(settings)?.get_async_connection().await?;
        Ok(Self::Cluster(connection))
    }

    /// Sends a command once.
    pub(super) async fn send(&self, command: &Cmd) -> redis::RedisResult<Value> {
        let value = match self {
            Self::One(connection) => connection.clone().send_packed_command(command).await?,
            Self::Cluster(connection) => command.query_async(&mut connection.clone()).await?,
        };
        value.extract_error()
    }

    /// Sends a command once more, to where the answer `error` says.
    pub(super) async fn follow(
        &self,
        command: &Cmd,
        error: &redis::RedisError,
    ) -> redis::RedisResult<Value> {
        let (Self::Cluster(connection), Some((node, _))) = (self, error.redirect_node()) else {
            return Err(error.clone());
        };
        let mut connection = connection.clone();
        let Some((host, port)) = node.rsplit_once(':') else {
            return Err(error.clone());
        };
        let route = SingleNodeRoutingInfo::ByAddress {
            host: host.to_owned(),
            port: port.parse().map_err(|_| error.clone())?,
        };
        if error.kind() == redis::ServerErrorKind::Moved.into() {
            let routing = RoutingInfo::SingleNode(route);
            let value = connection.route_command(command.clone(), routing).await?;
            return value.extract_error();
        }
        let mut asking = redis::pipe();
        asking.cmd("ASKING").ignore().add_command(command.clone());
        let values = connection.route_pipeline(asking, 1, 1, route).await?;
        let value = values.into_iter().next().ok_or_else(|| error.clone())?;
        value.extract_error()
    }

    /// Asks whether it is there and works; `Err` with the reason in words.
    pub(super) async fn greet(&self) -> redis::RedisResult<Option<Greeting>> {
        match self {
            Self::One(_) => {
                // Unlike HELLO, PING is refused while the server loads its data. Both go at once, for
                // a server that is slow and in time has one deadline for both.
                let (ping, hello) = (redis::cmd("PING"), redis::cmd("HELLO"));
                let (_, said) = tokio::try_join!(self.send(&ping), self.send(&hello))?;
                Ok(Some(Greeting::read(&said)))
            }
            Self::Cluster(connection) => {
                let routing = RoutingInfo::SingleNode(SingleNodeRoutingInfo::Random);
                let mut connection = connection.clone();
                connection
                    .route_command(redis::cmd("PING"), routing)
                    .await?;
                Ok(None)
            }
        }
    }
}

impl Greeting {
    fn read(said: &Value) -> Self {
        let text = |name: &str| {
            let found = said.as_map_iter().and_then(|mut pairs| {
                let found = pairs.find(|(key, _)| text_of(key).as_deref() == Some(name));
                found.and_then(|(_, value)| text_of(value))
            });
            found.unwrap_or_default()
        };
        Self {
            mode: text("mode"),
            role: text("role"),
        }
    }

    /// Why this server is not the one to use; `None` when it is.
    pub(super) fn objection(&self) -> Option<&'static str> {
        match (self.mode.as_str(), self.role.as_str()) {
            ("sentinel", _) => Some(
                "a sentinel answers there; REDIS_URL must name the sentinels as \
                 redis+sentinel://HOST,.../NAME",
            ),
            ("cluster", _) => {
                Some("a cluster answers there; REDIS_URL must name it as redis+cluster://HOST,...")
            }
            (_, "replica" | "slave") => Some("it is a replica, which takes no writes"),
            _ => None,
        }
    }
}

fn text_of(value: &Value) -> Option<String> {
    redis::from_redis_value_ref(value).ok()
}

/// What connects to the server at `address` as `login`.
pub(super) fn client(
    settings: &Settings,
    address: &Address,
    login: &Login,
    database: u16,
) -> redis::RedisResult<Client> {
    let info = info(settings, address, login, database)?;
    match &settings.tls {
        Some(Trust::Only(pem)) => Client::build_with_tls(info, certificates(pem)),
        Some(Trust::Machine) | None => Client::open(info),
    }
}

fn cluster(settings: &Settings) -> redis::RedisResult<ClusterClient> {
    let nodes = settings
        .servers
        .iter()
        .map(|address| info(settings, address, &settings.login, 0));
    let nodes: Vec<_> = nodes.collect::<Result<_, _>>()?;
    let deadlines = &settings.deadlines;
    let mut builder = ClusterClientBuilder::new(nodes)
        // A command that may have been done is not to be sent again unless whoever asks agrees, so
        // all tries are made here.
        .retries(0)
        .connection_timeout(deadlines.connect)
        .response_timeout(deadlines.attempt)
        .overall_response_timeout(Some(deadlines.attempt))
        .tcp_settings(tcp());
    if let Some(Trust::Only(pem)) = &settings.tls {
        builder = builder.certs(certificates(pem));
    }
    builder.build()
}

/// Whether the driver can use these settings.
pub(super) fn check(settings: &Settings) -> redis::RedisResult<()> {
    if settings.is_cluster() {
        return cluster(settings).map(drop);
    }
    let mut servers = settings.servers.iter();
    servers.try_for_each(|address| client(settings, address, &settings.login, 0).map(drop))
}

fn info(
    settings: &Settings,
    address: &Address,
    login: &Login,
    database: u16,
) -> redis::RedisResult<ConnectionInfo> {
    let host = address.host.clone();
    let port = address.port;
    let address = if settings.tls.is_some() {
        ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    let mut redis = RedisConnectionInfo::default()
        .set_db(database.into())
        // Over it the end of a connection is seen when it comes and not at the next command.
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    if let Some(user) = &login.user {
        redis = redis.set_username(user);
    }
    if let Some(password) = &login.password {
        redis = redis.set_password(password);
    }
    let info = address.into_connection_info()?;
    Ok(info.set_redis_settings(redis).set_tcp_settings(tcp()))
}

fn certificates(pem: &[u8]) -> TlsCertificates {
    TlsCertificates {
        client_tls: None,
        root_cert: Some(pem.to_vec()),
    }
}

fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(SILENCE)
        .with_interval(SILENCE / PROBES)
        .with_retries(PROBES);
    let settings = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(SILENCE);
    settings
}
