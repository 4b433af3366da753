//! `mcp-notes token`: makes, lists and revokes the tokens that `AUTH_MODE=token` asks for.

mod expiry;
mod table;

use std::{sync::Arc, time::Duration};

use mcp_serve::{
    auth::{
        Scopes,
        token::{Token, line},
    },
    events::redis::tell,
    metrics::Metrics,
    signals::Signal,
};
use notes::{AccessToken, Owner, Store, Timestamp, TokenName};
use serde_json::{Value, json};
use tokio::time::timeout;

use self::expiry::Expiry;
use super::{Failure, complain, deed::Deed, print, runtime};
use crate::{
    app::{SCOPES, connect_redis, open_store},
    config::{AuthMode, Config},
};

/// The most tokens that are listed.
const LIST_MAX: u32 = 10_000;

/// What to do with tokens.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Makes a token and prints it; it is shown this once and never again.
    Create(Create),
    /// Lists all tokens with their owners and scopes, the newest first; no token is shown.
    List {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revokes a token; running servers refuse it within seconds.
    Revoke {
        /// The id of the token, or its name.
        #[arg(value_name = "ID|NAME")]
        token: String,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What to call it, one word; no other token may have the name until this one is revoked.
    #[arg(long, value_parser = |text: &str| TokenName::parse(text).map_err(|e| e.to_string()))]
    name: TokenName,
    /// Whose notes its holder works with, one word: tokens of one owner share notes and budgets.
    /// `shared` is who has the notes of a server without authentication.
    #[arg(long, value_name = "PERSON|shared", value_parser = owner)]
    owner: Owner,
    /// What it allows, apart by commas or spaces: notes:read, notes:write, notes:delete (each of
    /// these two includes reading), notes:admin (everything).
    #[arg(long, default_value = "notes:read,notes:write", value_parser = scopes)]
    scopes: Scopes,
    /// How long it holds: 12h, 90d, 52w, or never.
    #[arg(long, default_value = "90d")]
    expires: Expiry,
    /// Prints, on standard error, the line to add to a tokens file, and leaves the database alone.
    #[arg(long)]
    file_line: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// An owner that stays one word in a file and is the same as the subject of its calls.
fn owner(text: &str) -> Result<Owner, String> {
    const BYTES_MAX: usize = 200;
    if text.eq_ignore_ascii_case("anonymous") {
        return Err("anonymous is nobody in particular; name somebody".into());
    }
    if text.len() > BYTES_MAX || text.chars().any(char::is_whitespace) || text.contains('#') {
        return Err(format!(
            "an owner is one word of at most {BYTES_MAX} bytes without #"
        ));
    }
    Owner::parse(text).map_err(|error| error.to_string())
}

fn scopes(text: &str) -> Result<Scopes, String> {
    let words = text.split([',', ' ']).filter(|word| !word.is_empty());
    let words: Vec<_> = words.collect();
    match words.iter().find(|word| !SCOPES.contains(word)) {
        Some(unknown) => Err(format!("{unknown:?} is not one of {}", SCOPES.join(", "))),
        None if words.is_empty() => Err(format!("give at least one of {}", SCOPES.join(", "))),
        None => Ok(words.into_iter().collect()),
    }
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let config = Config::from_env()?.config;
    let done = async {
        match args.action {
            Action::Create(args) if args.file_line => create_line(&args),
            Action::Create(args) => {
                let mut deed = Deed::begin(&config, "token.create")?;
                let done = create(&args, &config, &mut deed).await;
                deed.end();
                done
            }
            Action::List { json } => list(json, &config).await,
            Action::Revoke { token } => {
                let mut deed = Deed::begin(&config, "token.revoke")?;
                let done = revoke(&token, &config, &mut deed).await;
                deed.end();
                done
            }
        }
    };
    runtime()?.block_on(done)
}

/// The store that has the tokens.
async fn open(config: &Config) -> Result<Arc<dyn Store>, Failure> {
    if let Some(path) = &config.tokens_file {
        return Err(Failure::Failed(format!(
            "TOKENS_FILE is set, so the tokens are the lines of {}: `mcp-notes token create \
             --file-line` makes one to add, and what is removed is revoked",
            path.display()
        )));
    }
    open_store(config).await.map_err(Failure::failed)
}

async fn create(args: &Create, config: &Config, deed: &mut Deed) -> Result<(), Failure> {
    let store = open(config).await?;
    let token = new_token()?;
    let record = record(args)?;
    let added = store
        .add_token(record.clone(), *token.hash().as_bytes())
        .await
        .map_err(Failure::failed)?;
    if added {
        deed.done(Some(&record.id));
    }
    store.close().await.map_err(Failure::failed)?;
    if !added {
        return Err(Failure::Failed(format!(
            "there is a token of the name {} already; revoke it or take another name",
            args.name
        )));
    }
    if config.auth_mode == AuthMode::None {
        complain("with AUTH_MODE=none, as it is set here, a server asks nobody for a token");
    }
    complain(format_args!(
        "token {} of {}, {}, {}; kept in {:?} as {}; the token itself is shown only now",
        record.name,
        record.owner.as_str(),
        args.scopes,
        ends(record.expires_at),
        config.notes_store,
        record.id,
    ));
    show(args, &token, &record, None)
}

fn create_line(args: &Create) -> Result<(), Failure> {
    let token = new_token()?;
    let record = record(args)?;
    let (name, owner) = (args.name.as_str(), args.owner.as_str());
    if name.contains('#') {
        return Err(Failure::Failed(
            "--name: in a file of tokens # begins a comment".into(),
        ));
    }
    let line = line(&token.hash(), name, owner, &args.scopes, record.expires_at);
    if !args.json {
        // As it is: to be appended to the file by a redirection.
        eprint(&format!("{line}\n"))?;
    }
    show(args, &token, &record, Some(&line))
}

fn eprint(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let written = std::io::stderr().lock().write_all(text.as_bytes());
    written.map_err(|error| Failure::Failed(format!("standard error: {error}")))
}

fn new_token() -> Result<Token, Failure> {
    Token::random().map_err(Failure::failed)
}

fn record(args: &Create) -> Result<AccessToken, Failure> {
    let now = Timestamp::now();
    let now = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
    Ok(AccessToken {
        id: uuid::Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext)).to_string(),
        name: args.name.clone(),
        owner: args.owner.clone(),
        scopes: args.scopes.iter().map(str::to_owned).collect(),
        created_at: now,
        expires_at: args.expires.after(now).map_err(Failure::Failed)?,
        last_used: None,
        revoked_at: None,
    })
}

/// Prints a new token, the only time that it is printed.
fn show(
    args: &Create,
    token: &Token,
    record: &AccessToken,
    line: Option<&str>,
) -> Result<(), Failure> {
    if !args.json {
        return print(&format!("{}\n", token.reveal()));
    }
    let mut shown = json(record);
    shown["token"] = token.reveal().into();
    if let Some(line) = line {
        shown["file_line"] = line.into();
    }
    print(&format!("{shown:#}\n"))
}

async fn list(as_json: bool, config: &Config) -> Result<(), Failure> {
    let store = open(config).await?;
    let tokens = store.tokens(LIST_MAX).await.map_err(Failure::failed)?;
    store.close().await.map_err(Failure::failed)?;
    if as_json {
        let tokens: Vec<_> = tokens.iter().map(json).collect();
        return print(&format!("{:#}\n", json!({ "tokens": tokens })));
    }
    print(&table::text(&tokens))
}

async fn revoke(token: &str, config: &Config, deed: &mut Deed) -> Result<(), Failure> {
    let store = open(config).await?;
    let now = Timestamp::now();
    let revoked = store.revoke_token(token, now).await;
    let revoked = revoked.map_err(Failure::failed)?;
    if let Some(record) = &revoked {
        deed.done(Some(&record.id));
    }
    store.close().await.map_err(Failure::failed)?;
    match revoked {
        Some(record) => {
            let when = tell_servers(config, &record.id).await;
            complain(format_args!(
                "token {} ({}) is revoked; running servers refuse it {when}",
                record.name, record.id
            ));
            Ok(())
        }
        None => Err(Failure::Failed(format!(
            "there is no token with the id {token:?}, and none of that name that is not revoked; \
             `mcp-notes token list` shows them"
        ))),
    }
}

/// Tells running servers that a token is revoked, where there is a way to; by when they know.
async fn tell_servers(config: &Config, id: &str) -> String {
    const LATER: &str = "within seconds";
    const CONNECT_MAX: Duration = Duration::from_secs(5);
    let redis = match connect_redis(config, &Metrics::default()) {
        Ok(Some(redis)) => redis,
        Ok(None) => return LATER.to_owned(),
        // It is revoked whatever is wrong with the way to the servers.
        Err(error) => return format!("{LATER} ({error})"),
    };
    let mut up = redis.watch();
    // A connection that is made for this takes longer than a command may.
    let _ = timeout(CONNECT_MAX, up.wait_for(|up| *up)).await;
    let credential = id.to_owned();
    match tell(&redis, Signal::CredentialRevoked { credential }).await {
        Ok(()) => "from now on".to_owned(),
        Err(error) => format!("{LATER} ({error}, so that they are not told)"),
    }
}

fn ends(expires_at: Option<Timestamp>) -> String {
    expires_at.map_or_else(
        || "never expires".into(),
        |end| format!("expires {}", table::time(end)),
    )
}

fn json(token: &AccessToken) -> Value {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    json!({
        "id": token.id,
        "name": token.name.as_str(),
        "owner": token.owner.as_str(),
        "scopes": token.scopes,
        "created_at": token.created_at.to_string(),
        "expires_at": time(token.expires_at),
        "last_used": time(token.last_used),
        "revoked_at": time(token.revoked_at),
    })
}
