//! The keys of one issuer as they are known here: read in the background, kept for a while when the
//! issuer cannot be reached, and never asked for more often than the settings say.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{sync::watch, time::timeout};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::{
    Clock,
    address::IssuerUrl,
    algorithm::Algorithm,
    discovery::discover,
    fetch::{Fetched, Fetcher, Trouble},
    keys::{Document, KeySet},
};

/// A hundred keys of 4096 bits with their certificates.
const KEYS_BYTES_MAX: usize = 512 << 10;
/// What an issuer may ask for with `max-age`, at least and at most.
const FRESH_MIN: Duration = Duration::from_mins(1);
const FRESH_MAX: Duration = Duration::from_hours(1);

/// Keys that are older than they should be count for so long while they are read again. So does the
/// failure of an attempt: nobody waits for an issuer that was not there a moment ago.
const GRACE: Duration = Duration::from_mins(1);

/// When the keys of issuers are read.
#[derive(Debug, Clone)]
pub struct KeyTimes {
    /// Keys are read again after this time, unless the issuer asks for another one between one
    /// minute and one hour. Default 10 min.
    pub refresh: Duration,
    /// Keys that cannot be read again count for so long, from when they were read. Default 24 h.
    pub stale_max: Duration,
    /// A token with an unknown key makes the keys be read again, once within this time. Default 60 s.
    pub unknown_key: Duration,
    /// After a failure the issuer is left alone for so long. Default 5 s.
    pub retry: Duration,
}

impl Default for KeyTimes {
    fn default() -> Self {
        Self {
            refresh: Duration::from_mins(10),
            stale_max: Duration::from_hours(24),
            unknown_key: Duration::from_mins(1),
            retry: Duration::from_secs(5),
        }
    }
}

/// What is known of an issuer.
pub(super) struct Known {
    pub(super) keys: KeySet,
    pub(super) introspection: Option<Url>,
    read_at: Duration,
    fresh_until: Duration,
}

/// One issuer.
pub(super) struct Source {
    shared: Arc<Shared>,
    flight: Mutex<Flight>,
}

struct Shared {
    issuer: IssuerUrl,
    fetcher: Fetcher,
    algorithms: Vec<Algorithm>,
    times: KeyTimes,
    clock: Clock,
    /// Its tokens may all be opaque.
    keyless: bool,
    known: ArcSwapOption<Known>,
    /// When the last attempt came to nothing, if it did.
    failed: Mutex<Option<Duration>>,
}

/// The one read that may be under way. It ends with the source.
#[derive(Default)]
struct Flight {
    task: Option<(AbortOnDropHandle<()>, watch::Receiver<bool>)>,
    begun: Option<Duration>,
    begun_for_unknown: Option<Duration>,
}

/// Why the keys are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Fresh,
    Unknown,
}

impl Source {
    pub(super) fn new(
        issuer: IssuerUrl,
        fetcher: Fetcher,
        algorithms: Vec<Algorithm>,
        times: KeyTimes,
        clock: Clock,
        keyless: bool,
    ) -> Self {
        let shared = Shared {
            issuer,
            fetcher,
            algorithms,
            times,
            clock,
            keyless,
            known: ArcSwapOption::empty(),
            failed: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            flight: Mutex::default(),
        }
    }

    pub(super) fn issuer(&self) -> &IssuerUrl {
        &self.shared.issuer
    }

    /// Begins to read what is not known yet.
    pub(super) fn warm_up(&self) {
        if self.usable().is_none() {
            self.begin(Want::Fresh);
        }
    }

    /// What is wrong with the issuer, for an operator; at once. The issuer is asked
    /// again when it is time: a server that is not ready gets no tokens that would have it asked.
    pub(super) fn trouble(&self) -> Option<&'static str> {
        self.warm_up();
        if self.usable().is_none() {
            Some(if self.was_read() {
                "its keys are too old"
            } else {
                "its keys have not been read yet"
            })
        } else if self.has_failed() {
            Some("it cannot be reached, its known keys count for a while")
        } else {
            None
        }
    }

    /// Whether the issuer has answered since the start.
    pub(super) fn was_read(&self) -> bool {
        self.shared.known.load().is_some()
    }

    /// What is known, at once where possible; `None` when the issuer cannot be asked. What is much
    /// older than it should be counts only when the issuer has just failed to say anything newer.
    pub(super) async fn known(&self) -> Option<Arc<Known>> {
        if let Some(known) = self.usable() {
            let now = self.now();
            if now < known.fresh_until {
                return Some(known);
            }
            let is_recent = |then: Duration| now < then.saturating_add(GRACE);
            let failed = *self.shared.failed();
            if is_recent(known.fresh_until) || failed.is_some_and(is_recent) {
                self.begin(Want::Fresh);
                return Some(known);
            }
        }
        self.wait(Want::Fresh).await;
        self.usable()
    }

    /// What is known after a token came with a key that was not: the issuer is asked, unless it was
    /// asked for that reason a short while ago.
    pub(super) async fn renewed(&self) -> Option<Arc<Known>> {
        self.wait(Want::Unknown).await;
        self.usable()
    }

    /// Whether the last attempt to ask the issuer came to nothing.
    pub(super) fn has_failed(&self) -> bool {
        self.shared.failed().is_some()
    }

    fn now(&self) -> Duration {
        (self.shared.clock)()
    }

    fn usable(&self) -> Option<Arc<Known>> {
        let known = self.shared.known.load_full()?;
        let until = known.read_at.saturating_add(self.shared.times.stale_max);
        (self.now() < until).then_some(known)
    }

    /// Waits for the issuer no longer than for one answer: there are several, and others come later.
    async fn wait(&self, want: Want) {
        if let Some(mut landed) = self.begin(want) {
            let patience = self.shared.fetcher.deadline();
            // An end without word is an end too.
            let _ = timeout(patience, landed.wait_for(|landed| *landed)).await;
        }
    }

    /// Begins to ask the issuer, if nobody does already and it is time; gives the end of it.
    fn begin(&self, want: Want) -> Option<watch::Receiver<bool>> {
        let mut flight = self.flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((task, landed)) = &flight.task
            && !task.is_finished()
            && !*landed.borrow()
        {
            return Some(landed.clone());
        }
        let now = self.now();
        let times = &self.shared.times;
        let (last, pause) = match want {
            Want::Fresh => (flight.begun, times.retry),
            Want::Unknown => (flight.begun_for_unknown, times.unknown_key),
        };
        if last.is_some_and(|last| now < last.saturating_add(pause)) {
            return None;
        }
        flight.begun = Some(now);
        if want == Want::Unknown {
            flight.begun_for_unknown = Some(now);
        }
        let (ended, landed) = watch::channel(false);
        let shared = self.shared.clone();
        let task = tokio::spawn(async move {
            shared.refresh().await;
            let _ = ended.send(true);
        });
        flight.task = Some((AbortOnDropHandle::new(task), landed.clone()));
        Some(landed)
    }
}

impl Shared {
    fn failed(&self) -> MutexGuard<'_, Option<Duration>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn refresh(&self) {
        let issuer = self.issuer.as_str();
        match self.read().await {
            Ok(known) => {
                self.known.store(Some(Arc::new(known)));
                if self.failed().take().is_some() {
                    tracing::info!(issuer, "an issuer answers again");
                }
            }
            Err(error) => {
                if self.failed().replace((self.clock)()).is_some() {
                    tracing::debug!(issuer, %error, "the keys of an issuer still cannot be read");
                } else {
                    tracing::warn!(issuer, %error, "the keys of an issuer cannot be read");
                }
            }
        }
    }

    async fn read(&self) -> Result<Known, Trouble> {
        let endpoints = discover(&self.fetcher, &self.issuer).await?;
        let (keys, max_age) = match &endpoints.keys {
            Some(url) => {
                let Fetched { document, max_age } =
                    self.fetcher.get::<Document>(url, KEYS_BYTES_MAX).await?;
                let keys = KeySet::read(document, &self.algorithms)?;
                if keys.is_empty() && !self.keyless {
                    return Err(Trouble::NoKeys);
                }
                (keys, max_age)
            }
            None if self.keyless => (KeySet::default(), None),
            None => return Err(Trouble::NoAddress("jwks_uri")),
        };
        let refresh = self.times.refresh;
        let fresh = max_age.map_or(refresh, |asked| {
            asked.clamp(FRESH_MIN.min(refresh), FRESH_MAX.max(refresh))
        });
        let read_at = (self.clock)();
        Ok(Known {
            keys,
            introspection: endpoints.introspection,
            read_at,
            fresh_until: read_at.saturating_add(fresh),
        })
    }
}
