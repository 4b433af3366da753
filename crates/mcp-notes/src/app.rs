//! Wiring: from the settings to a store, its notes, and the faces that show them.

mod auth;
mod redis;
mod replicas;

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use mcp_serve::{
    events::Events,
    health::Check,
    metrics::{Metrics, Scrape, ScrapeToken},
    redis::Redis,
    supervisor::Supervisor,
};
use notes::{AccessStore, Claim, Notes, Owner, Store, StoreError, SystemClock};

use self::replicas::Replicas;
use crate::{
    audit::Audit,
    backups::{Backups, Keeper, Keeping},
    config::{Config, Mistake, Schedule, Secret},
    mcp::{self, NotesHandler},
    metrics::{Measured, watch_backups, watch_store},
    policy::NotesPolicy,
    rest,
    rules::SHARED_OWNER,
    web,
};

pub use auth::AuthSetupError;
pub(crate) use auth::SCOPES;
pub(crate) use redis::connect as connect_redis;

/// The notes of this process and the channel on which their changes travel.
pub struct App {
    notes: Notes,
    store: Arc<dyn Store>,
    tokens: Arc<dyn AccessStore>,
    backups: Backups,
    replicas: Replicas,
    metrics: Metrics,
    handler: NotesHandler,
    routes: axum::Router,
    audit: Audit,
}

/// Why the notes could not be opened. Names the setting and never its password; its source says
/// the rest.
#[derive(Debug, thiserror::Error)]
#[error("NOTES_STORE {store:?}")]
pub struct OpenError {
    store: crate::config::StoreUrl,
    source: StoreError,
}

/// Opens the store that `config` names; it is made when there is none.
pub(crate) async fn open_store(config: &Config) -> Result<Arc<dyn Store>, OpenError> {
    let options = notes::store::Options {
        mongodb: notes::store::MongoOptions {
            owner_of_found: Owner::parse(SHARED_OWNER).ok(),
            ..config.mongodb.clone()
        },
        ..notes::store::Options::default()
    };
    let opened = notes::open_with(config.notes_store.as_str(), &options).await;
    opened.map_err(|source| OpenError {
        store: config.notes_store.clone(),
        source,
    })
}

/// Takes the store that `config` names for this server, for as long as the claim lives. Other servers
/// are told which process has it and, where that is known by now, at which address.
pub(crate) fn claim_store(config: &Config) -> Result<Claim, OpenError> {
    let mut who = format!("process {}", std::process::id());
    if config.port != 0 {
        who += " at ";
        who += &SocketAddr::new(config.host, config.port).to_string();
    }
    notes::claim(config.notes_store.as_str(), &who).map_err(|source| OpenError {
        store: config.notes_store.clone(),
        source,
    })
}

impl App {
    /// Opens the store that `config` names; it is made when there is none. What is done with the
    /// notes goes into `audit`, what replicas share into `redis`, and what is counted into `metrics`.
    pub async fn open(
        config: &Config,
        audit: Audit,
        redis: Option<Redis>,
        metrics: Metrics,
    ) -> Result<Self, OpenError> {
        let store = open_store(config).await?;
        let store: Arc<dyn Store> = Arc::new(Measured::new(store, &metrics));
        watch_store(&metrics, &store);
        let tokens: Arc<dyn AccessStore> = store.clone();
        let limits = notes::Limits {
            title_chars_max: config.title_chars_max.get(),
            content_chars_max: config.content_chars_max.get(),
            ..notes::Limits::default()
        };
        let replicas = Replicas::new(redis);
        let events = replicas.events().clone();
        let published = events.clone();
        let notes = Notes::new(store.clone(), limits).on_change(Arc::new(move |change| {
            mcp::announce(published.as_ref(), change);
        }));
        let boundaries = Arc::new(|| random_uuid().as_simple().to_string());
        let handler = NotesHandler::new(
            notes.clone(),
            events.clone(),
            Arc::new(SystemClock),
            boundaries,
            config.rules.clone(),
        )
        .with_audit(audit.clone());
        let rest = rest::Options {
            body_bytes_max: config.body_bytes_max.get(),
            cache: config.notes_cache,
            rules: config.rules.clone(),
            audit: audit.clone(),
        };
        let routes = rest::router(notes.clone(), rest).merge(web::router(&limits, &config.rules));
        Ok(Self {
            notes,
            store,
            tokens,
            backups: Backups::default(),
            replicas,
            metrics,
            handler,
            routes,
            audit,
        })
    }

    /// The notes.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// What answers MCP requests; cheap to clone.
    pub fn handler(&self) -> &NotesHandler {
        &self.handler
    }

    /// The channel on which changes travel.
    pub fn events(&self) -> &Arc<dyn Events> {
        self.replicas.events()
    }

    /// What there is to know of backups.
    pub fn backups(&self) -> &Backups {
        &self.backups
    }

    /// Makes backups when they are due, and looks which there are.
    pub(crate) fn keep_backups(&self, config: &Config) -> Result<Keeping, Mistake> {
        let keeper = Keeper {
            store: self.store.clone(),
            seal: config.backup.seal()?,
            settings: config.backup.clone(),
            clock: Arc::new(SystemClock),
            who: random_uuid().as_simple().to_string(),
            audit: self.audit.clone(),
            backups: self.backups.clone(),
        };
        if config.backup.schedule != Schedule::Off {
            watch_backups(&self.metrics, self.backups.clone());
        }
        Ok(keeper.start())
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Every route beside MCP and the probes.
    pub fn routes(&self) -> axum::Router {
        self.routes.clone()
    }

    /// What the server is told.
    pub async fn serve_config(&self, config: &Config) -> Result<mcp_serve::Config, AuthSetupError> {
        let policy = NotesPolicy::new(config.rules.clone());
        let auth = auth::auth(config, &policy, &self.tokens).await?;
        let mut checks = self.checks();
        checks.extend(auth.check);
        let token = config.metrics_token.as_ref().map(Secret::expose);
        let mut serve = mcp_serve::Config {
            listen: SocketAddr::new(config.host, config.port),
            health_path: config.health_check_path.clone(),
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            allowed_hosts: config.allowed_hosts.clone(),
            trusted_proxies: config.trusted_proxies.clone(),
            proxy_protocol: config.proxy_protocol,
            allow_plain_http: config.allow_plain_http,
            hsts: config.hsts,
            allowed_origins: config.allowed_origins(),
            authenticator: auth.authenticator,
            anonymous_from_anywhere: config.allow_anonymous,
            budgets: config.rates.budgets(),
            auditor: Some(Arc::new(self.audit.clone())),
            policy: Arc::new(policy),
            checks,
            metrics: self.metrics.clone(),
            scrape: Scrape {
                path: config.metrics_path.clone(),
                listen: config.metrics_addr,
                token: token.map(ScrapeToken::new),
            },
            ..mcp_serve::Config::default()
        };
        self.replicas.join(&mut serve, config);
        serve.limits.connections_max = config.connections_max.get();
        serve.limits.body_bytes_max = config.body_bytes_max.get();
        serve.limits.calls_per_caller_max = config.calls_per_caller_max.get();
        serve.limits.first_byte = config.header_timeout;
        serve.limits.header_read = config.header_timeout;
        serve.limits.keep_alive_idle = config.idle_timeout;
        serve.limits.request_deadline = config.request_timeout;
        serve.drain.limit = config.drain;
        if !config.trusted_proxies.is_empty() {
            serve.drain.farewell = FAREWELL;
        }
        serve.mcp.request_deadline = config.request_timeout;
        serve.mcp.stream_deadline = config.stream_timeout;
        serve.mcp.keep_alive = config.keep_alive;
        serve.mcp.server_requests = false;
        // The tools check everything that their schemas say, and tell more about it.
        serve.mcp.enforce_schemas = false;
        let isolation = config.rules.isolation;
        serve.mcp.audience = Arc::new(move |principal| isolation.audience(principal));
        Ok(serve)
    }

    /// Who started the server, told that it lives while its store takes turns.
    pub(crate) fn supervised(&self, supervisor: Supervisor) -> Supervisor {
        supervisor.with_pulse(Arc::new(StorePulse(self.notes.clone())))
    }

    /// What must work, and what should.
    fn checks(&self) -> Vec<Arc<dyn Check>> {
        let mut checks: Vec<Arc<dyn Check>> = vec![Arc::new(StoreCheck(self.notes.clone()))];
        if !self.audit.is_off() {
            checks.push(Arc::new(self.audit.clone()));
        }
        checks
    }

    /// Closes the store; every write that was acknowledged is in it, and in the audit log.
    pub async fn close(self) -> Result<(), StoreError> {
        let closed = self.notes.close().await;
        self.replicas.close().await;
        let audit = self.audit;
        // It fails when the runtime ends, and then there is nothing to wait for.
        let _ = tokio::task::spawn_blocking(move || audit.close()).await;
        closed
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

/// A proxy finds out within this time that no new connection is taken, and uses up those that it
/// kept.
const FAREWELL: Duration = Duration::from_secs(1);

/// The server is ready when its store answers.
struct StoreCheck(Notes);

#[async_trait]
impl Check for StoreCheck {
    fn name(&self) -> &'static str {
        "database"
    }

    async fn check(&self) -> Result<(), String> {
        self.0.ping().await.map_err(|error| error.kind().to_owned())
    }

    fn dependency(&self) -> Option<&'static str> {
        Some("database")
    }
}

/// The server lives when what its store runs in this process does, wherever the database is.
struct StorePulse(Notes);

#[async_trait]
impl Check for StorePulse {
    fn name(&self) -> &'static str {
        "store"
    }

    async fn check(&self) -> Result<(), String> {
        self.0.turn().await.map_err(|error| causes(&error))
    }
}

/// An error and what caused it, as one line.
pub fn causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

/// A name that nobody can guess: 74 random bits.
fn random_uuid() -> uuid::Uuid {
    uuid::Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext))
}
