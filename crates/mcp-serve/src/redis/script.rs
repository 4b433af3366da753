//! Lua scripts, known to Redis by their hash.

use std::fmt;

use redis::{Cmd, ToRedisArgs};

/// A script. What it does must depend only on its keys and arguments, and all its keys must have the
/// same hash tag.
pub struct Script {
    source: &'static str,
    hash: String,
}

/// A script with what it is called with.
pub struct Invocation<'a> {
    script: &'a Script,
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

impl Script {
    /// A script with this source.
    pub fn new(source: &'static str) -> Self {
        let hash = redis::Script::new(source).get_hash().to_owned();
        Self { source, hash }
    }

    /// Begins a call; without keys and arguments so far.
    pub fn call(&self) -> Invocation<'_> {
        Invocation {
            script: self,
            keys: Vec::new(),
            arguments: Vec::new(),
        }
    }
}

impl Invocation<'_> {
    /// With one more key, whole: see [`Redis::key`](super::Redis::key).
    #[must_use]
    pub fn key(mut self, key: impl AsRef<str>) -> Self {
        self.keys.push(key.as_ref().as_bytes().to_vec());
        self
    }

    /// With one more argument, or with several where `argument` is a list.
    #[must_use]
    pub fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        argument.write_redis_args(&mut self.arguments);
        self
    }

    /// For a server that knows the script.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script.hash)
    }

    /// For one that does not, and knows it afterwards.
    pub(super) fn by_source(&self) -> Cmd {
        self.command("EVAL", self.script.source)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len());
        for text in self.keys.iter().chain(&self.arguments) {
            command.arg(text);
        }
        command
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Script").field(&self.hash).finish()
    }
}

impl fmt::Debug for Invocation<'_> {
    /// Arguments may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation")
            .field("script", self.script)
            .field("keys", &self.keys.len())
            .field("arguments", &self.arguments.len())
            .finish()
    }
}
