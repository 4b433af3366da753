//! Asks sentinels which server is the primary.

use std::sync::atomic::{AtomicUsize, Ordering};

use redis::AsyncConnectionConfig;
use tokio::time::timeout;

use super::{
    settings::{Address, Settings},
    trouble, wire,
};

/// The address of the primary called `name`, from the first sentinel that knows it; `Err` with the
/// reason in words. They are asked in turn, and the next time the one at `first` comes first: the one
/// that answered.
pub(super) async fn primary(
    settings: &Settings,
    name: &str,
    first: &AtomicUsize,
) -> Result<Address, String> {
    let mut reason = String::new();
    for (at, sentinel) in settings.in_turn(first.load(Ordering::Relaxed)) {
        let asked = timeout(settings.deadlines.connect, ask(settings, sentinel, name));
        reason = match asked.await {
            Ok(Ok(Some(address))) => {
                first.store(at, Ordering::Relaxed);
                return Ok(address);
            }
            Ok(Ok(None)) => format!("the sentinels know no primary called {name}"),
            Ok(Err(error)) => {
                let why = trouble::of_connection(&error);
                format!("no sentinel answers; of the last one: {why}")
            }
            Err(_) => "no sentinel answers in time".to_owned(),
        };
    }
    Err(reason)
}

async fn ask(
    settings: &Settings,
    sentinel: &Address,
    name: &str,
) -> redis::RedisResult<Option<Address>> {
    let client = wire::client(settings, sentinel, &settings.sentinel_login, 0)?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.deadlines.attempt))
        .set_response_timeout(Some(settings.deadlines.attempt));
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    let mut connection = connection.await?;
    let found: Option<(String, u16)> = redis::cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(name)
        .query_async(&mut connection)
        .await?;
    Ok(found.map(|(host, port)| Address { host, port }))
}
