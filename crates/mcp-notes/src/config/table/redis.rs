//! Settings of Redis, which holds what replicas share.

use super::{Group, ROW, Setting, put};
use crate::config::{
    Secret,
    redis::RedisUrl,
    value::{self, Word},
};

pub(super) const REDIS: &[Setting] = &[
    Setting {
        name: "REDIS_URL",
        group: Group::Redis,
        kind: "URL",
        about: "Where the Redis is that the replicas of this server share: \
                redis://USER:PASSWORD@HOST:PORT/DATABASE, redis+sentinel://HOST,HOST/NAME where \
                sentinels know the primary NAME, or redis+cluster://HOST,HOST; over TLS with rediss \
                in place of redis. Without it, sessions and limits are those of one process.",
        secret: true,
        set: |c, v| put(&mut c.redis.url, RedisUrl::parse(v).map(Some)),
        show: |c| {
            let url = c.redis.url.as_ref();
            url.map_or_else(String::new, |url| url.text().to_owned())
        },
        ..ROW
    },
    Setting {
        name: "REDIS_HOST",
        group: Group::Redis,
        kind: "host name or IP address",
        about: "Where one Redis is, instead of REDIS_URL and without TLS.",
        set: |c, v| put(&mut c.redis.host, value::redis_host(v).map(Some)),
        show: |c| c.redis.host.clone().unwrap_or_default(),
        ..ROW
    },
    Setting {
        name: "REDIS_PORT",
        group: Group::Redis,
        kind: "port",
        about: "The port at REDIS_HOST.",
        set: |c, v| put(&mut c.redis.port, value::port_of_server(v)),
        show: |c| c.redis.port.to_string(),
        ..ROW
    },
    Setting {
        name: "REDIS_USERNAME",
        group: Group::Redis,
        kind: "ACL user",
        about: "As whom Redis is used, where REDIS_URL does not say it.",
        default_words: Some("the user `default`"),
        set: |c, v| put(&mut c.redis.username, Ok(Some(v.to_owned()))),
        show: |c| c.redis.username.clone().unwrap_or_default(),
        ..ROW
    },
    Setting {
        name: "REDIS_PASSWORD",
        group: Group::Redis,
        kind: "password",
        about: "The password of that user, where REDIS_URL does not say it.",
        secret: true,
        set: |c, v| put(&mut c.redis.password, Secret::parse(v).map(Some)),
        show: |c| shown(c.redis.password.as_ref()),
        ..ROW
    },
    Setting {
        name: "REDIS_SENTINEL_USERNAME",
        group: Group::Redis,
        kind: "ACL user",
        about: "As whom sentinels are asked.",
        default_words: Some("the user `default`"),
        set: |c, v| put(&mut c.redis.sentinel_username, Ok(Some(v.to_owned()))),
        show: |c| c.redis.sentinel_username.clone().unwrap_or_default(),
        ..ROW
    },
    Setting {
        name: "REDIS_SENTINEL_PASSWORD",
        group: Group::Redis,
        kind: "password",
        about: "The password of that user; without it sentinels are asked without one.",
        secret: true,
        set: |c, v| put(&mut c.redis.sentinel_password, Secret::parse(v).map(Some)),
        show: |c| shown(c.redis.sentinel_password.as_ref()),
        ..ROW
    },
    Setting {
        name: "REDIS_DB",
        group: Group::Redis,
        kind: "number",
        about: "The number of the database; a cluster has only 0.",
        default_words: Some("as REDIS_URL says, otherwise 0"),
        set: |c, v| put(&mut c.redis.database, value::database(v).map(Some)),
        show: |c| {
            let number = c.redis.database;
            number.map_or_else(String::new, |number| number.to_string())
        },
        ..ROW
    },
    Setting {
        name: "REDIS_KEY_PREFIX",
        group: Group::Redis,
        kind: "text",
        about: "What the names of all keys and channels begin with: the same for all replicas of one \
                server, and another one for each server that shares this Redis.",
        set: |c, v| put(&mut c.redis.key_prefix, value::key_prefix(v)),
        show: |c| c.redis.key_prefix.clone(),
        ..ROW
    },
    Setting {
        name: "REDIS_CA_PATH",
        group: Group::Redis,
        kind: "path",
        about: "The certificates of those who vouch for Redis, as PEM; with it nobody else does.",
        default_words: Some("those whom the machine trusts"),
        set: |c, v| put(&mut c.redis.ca_path, value::file(v).map(Some)),
        show: |c| {
            let path = c.redis.ca_path.as_ref();
            path.map_or_else(String::new, |path| path.display().to_string())
        },
        ..ROW
    },
    Setting {
        name: "REDIS_REQUIRED",
        group: Group::Redis,
        kind: "true or false",
        about: "Whether the server is not ready while Redis is away; otherwise it is, says that it \
                is degraded, and serves what it can.",
        set: |c, v| put(&mut c.redis.required, Word::parse(v)),
        show: |c| c.redis.required.word().into(),
        ..ROW
    },
    Setting {
        name: "REDIS_TIMEOUT_MILLISECONDS",
        group: Group::Redis,
        kind: "milliseconds",
        about: "The time Redis has to answer once.",
        set: |c, v| put(&mut c.redis.deadlines.attempt, value::milliseconds(v)),
        show: |c| c.redis.deadlines.attempt.as_millis().to_string(),
        ..ROW
    },
    Setting {
        name: "REDIS_REQUEST_TIMEOUT_MILLISECONDS",
        group: Group::Redis,
        kind: "milliseconds",
        about: "The time that up to three tries have together; then the request goes on without \
                Redis, or gets 503.",
        set: |c, v| put(&mut c.redis.deadlines.request, value::milliseconds(v)),
        show: |c| c.redis.deadlines.request.as_millis().to_string(),
        ..ROW
    },
    Setting {
        name: "REDIS_CONNECT_TIMEOUT_MILLISECONDS",
        group: Group::Redis,
        kind: "milliseconds",
        about: "The time a connection has to stand; connections are made in the background.",
        set: |c, v| put(&mut c.redis.deadlines.connect, value::milliseconds(v)),
        show: |c| c.redis.deadlines.connect.as_millis().to_string(),
        ..ROW
    },
    Setting {
        name: "SESSION_GRACE_SECONDS",
        group: Group::Redis,
        kind: "seconds",
        about: "While Redis is away, sessions that a replica knows go on there for this long since \
                Redis last vouched for them.",
        set: |c, v| put(&mut c.redis.session_grace, value::seconds(v, 0)),
        show: |c| c.redis.session_grace.as_secs().to_string(),
        ..ROW
    },
];

fn shown(secret: Option<&Secret>) -> String {
    secret.map_or_else(String::new, |secret| format!("{secret:?}"))
}
