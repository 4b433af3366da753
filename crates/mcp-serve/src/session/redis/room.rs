//! How many sessions may be open: all together, and of one principal.

use std::{
    collections::BTreeMap,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::try_join_all;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::{
    EndReason, RedisSessions, SessionError, millis,
    script::{Bucket, Place, Said},
    unable,
};
use crate::{auth::Principal, redis::Again, session::SessionDigest};

/// The first digits that a digest may have: one bucket each.
const BUCKETS: &str = "0123456789abcdef";

/// How long a count serves for the decision whether one more may be opened.
const COUNT_LIFE: Duration = Duration::from_secs(1);

/// How many ended sessions one script clears, of each kind.
const CLEAR_MAX: usize = 500;

/// How many of a principal's sessions are looked at in one round, and how many rounds there are.
const LOOK_MAX: usize = 128;
const ROUNDS: usize = 10;

/// A place that was taken a moment ago may be of a session that is being opened.
const OPENING: Duration = Duration::from_secs(10);

/// What this replica thinks of how many sessions are open.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    open: usize,
    counted: Option<Instant>,
}

/// All sessions at one time.
pub(super) struct Census {
    pub(super) open: usize,
    oldest: Option<Oldest>,
}

/// A session, when it was last used, and how long ago that is.
struct Oldest {
    digest: String,
    used: u64,
    idle: Duration,
}

/// What was found out of a principal's sessions and Redis is to be told.
#[derive(Default)]
struct Found {
    ended: Vec<String>,
    used: Vec<(String, u64)>,
}

impl RedisSessions {
    /// Counts what is open and tells of what has ended by its time.
    pub(super) async fn census(&self) -> Result<Census, SessionError> {
        let buckets = (0..BUCKETS.len()).filter_map(|at| BUCKETS.get(at..=at));
        let buckets = try_join_all(buckets.map(|bucket| self.bucket(bucket))).await?;
        let idle = |bucket: Bucket| {
            let (digest, used) = bucket.oldest?;
            let idle = Duration::from_millis(bucket.now.saturating_sub(used));
            Some(Oldest { digest, used, idle })
        };
        let open = buckets.iter().map(|bucket| bucket.open).sum();
        let oldest = buckets.into_iter().filter_map(idle);
        let oldest = oldest.max_by_key(|it| it.idle);
        *self.estimate() = Estimate {
            open,
            counted: Some(Instant::now()),
        };
        Ok(Census { open, oldest })
    }

    async fn bucket(&self, bucket: &str) -> Result<Bucket, SessionError> {
        let [used, ends] = self.index(bucket);
        loop {
            let call = self.scripts.census.call().key(&used).key(&ends);
            let call = call.arg(millis(self.limits.idle)).arg(CLEAR_MAX);
            let said: Bucket = self.redis.eval(&call, Again::Safe).await.map_err(unable)?;
            for times in &said.ended {
                self.tell(self.end_by_time(times));
            }
            if said.ended.len() < CLEAR_MAX {
                return Ok(said);
            }
        }
    }

    fn estimate(&self) -> MutexGuard<'_, Estimate> {
        // No code that can panic runs under this lock.
        self.estimate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count_one_more(&self) {
        self.estimate().open += 1;
    }

    pub(super) fn count_one_less(&self) {
        let mut estimate = self.estimate();
        estimate.open = estimate.open.saturating_sub(1);
    }

    /// Whether one more may surely be opened. Of those who ask at once when the count is old, one is
    /// told to count.
    fn has_room(&self) -> bool {
        let mut estimate = self.estimate();
        let is_fresh = estimate.counted.is_some_and(|at| at.elapsed() < COUNT_LIFE);
        estimate.counted = Some(Instant::now());
        is_fresh && estimate.open < self.limits.sessions_max
    }

    /// Room for one more session: the longest idle one gives way when there is none. Replicas that
    /// open sessions at the same time may together go over the limit by what they open in a second.
    pub(super) async fn make_room(&self) -> Result<(), SessionError> {
        if self.has_room() {
            return Ok(());
        }
        for _ in 0..ROUNDS {
            let census = self.census().await?;
            if census.open < self.limits.sessions_max {
                return Ok(());
            }
            let Some(oldest) = census.oldest else {
                break;
            };
            self.check_idle(oldest.idle)?;
            if self.evict(&oldest.digest, oldest.used).await? {
                return Ok(());
            }
        }
        Err(self.full(Duration::ZERO))
    }

    /// A place among those of the principal: the longest idle of its sessions gives way when there is
    /// none.
    pub(super) async fn take_place(
        &self,
        principal: &Principal,
        digest: &SessionDigest,
    ) -> Result<(), SessionError> {
        let mut found = Found::default();
        for _ in 0..ROUNDS {
            let place = self.reserve(principal, digest, found).await?;
            if place.is_taken {
                return Ok(());
            }
            found = self.look(&place).await?;
            if !found.ended.is_empty() {
                continue;
            }
            let Some((oldest, used)) = found.used.iter().min_by_key(|it| it.1).cloned() else {
                break;
            };
            // Those that were not looked at may be unused for longer.
            let next = place.oldest.last().map_or(0, |it| it.1);
            if place.oldest.len() == LOOK_MAX && used > next {
                continue;
            }
            self.check_idle(Duration::from_millis(place.now.saturating_sub(used)))?;
            if self.evict(&oldest, used).await? {
                found.ended.push(oldest);
            }
        }
        Err(self.full(Duration::ZERO))
    }

    async fn reserve(
        &self,
        principal: &Principal,
        digest: &SessionDigest,
        found: Found,
    ) -> Result<Place, SessionError> {
        let mut call = self
            .scripts
            .reserve
            .call()
            .key(self.places(principal.key()))
            .arg(digest.to_string())
            .arg(self.limits.per_principal_max)
            .arg(millis(self.limits.lifetime))
            .arg(LOOK_MAX)
            .arg(found.ended.len())
            .arg(found.ended);
        for (digest, used) in found.used {
            call = call.arg(digest).arg(used);
        }
        self.redis.eval(&call, Again::Safe).await.map_err(unable)
    }

    /// When the sessions that take the places were really used, and which of them have ended.
    async fn look(&self, place: &Place) -> Result<Found, SessionError> {
        let mut buckets = BTreeMap::<&str, Vec<&(String, u64)>>::new();
        for it in &place.oldest {
            let bucket = it.0.get(..1).unwrap_or_default();
            buckets.entry(bucket).or_default().push(it);
        }
        let looks = buckets.into_iter().map(async |(bucket, them)| {
            let [used, _] = self.index(bucket);
            let mut call = self.scripts.look.call().key(used);
            for (digest, _) in &them {
                call = call.key(self.record(digest)).arg(digest);
            }
            let used: Vec<i64> = self.redis.eval(&call, Again::Safe).await.map_err(unable)?;
            Ok::<_, SessionError>((them, used))
        });
        let opening = millis(OPENING.min(self.limits.idle));
        let mut found = Found::default();
        for (them, used) in try_join_all(looks).await? {
            for ((digest, known), used) in them.into_iter().zip(used) {
                let is_opening = place.now.saturating_sub(*known) < opening;
                match u64::try_from(used) {
                    Ok(used) => found.used.push((digest.clone(), used)),
                    Err(_) if is_opening => found.used.push((digest.clone(), *known)),
                    Err(_) => found.ended.push(digest.clone()),
                }
            }
        }
        Ok(found)
    }

    /// Ends a session that was not used since `used`; whether it did.
    async fn evict(&self, digest: &str, used: u64) -> Result<bool, SessionError> {
        let call = self
            .keyed(&self.scripts.evict, digest)
            .arg(digest)
            .arg(used);
        let Said::Ended(times) = self.say(call).await? else {
            return Ok(false);
        };
        self.count_one_less();
        if let Some(digest) = SessionDigest::parse(digest) {
            self.known.forget(&digest);
        }
        let Some(principal) = &times.principal else {
            self.tell(self.end_by_time(&times));
            return Ok(true);
        };
        self.tell(self.end(&times, EndReason::Evicted, times.now));
        self.give_place_back(principal, digest).await;
        Ok(true)
    }

    /// Whether a session that was not used for `idle` may be ended for a new one.
    fn check_idle(&self, idle: Duration) -> Result<(), SessionError> {
        if idle < self.limits.evict_idle {
            return Err(self.full(idle));
        }
        Ok(())
    }

    fn full(&self, idle: Duration) -> SessionError {
        SessionError::Full {
            retry_after: self.limits.evict_idle.saturating_sub(idle),
        }
    }

    /// Gives a place back. One that is not given back is found to be free when places are short.
    pub(super) async fn give_place_back(&self, principal: &str, digest: &str) {
        let mut command = redis::cmd("ZREM");
        command.arg(self.places(principal)).arg(digest);
        let _ = self.redis.command::<u64>(&command, Again::Safe).await;
    }

    /// The places of a principal: who it is does not show in the key.
    fn places(&self, principal: &str) -> String {
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(principal));
        self.redis.key(&format!("session-places:{{{digest}}}"))
    }
}
