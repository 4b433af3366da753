//! What was found out a moment ago: a bounded map whose entries do not live long.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// At most so many entries, none older than its life. When it is full, what comes is not kept.
pub(super) struct Cache<K, V> {
    life: Duration,
    entries_max: usize,
    entries: Mutex<Entries<K, V>>,
}

struct Entries<K, V> {
    map: HashMap<K, (Instant, V)>,
    /// When old entries were last looked for; that takes time, so it is not done for each new one.
    swept: Instant,
    /// What was true until then need not be true any more.
    forgot: Option<Instant>,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(super) fn new(life: Duration, entries_max: usize) -> Self {
        let entries = Entries {
            map: HashMap::new(),
            swept: Instant::now(),
            forgot: None,
        };
        Self {
            life,
            entries_max,
            entries: Mutex::new(entries),
        }
    }

    /// What is known of `key`.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        match entries.map.get(key) {
            Some((since, value)) if since.elapsed() < self.life => Some(value.clone()),
            Some(_) => {
                entries.map.remove(key);
                None
            }
            None => None,
        }
    }

    /// Forgets what `is_over` says, and takes nothing more that was true before now: a question may
    /// be under way whose answer is over too.
    pub(super) fn forget(&self, is_over: impl Fn(&K, &V) -> bool) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.forgot = Some(Instant::now());
        entries.map.retain(|key, (_, value)| !is_over(key, value));
    }

    /// Keeps what was true of `key` at `since`; whether there was room, and it may still be true.
    pub(super) fn put(&self, key: K, value: V, since: Instant) -> bool {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.forgot.is_some_and(|forgot| since <= forgot) {
            return false;
        }
        if entries.map.len() >= self.entries_max && entries.swept.elapsed() >= self.life {
            entries.swept = Instant::now();
            let life = self.life;
            entries.map.retain(|_, (since, _)| since.elapsed() < life);
        }
        let has_room = entries.map.len() < self.entries_max || entries.map.contains_key(&key);
        if has_room {
            entries.map.insert(key, (since, value));
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn an_entry_lives_from_the_question_on_and_no_longer() {
        let cache = Cache::new(LIFE, 10);
        let asked = Instant::now();
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert!(cache.put("a", 1, asked));
        assert_eq!(cache.get("a"), Some(1));
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(cache.get("a"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_cache_takes_nothing_until_something_is_old() {
        let cache = Cache::new(LIFE, 2);
        assert!(cache.put("a", 1, Instant::now()) && cache.put("b", 2, Instant::now()));
        assert!(!cache.put("c", 3, Instant::now()));
        assert!(cache.put("a", 4, Instant::now()));
        tokio::time::advance(LIFE).await;
        assert!(cache.put("c", 3, Instant::now()));
        assert_eq!((cache.get("a"), cache.get("c")), (None, Some(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_forgotten_is_not_put_back_by_a_question_that_was_under_way() {
        let cache = Cache::new(LIFE, 10);
        let asked = Instant::now();
        assert!(cache.put("a", 1, asked) && cache.put("b", 2, asked));
        tokio::time::advance(Duration::from_millis(1)).await;
        cache.forget(|key, _| *key == "a");
        assert_eq!((cache.get("a"), cache.get("b")), (None, Some(2)));
        assert!(!cache.put("a", 1, asked));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(cache.put("a", 3, Instant::now()));
        assert_eq!(cache.get("a"), Some(3));
    }
}
