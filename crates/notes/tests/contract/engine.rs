//! A MongoDB for the tests, and a database of its own for each of them.
//!
//! It is the one at `TEST_MONGODB_URL`, else a `mongod` on the path, else `FerretDB` as
//! `scripts/install-test-tools.sh` builds it. What is started here is started once for all tests
//! of a process, keeps its files in a folder of its own, and is gone with the process however
//! that ends.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mongodb::Client;
use mongodb::options::ClientOptions;

/// Longer than a start, or anything else, takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Runs an engine until its own standard input ends, and then removes the folder. The engine gets
/// the same input, and no other process holds its output.
const KEEPER: &str = r#"
    folder=$1
    shift
    exec 3<&0
    "$@" <&3 &
    engine=$!
    exec >/dev/null
    cat
    kill -s KILL "$engine" 2>/dev/null
    wait "$engine"
    rm -rf "$folder"
"#;

/// A database that nobody else uses, dropped when this is.
pub(crate) struct Database {
    url: String,
    name: String,
}

impl Database {
    /// A new one, on the engine that all tests of this process share.
    pub(crate) fn new() -> Self {
        static ENGINE: OnceLock<Engine> = OnceLock::new();
        static LAST: AtomicU64 = AtomicU64::new(0);
        let base = match env::var("TEST_MONGODB_URL") {
            Ok(url) if !url.is_empty() => url,
            _ => ENGINE.get_or_init(Engine::start).url.clone(),
        };
        let started = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{started}-{number}", std::process::id());
        Self {
            url: with_database(&base, &name),
            name,
        }
    }

    /// Where it is, with its name in the path.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (url, name) = (self.url.clone(), self.name.clone());
        // The runtime of the test cannot wait for anything here.
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let mut options = ClientOptions::parse(&url).await?;
                options.server_selection_timeout = Some(Duration::from_secs(10));
                Client::with_options(options)?.database(&name).drop().await
            })
        });
        let dropped = dropping.join().unwrap();
        // It is no further news of a test that has failed.
        if !thread::panicking() {
            dropped.unwrap();
        }
    }
}

/// The same address with the path `/name`. Who is known to the database that was named there, or to
/// `admin`, still is.
fn with_database(url: &str, name: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (servers, database) = rest.split_once('/').unwrap_or((rest, ""));
    let mut query = query.to_owned();
    if servers.contains('@') && !query.contains("authSource") {
        let source = if database.is_empty() {
            "admin"
        } else {
            database
        };
        if !query.is_empty() {
            query.push('&');
        }
        query = query + "authSource=" + source;
    }
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{servers}/{name}{mark}{query}")
}

/// Whether it is `FerretDB` that the tests use, where a cursor is one question to SQLite and so sees one
/// moment.
pub(crate) fn is_ferretdb() -> bool {
    let named = env::var("TEST_MONGODB_URL").is_ok_and(|url| !url.is_empty());
    !named && on_path("mongod").is_none()
}

/// An engine that was started here.
pub(crate) struct Engine {
    /// Where it listens.
    pub(crate) url: String,
    /// Where its files are.
    pub(crate) folder: PathBuf,
    /// The shell that ends it when its standard input ends.
    pub(crate) keeper: Child,
}

impl Engine {
    /// Starts one and waits until it listens.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        match on_path("mongod") {
            Some(mongod) => Self::start_mongod(&mongod, folder),
            None => Self::start_ferretdb(&test_tool("ferretdb-engine"), folder),
        }
    }

    /// `FerretDB` takes a free port and says which.
    fn start_ferretdb(program: &Path, folder: PathBuf) -> Self {
        let mut keeper = keep(&folder, &[program.as_os_str(), folder.as_os_str()]);
        let output = BufReader::new(keeper.stdout.take().unwrap());
        let (said, line) = mpsc::channel();
        thread::spawn(move || said.send(output.lines().next()));
        let url = line.recv_timeout(PATIENCE).unwrap();
        let url = url.expect("the engine says where it listens").unwrap();
        Self {
            url,
            folder,
            keeper,
        }
    }

    /// mongod must be told the port.
    fn start_mongod(program: &Path, folder: PathBuf) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let port = address.port().to_string();
        let log = folder.join("log");
        let keeper = keep(
            &folder,
            &[
                program.as_os_str(),
                "--bind_ip=127.0.0.1".as_ref(),
                "--nounixsocket".as_ref(),
                "--port".as_ref(),
                port.as_ref(),
                "--dbpath".as_ref(),
                folder.as_os_str(),
                "--logpath".as_ref(),
                log.as_os_str(),
            ],
        );
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < PATIENCE, "mongod does not listen");
            thread::sleep(Duration::from_millis(50));
        }
        Self {
            url: format!("mongodb://{address}/"),
            folder,
            keeper,
        }
    }
}

/// Runs `command` for as long as this process lives and holds the other end of its standard input.
fn keep(folder: &Path, command: &[&std::ffi::OsStr]) -> Child {
    Command::new("/bin/sh")
        .args(["-c", KEEPER, "keeper"])
        .arg(folder)
        .args(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// A command that `scripts/install-test-tools.sh` installs into `.tools`, or into the folder that
/// `TEST_TOOLS` names.
pub(crate) fn test_tool(name: &str) -> PathBuf {
    let tools = env::var_os("TEST_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools"),
        PathBuf::from,
    );
    let tool = tools.join("bin").join(name);
    assert!(
        tool.is_file(),
        "{name} is missing; install it with scripts/install-test-tools.sh"
    );
    tool
}
