//! Who started the server and watches over it, systemd or another: it is told when the server is
//! ready, that it lives, and when it stops, as `sd_notify(3)` says it.

use std::{
    convert::Infallible,
    ffi::OsStr,
    fmt, io,
    os::unix::{
        ffi::OsStrExt as _,
        net::{SocketAddr, UnixDatagram},
    },
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::health::{Check, Health};

/// How long the supervisor may take to take a message.
const TELL: Duration = Duration::from_secs(1);

/// How often a start asks for more time, and how much of it. systemd wants the first wish within
/// `TimeoutStartSec`, which must be longer than the former.
const WISH: Duration = Duration::from_secs(5);
const EXTENSION: Duration = Duration::from_secs(15);

/// How often a server that is not ready looks again.
const LOOK: Duration = Duration::from_millis(250);

/// How much longer than the limits of its drain the end of a server may take: a store closes.
const AFTER_DRAIN: Duration = Duration::from_secs(10);

/// Where the supervisor listens, and what it wants to know. The default is that nobody does.
#[derive(Clone, Default)]
pub struct Supervisor {
    address: Option<SocketAddr>,
    watchdog: Option<Duration>,
    pulse: Option<Arc<dyn Check>>,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("address", &self.address)
            .field("watchdog", &self.watchdog)
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// A supervisor that listens at the address which systemd gives in `NOTIFY_SOCKET`: an absolute
    /// path, or `@` and a name of the abstract namespace of Linux. Any other is an error.
    pub fn at(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(Path::new(address))?,
            [b'@', name @ ..] => abstract_name(name)?,
            _ => return Err(unsupported("neither an absolute path nor @ and a name")),
        };
        Ok(Self {
            address: Some(address),
            ..Self::default()
        })
    }

    /// It ends a server of which it hears nothing for this long.
    #[must_use]
    pub fn with_watchdog(mut self, limit: Duration) -> Self {
        self.watchdog = Some(limit).filter(|limit| !limit.is_zero());
        self
    }

    /// What must go on in this process for the server to live, such as a thread that writes: a check
    /// that fails, or takes longer than half of the watchdog's limit, is silence. What a restart would
    /// not mend, such as a database elsewhere, does not belong here.
    #[must_use]
    pub fn with_pulse(mut self, pulse: Arc<dyn Check>) -> Self {
        self.pulse = Some(pulse);
        self
    }

    /// Does `work` that belongs to the start, and keeps asking for time while it goes on: however long
    /// a migration takes, or a database stays away, the start is not given up.
    pub async fn starting<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = self.keep_asking() => match never {},
        }
    }

    async fn keep_asking(&self) -> Infallible {
        loop {
            sleep(WISH).await;
            self.tell(&wish(EXTENSION)).await;
        }
    }

    /// Tells once that the server is ready, as soon as it is.
    pub(crate) async fn follow(&self, health: &Health) -> Infallible {
        if self.address.is_some() {
            let until_ready = async {
                while !health.ready(false).await.ok {
                    sleep(LOOK).await;
                }
            };
            self.starting(until_ready).await;
            self.tell("READY=1").await;
        }
        std::future::pending().await
    }

    /// Tells that the server stops, which takes so long at most.
    pub(crate) async fn stopping(&self, limit: Duration) {
        let wish = wish(limit.saturating_add(AFTER_DRAIN));
        self.tell(&format!("STOPPING=1\n{wish}")).await;
    }

    /// Tells again and again that the server lives, for as long as it does: as long as the runtime
    /// begins and ends a task, and with it the check of the pulse, in time.
    pub(crate) async fn beat(&self) -> Infallible {
        let Some(period) = self.watchdog.map(|limit| limit / 2) else {
            return std::future::pending().await;
        };
        let mut beats = interval(period);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            match self.is_alive(period).await {
                Ok(()) => self.tell("WATCHDOG=1").await,
                Err(reason) => tracing::error!(reason, "the watchdog is told nothing"),
            }
        }
    }

    /// Whether a task that looks at the pulse ends within `limit`.
    async fn is_alive(&self, limit: Duration) -> Result<(), String> {
        let pulse = self.pulse.clone();
        // It ends with the set, whatever it waits for.
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            match &pulse {
                Some(pulse) => pulse.check().await,
                None => Ok(()),
            }
        });
        match timeout(limit, tasks.join_next()).await {
            Ok(Some(Ok(alive))) => alive,
            Ok(_) => Err("the check of the pulse ended early".to_owned()),
            Err(_) => Err(format!("no answer within {limit:?}")),
        }
    }

    async fn tell(&self, message: &str) {
        let Some(address) = &self.address else {
            return;
        };
        let told = timeout(TELL, send(address, message)).await;
        if let Err(error) = told.unwrap_or_else(|elapsed| Err(elapsed.into())) {
            tracing::warn!(%error, "the supervisor cannot be told");
        }
    }
}

/// How the supervisor is asked for so much time from now on.
fn wish(time: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}", time.as_micros())
}

/// A socket of its own for each message: whoever listens may have been renewed.
async fn send(address: &SocketAddr, message: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(address)?;
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixDatagram::from_std(socket)?;
    socket.send(message.as_bytes()).await.map(drop)
}

#[cfg(target_os = "linux")]
fn abstract_name(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_name(_name: &[u8]) -> io::Result<SocketAddr> {
    Err(unsupported("this system has no abstract names"))
}

fn unsupported(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}
