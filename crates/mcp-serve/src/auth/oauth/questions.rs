//! Questions to an issuer that are under way: one for each token, and only so many for a network.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::sync::OnceCell;

use crate::limit::Caller;

/// The digest of a token.
pub(super) type Digest = [u8; 32];

/// All questions that are under way.
pub(super) struct Questions<A> {
    per_network_max: usize,
    open: Mutex<Open<A>>,
}

struct Open<A> {
    by_digest: HashMap<Digest, Weak<Question<A>>>,
    of_networks: HashMap<Caller, usize>,
}

/// A question about one token, shared by all who ask it at the same time.
pub(super) struct Question<A> {
    /// Whoever comes first asks; when that caller goes, the next one does.
    pub(super) answer: OnceCell<A>,
    digest: Digest,
    /// Whose place it takes.
    network: Option<Caller>,
    questions: Arc<Questions<A>>,
}

/// The network has as many questions under way as it may.
#[derive(Debug)]
pub(super) struct Full;

impl<A> Questions<A> {
    pub(super) fn new(per_network_max: usize) -> Self {
        Self {
            per_network_max,
            open: Mutex::new(Open {
                by_digest: HashMap::new(),
                of_networks: HashMap::new(),
            }),
        }
    }

    /// The question about the token with this digest. Where nobody asks it yet it takes a place of
    /// `network`, if there is one, until nobody holds it any more.
    pub(super) fn join(
        self: &Arc<Self>,
        digest: Digest,
        network: Option<Caller>,
    ) -> Result<Arc<Question<A>>, Full> {
        let mut open = self.open();
        if let Some(question) = open.by_digest.get(&digest).and_then(Weak::upgrade) {
            return Ok(question);
        }
        if let Some(network) = &network {
            let places = open.of_networks.entry(network.clone()).or_default();
            if *places >= self.per_network_max {
                return Err(Full);
            }
            *places += 1;
        }
        let question = Arc::new(Question {
            answer: OnceCell::new(),
            digest,
            network,
            questions: self.clone(),
        });
        open.by_digest.insert(digest, Arc::downgrade(&question));
        Ok(question)
    }

    fn open(&self) -> MutexGuard<'_, Open<A>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A> Drop for Question<A> {
    fn drop(&mut self) {
        let mut open = self.questions.open();
        // Somebody may have begun to ask the same again.
        let kept = open.by_digest.get(&self.digest);
        if kept.is_some_and(|question| question.strong_count() == 0) {
            open.by_digest.remove(&self.digest);
        }
        if let Some(network) = &self.network
            && let Some(places) = open.of_networks.get_mut(network)
        {
            *places = places.saturating_sub(1);
            if *places == 0 {
                open.of_networks.remove(network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn a_network_has_its_places_and_gets_them_back() {
        let questions = Arc::new(Questions::<()>::new(2));
        let at = |address: &str| Some(Caller::at(address.parse::<IpAddr>().unwrap()));
        let join = |digest: u8, address| questions.join([digest; 32], at(address));
        let first = join(1, "2001:db8::1").unwrap();
        let again = join(1, "2001:db8::2").unwrap();
        assert!(Arc::ptr_eq(&first, &again), "the same token");
        let second = join(2, "2001:db8::3").unwrap();
        assert!(join(3, "2001:db8::4").is_err(), "the same /64");
        assert!(join(3, "192.0.2.1").is_ok(), "another network");
        assert!(questions.join([3; 32], None).is_ok(), "no network");
        drop(first);
        assert!(join(3, "2001:db8::4").is_err(), "still held");
        drop(again);
        let third = join(3, "2001:db8::4").unwrap();
        drop((second, third));
        let open = questions.open();
        assert!(open.by_digest.is_empty() && open.of_networks.is_empty());
    }
}
