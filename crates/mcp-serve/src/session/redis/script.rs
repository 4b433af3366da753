//! The scripts that act on sessions in Redis, and what they say.

use redis::{FromRedisValue, ParsingError, Value, from_redis_value};

use crate::redis::Script;

/// Every script. Each touches keys of one hash tag only.
pub(super) struct Scripts {
    pub(super) create: Script,
    pub(super) touch: Script,
    pub(super) change: Script,
    pub(super) delete: Script,
    pub(super) evict: Script,
    pub(super) census: Script,
    pub(super) reserve: Script,
    pub(super) look: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            create: Script::new(include_str!("create.lua")),
            touch: Script::new(concat!(include_str!("open.lua"), include_str!("touch.lua"))),
            change: Script::new(concat!(
                include_str!("open.lua"),
                include_str!("change.lua")
            )),
            delete: Script::new(concat!(
                include_str!("open.lua"),
                include_str!("delete.lua")
            )),
            evict: Script::new(include_str!("evict.lua")),
            census: Script::new(include_str!("census.lua")),
            reserve: Script::new(include_str!("reserve.lua")),
            look: Script::new(include_str!("look.lua")),
        }
    }
}

/// What a script on one session says.
#[derive(Debug)]
pub(super) enum Said {
    /// It is open, and its record is as the caller remembers it.
    Same,
    /// It is open and this is its record.
    Record {
        /// Until its absolute end, in ms.
        left: u64,
        /// The fields of the hash.
        fields: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// It has as many subscriptions as it may.
    Full,
    /// There is no such session.
    None,
    /// It is somebody else's.
    Other,
    /// There was something else in its place, which is removed now.
    Corrupt,
    /// Its time had run out, which nobody was told of before.
    Gone(Times),
    /// The script ended it.
    Ended(Times),
    /// It was used meanwhile, or somebody else ended it.
    Used,
}

/// When what happened to a session, in ms of Redis's clock.
#[derive(Debug, Clone)]
pub(super) struct Times {
    pub(super) used: u64,
    /// `None` when Redis lost it.
    pub(super) ends: Option<u64>,
    pub(super) now: u64,
    /// Whose it was, where the script says so and the record was still there.
    pub(super) principal: Option<String>,
}

impl FromRedisValue for Said {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let mut words = Vec::<Value>::from_redis_value(value)?.into_iter();
        let mut next = || words.next().unwrap_or_default();
        let said: String = from_redis_value(next())?;
        Ok(match said.as_str() {
            "same" => Self::Same,
            "record" => Self::Record {
                left: from_redis_value(next())?,
                fields: pairs(from_redis_value(next())?),
            },
            "full" => Self::Full,
            "none" => Self::None,
            "other" => Self::Other,
            "corrupt" => Self::Corrupt,
            "gone" => Self::Gone(times(next)?),
            "ended" => Self::Ended(times(next)?),
            "used" => Self::Used,
            _ => return Err("a script said an unknown word".to_owned().into()),
        })
    }
}

fn times(mut next: impl FnMut() -> Value) -> Result<Times, ParsingError> {
    Ok(Times {
        used: from_redis_value(next())?,
        ends: number(next())?,
        now: from_redis_value(next())?,
        principal: from_redis_value::<Option<String>>(next())?.filter(|key| !key.is_empty()),
    })
}

/// A number, or nothing where Redis has the empty string.
fn number(value: Value) -> Result<Option<u64>, ParsingError> {
    match value {
        Value::BulkString(text) if text.is_empty() => Ok(None),
        value => from_redis_value(value).map(Some),
    }
}

/// What `HGETALL` and `WITHSCORES` give: every second one belongs to the one before.
pub(super) fn pairs<T>(flat: Vec<T>) -> Vec<(T, T)> {
    let mut flat = flat.into_iter();
    std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect()
}

/// What [`Scripts::census`] says of one bucket.
pub(super) struct Bucket {
    pub(super) now: u64,
    pub(super) open: usize,
    /// The digest that was not used for longest, with its last use in ms.
    pub(super) oldest: Option<(String, u64)>,
    /// What has ended and nobody was told of before.
    pub(super) ended: Vec<Times>,
}

impl FromRedisValue for Bucket {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (now, open, oldest, ended): (u64, usize, Vec<String>, Vec<Value>) =
            from_redis_value(value)?;
        let mut times = Vec::with_capacity(ended.len() / 2);
        for (used, ends) in pairs(ended) {
            // Without its last use it was not counted any more.
            if let Some(used) = number(used)? {
                times.push(Times {
                    used,
                    ends: number(ends)?,
                    now,
                    principal: None,
                });
            }
        }
        Ok(Self {
            now,
            open,
            oldest: scored(oldest)?.pop(),
            ended: times,
        })
    }
}

/// What [`Scripts::reserve`] says.
pub(super) struct Place {
    pub(super) now: u64,
    pub(super) is_taken: bool,
    /// Those that were unused for longest as far as is known, each with its last use in ms.
    pub(super) oldest: Vec<(String, u64)>,
}

impl FromRedisValue for Place {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (now, is_taken, oldest): (u64, bool, Vec<String>) = from_redis_value(value)?;
        Ok(Self {
            now,
            is_taken,
            oldest: scored(oldest)?,
        })
    }
}

fn scored(flat: Vec<String>) -> Result<Vec<(String, u64)>, ParsingError> {
    let scored = pairs(flat).into_iter().map(|(digest, score)| {
        let score = score.parse().map_err(|_| "a score is no time".to_owned())?;
        Ok((digest, score))
    });
    scored.collect()
}
