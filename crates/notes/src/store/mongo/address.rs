//! From the address of a MongoDB database to a client for it.

use std::time::Duration;

use mongodb::options::{
    Acknowledgment, ClientOptions, ConnectionString, HostInfo, ReadPreference, WriteConcern,
};

use tokio::sync::Semaphore;

use super::fault::Fault;
use crate::error::StoreError;
use crate::store::MongoOptions;

/// The database where nothing names one.
const DATABASE: &str = "mcp-notes";

/// How many connections there may be to each server.
const POOL_SIZE_MAX: u32 = 10;

/// The time an operation has in all.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The time to find a server that takes writes.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// The time a connection has to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a server is asked how it is. One that hangs is known after this and the time to connect.
const HEARTBEAT: Duration = Duration::from_secs(3);

/// What an operation needs beside finding a server.
const MARGIN: Duration = Duration::from_millis(200);

/// Where the notes are and how they are reached.
pub(super) struct Place {
    pub(super) client: ClientOptions,
    pub(super) database: String,
    /// How many connections there may be.
    pub(super) connections: usize,
    /// The time an operation has in all.
    pub(super) timeout: Duration,
}

/// Whether `address` can be that of a MongoDB database; nothing is looked up.
pub(crate) fn check_address(address: &str) -> Result<(), StoreError> {
    parse(address).map(|_| ())
}

/// What `address` and `options` say. The names of servers are looked up where the address asks for it.
pub(super) async fn place(address: &str, options: &MongoOptions) -> Result<Place, StoreError> {
    let (mut parsed, timeout) = parse(address)?;
    let timeout = options.timeout.or(timeout).unwrap_or(TIMEOUT);
    let named = parsed.default_database.take();
    let mut client = ClientOptions::parse(parsed)
        .await
        .map_err(|error| Fault::from(error).error)?;
    client
        .app_name
        .get_or_insert_with(|| "mcp-notes".to_owned());
    let pool = options.pool_size_max.or(client.max_pool_size);
    let pool = pool.unwrap_or(POOL_SIZE_MAX);
    client.max_pool_size = Some(pool);
    client.min_pool_size = options.pool_size_min.or(client.min_pool_size);
    let bounded = |time: Duration| Some(time.min(timeout.saturating_sub(MARGIN)));
    let selection = options
        .selection_timeout
        .or(client.server_selection_timeout)
        .unwrap_or(SELECTION_TIMEOUT);
    client.server_selection_timeout = bounded(selection);
    let connect = options
        .connect_timeout
        .or(client.connect_timeout)
        .unwrap_or(CONNECT_TIMEOUT);
    client.connect_timeout = bounded(connect);
    client.heartbeat_freq.get_or_insert(HEARTBEAT);
    let concern = client.write_concern.get_or_insert_default();
    concern.w.get_or_insert(Acknowledgment::Majority);
    concern.w_timeout.get_or_insert(timeout);
    let database = named
        .or_else(|| options.database.clone())
        .unwrap_or_else(|| DATABASE.to_owned());
    Ok(Place {
        client,
        database,
        connections: usize::try_from(pool)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS),
        timeout,
    })
}

/// The parts of an address, and the time it gives to each operation.
fn parse(address: &str) -> Result<(ConnectionString, Option<Duration>), StoreError> {
    let wrong = |what: &str| StoreError::Address(format!("the mongodb:// address {what}"));
    let Ok(mut parsed) = ConnectionString::parse(address) else {
        // What is wrong is told of the address without its secrets only.
        return Err(
            match without_secrets(address).map(ConnectionString::parse) {
                Some(Err(error)) => wrong(&format!("cannot be used ({error})")),
                Some(Ok(_)) => wrong(
                    "has a character in its user name, its password or another secret that must be \
                 percent-encoded",
                ),
                None => wrong(
                    "cannot be used; an @, a / or a ? in its user name or password must be \
                 percent-encoded",
                ),
            },
        );
    };
    if let HostInfo::HostIdentifiers(hosts) = &parsed.host_info
        && hosts.is_empty()
    {
        return Err(wrong("names no server"));
    }
    // Reading elsewhere would miss what was just written.
    let elsewhere = |read: &ReadPreference| !matches!(read, ReadPreference::Primary);
    if parsed.read_preference.as_ref().is_some_and(elsewhere) {
        return Err(wrong(
            "asks to read from others than the primary (readPreference), where a note that was \
             just written may be missing; leave it out",
        ));
    }
    if parsed.write_concern.as_ref().is_some_and(loses_writes) {
        return Err(wrong(
            "asks for an acknowledgement (w) that a failover can lose; leave it out, and most of \
             the servers confirm every write",
        ));
    }
    #[expect(
        deprecated,
        reason = "the driver has no such time and refuses an address with it; we keep it"
    )]
    let timeout = parsed.socket_timeout.take();
    Ok((parsed, timeout.filter(|timeout| !timeout.is_zero())))
}

fn loses_writes(concern: &WriteConcern) -> bool {
    let few = matches!(concern.w, Some(Acknowledgment::Nodes(0 | 1)));
    few || concern.journal == Some(false)
}

/// The address with nothing secret in it; nothing if its parts cannot be told apart.
fn without_secrets(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    if query.contains('@') {
        return None;
    }
    let place = match place.rsplit_once('@') {
        Some((user, _)) if user.contains(['@', '/']) => return None,
        Some((user, hosts)) if user.contains(':') => format!("x:x@{hosts}"),
        Some((_, hosts)) => format!("x@{hosts}"),
        None => place.to_owned(),
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let query: Vec<String> = pairs
        .map(|pair| match pair.split_once('=') {
            Some((name, value)) if tells(name) => format!("{name}={value}"),
            Some((name, _)) => format!("{name}=x"),
            None => pair.to_owned(),
        })
        .collect();
    Some(format!("{scheme}://{place}?{}", query.join("&")))
}

/// Options whose values are no secret; any other may be one.
fn tells(name: &str) -> bool {
    const PLAIN: [&str; 20] = [
        "appname",
        "authmechanism",
        "authsource",
        "connecttimeoutms",
        "directconnection",
        "heartbeatfrequencyms",
        "journal",
        "maxidletimems",
        "maxpoolsize",
        "minpoolsize",
        "readconcernlevel",
        "readpreference",
        "replicaset",
        "retryreads",
        "retrywrites",
        "serverselectiontimeoutms",
        "sockettimeoutms",
        "ssl",
        "tls",
        "w",
    ];
    PLAIN.contains(&name.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str) -> String {
        check_address(address).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_with_an_address_is_told_without_its_secrets() {
        for (address, told) in [
            ("mongodb://", "cannot be used"),
            ("mongodb://u:hunter2@h:99999/n", "cannot be used"),
            ("mongodb://u:hunter2@h/n?maxPoolSize=many", "cannot be used"),
            ("mongodb://u:hunter%2@h/n", "percent-encoded"),
            ("mongodb://u:hunter2/@h/n", "percent-encoded"),
            ("mongodb://u:hunter2?@h/n", "percent-encoded"),
            (
                "mongodb://h/n?tlsCertificateKeyFilePassword=hunter2&w=x=y",
                "address",
            ),
            (
                "mongodb://u:hunter2@h/n?readPreference=secondary",
                "readPreference",
            ),
            ("mongodb://u:hunter2@h/n?w=0", "acknowledgement"),
            ("mongodb://u:hunter2@h/n?w=1", "acknowledgement"),
        ] {
            let said = refused(address);
            assert!(said.contains(told), "{address}: {said}");
            assert!(!said.contains("hunter"), "{said}");
        }
    }

    #[test]
    fn addresses_as_they_are_in_use_are_taken() {
        for address in [
            "mongodb://mongo:27017/mcp-notes",
            "mongodb://username:password@mongo.your-domain.com:27017/mcp-notes",
            "mongodb://u:p%40ss@a,b,c/n?replicaSet=rs0&retryWrites=true&w=majority",
            "mongodb+srv://u:p@cluster.example.com/n?readPreference=primary&w=2",
            "mongodb://h/?socketTimeoutMS=45000",
        ] {
            check_address(address).unwrap();
        }
    }

    #[tokio::test]
    async fn times_and_pools_come_from_the_options_then_from_the_address() {
        let address =
            "mongodb://h/n?socketTimeoutMS=2000&maxPoolSize=7&serverSelectionTimeoutMS=900";
        let from_address = place(address, &MongoOptions::default()).await.unwrap();
        let client = &from_address.client;
        assert_eq!(from_address.timeout, Duration::from_secs(2));
        assert_eq!(client.max_pool_size, Some(7));
        let selection = Some(Duration::from_millis(900));
        assert_eq!(client.server_selection_timeout, selection);
        assert_eq!(from_address.database, "n");

        let options = MongoOptions {
            pool_size_max: Some(3),
            timeout: Some(Duration::from_secs(1)),
            database: Some("other".to_owned()),
            ..MongoOptions::default()
        };
        let from_options = place("mongodb://h", &options).await.unwrap();
        let client = &from_options.client;
        assert_eq!(from_options.timeout, Duration::from_secs(1));
        assert_eq!(client.max_pool_size, Some(3));
        assert_eq!(from_options.connections, 3);
        // Nobody waits longer for a server than for the whole answer.
        let selection = Some(Duration::from_millis(800));
        assert_eq!(client.server_selection_timeout, selection);
        assert_eq!(from_options.database, "other");

        let plain = place("mongodb://h", &MongoOptions::default())
            .await
            .unwrap();
        assert_eq!(plain.timeout, Duration::from_secs(5));
        assert_eq!(plain.client.max_pool_size, Some(10));
        assert_eq!(plain.database, "mcp-notes");
        let concern = plain.client.write_concern.unwrap();
        assert_eq!(concern.w, Some(Acknowledgment::Majority));
    }
}
