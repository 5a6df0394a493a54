//! Opening a journal: only a whole one, of this organisation, that this program understands.

use super::{StateDb, StateError, StateLock, runs, schema};
use crate::file_system;
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::access;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long to wait for another process that is writing: longer than the longest write, the first
/// roster of a large organisation.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// What a journal is opened for.
#[derive(Debug)]
pub enum Access<'a> {
    /// For runs. The journal is made where there is none and brought up to date where it is old; the
    /// state folder stays locked for as long as the journal is open.
    Write(StateLock),
    /// For approving in the journal of this folder, beside a daemon that writes in it.
    Approve(&'a Path),
    /// For looking at the journal of this folder, beside a daemon that writes in it.
    Read(&'a Path),
}

impl StateDb {
    /// Opens the journal of an organisation. Blocks for as long as the disk does.
    ///
    /// Nothing is ever begun anew over what is there. Where there is no journal, one that is opened
    /// for approving or reading is empty, and nothing is made.
    ///
    /// # Errors
    /// Says what is wrong with it, and what to do.
    pub fn open(base_url: &str, access: Access<'_>) -> Result<Self, StateError> {
        match access {
            Access::Write(lock) => {
                let path = path_in(lock.dir())?;
                let connection = open_to_write(&path, base_url)?;
                Self::start(path, connection, lock)
            }
            Access::Approve(dir) => {
                let path = path_in(dir)?;
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
                let connection = open_beside(&path, base_url, |path| connect(path, flags))?;
                Self::start(path, connection, ())
            }
            Access::Read(dir) => {
                let path = path_in(dir)?;
                let connection = open_beside(&path, base_url, connect_to_read)?;
                Self::start(path, connection, ())
            }
        }
    }
}

fn path_in(dir: &Path) -> Result<PathBuf, StateError> {
    let path = dir.join("journal.db");
    match file_system::shared(dir) {
        Some(file_system) => Err(StateError::Shared { path, file_system }),
        None => Ok(path),
    }
}

fn open_to_write(path: &Path, base_url: &str) -> Result<Connection, StateError> {
    if !is_there(path)? {
        create(path, base_url)?;
    }
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    check_bond(path, &connection, base_url)?;
    check_whole(path, &connection)?;
    restrict(path).map_err(|error| StateError::unusable(path, error))?;
    prepare_to_write(&mut connection).map_err(|error| StateError::new(path, error))?;
    Ok(connection)
}

fn prepare_to_write(connection: &mut Connection) -> rusqlite::Result<()> {
    schema::migrate(connection, schema::STEPS)?;
    runs::interrupt(connection)
}

fn open_beside(
    path: &Path,
    base_url: &str,
    connect: impl FnOnce(&Path) -> Result<Connection, StateError>,
) -> Result<Connection, StateError> {
    if !is_there(path)? {
        return empty(base_url).map_err(|error| StateError::new(path, error));
    }
    let connection = connect(path)?;
    let version = check_bond(path, &connection, base_url)?;
    let known = schema::newest(schema::STEPS);
    if version < known {
        let path = path.to_owned();
        return Err(StateError::Older {
            path,
            version,
            known,
        });
    }
    Ok(connection)
}

/// A journal in which nothing is remembered.
fn empty(base_url: &str) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    schema::create(&mut connection, base_url)?;
    Ok(connection)
}

/// Whether there is a journal. A journal appears whole, so that an empty file is a damaged one, and
/// so is one of which only the log is left: SQLite would pour that into whatever took its place.
fn is_there(path: &Path) -> Result<bool, StateError> {
    let unusable = |error| StateError::unusable(path, error);
    match fs::metadata(path) {
        Ok(about) if !about.is_file() => Err(StateError::damaged(path, "it is not a file")),
        Ok(about) if about.len() == 0 => Err(StateError::damaged(path, "the file is empty")),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if with_ending(path, "-wal").try_exists().map_err(unusable)? {
                let problem = "journal.db-wal is there, and journal.db is not";
                return Err(StateError::damaged(path, problem));
            }
            Ok(false)
        }
        Err(error) => Err(unusable(error)),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Makes a journal beside its place and then puts it there, so that it is whole or not there.
fn create(path: &Path, base_url: &str) -> Result<(), StateError> {
    let unusable = |error| StateError::unusable(path, error);
    let new = with_ending(path, ".new");
    make_file(&new).map_err(unusable)?;
    fill(&new, base_url).map_err(|error| StateError::new(path, error))?;
    put(&new, path).map_err(unusable)
}

/// An empty file that nobody else may read, in place of one that a killed process left behind.
fn make_file(new: &Path) -> io::Result<()> {
    for ending in ["", "-wal", "-shm", "-journal"] {
        match fs::remove_file(with_ending(new, ending)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(new)?;
    file.set_permissions(Permissions::from_mode(0o600))
}

fn fill(new: &Path, base_url: &str) -> rusqlite::Result<()> {
    let mut connection = Connection::open_with_flags(new, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    schema::create(&mut connection, base_url)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.close().map_err(|(_, error)| error)
}

fn put(new: &Path, path: &Path) -> io::Result<()> {
    File::open(new)?.sync_all()?;
    fs::rename(new, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StateError> {
    connect_as(path, path, flags)
}

/// Who reads a journal makes files beside it, unless the daemon has made them. In a folder that can't be
/// written to, such as a volume that is mounted to read, a journal that nobody has open is copied into memory
/// at once: what a daemon that starts meanwhile writes is not seen then, and harms nothing.
fn connect_to_read(path: &Path) -> Result<Connection, StateError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let folder = path.parent().unwrap_or(Path::new("."));
    let is_open = with_ending(path, "-wal").try_exists();
    if access(folder, rustix::fs::Access::WRITE_OK).is_ok() || is_open.unwrap_or(true) {
        return connect(path, flags);
    }
    let flags = flags | OpenFlags::SQLITE_OPEN_URI;
    let file = connect_as(path, Path::new(&as_it_lies(path)), flags)?;
    let copied = || {
        let mut copy = Connection::open_in_memory()?;
        Backup::new(&file, &mut copy)?.step(-1)?;
        Ok(copy)
    };
    copied().map_err(|error| StateError::new(path, error))
}

/// The address by which SQLite reads a file that nobody changes.
fn as_it_lies(path: &Path) -> String {
    let mut address = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() => address.push(char::from(*byte)),
            byte => address.push_str(&format!("%{byte:02X}")),
        }
    }
    address + "?immutable=1"
}

fn connect_as(path: &Path, name: &Path, flags: OpenFlags) -> Result<Connection, StateError> {
    let connect = || {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(name, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(64);
        for (name, value) in [
            ("synchronous", "FULL"),
            ("foreign_keys", "ON"),
            // What is deleted is gone from the file, and sorting leaves no file behind.
            ("secure_delete", "ON"),
            ("temp_store", "MEMORY"),
            // The first roster of a large organisation makes a large log, which need not stay so.
            ("journal_size_limit", "16777216"),
            // A damaged file may hold anything: its triggers and views are not to be trusted.
            ("trusted_schema", "OFF"),
            ("cell_size_check", "ON"),
        ] {
            connection.pragma_update(None, name, value)?;
        }
        Ok(connection)
    };
    connect().map_err(|error| StateError::new(path, error))
}

/// Whether this is a journal of ours, and of this organisation; gives its version.
fn check_bond(path: &Path, connection: &Connection, base_url: &str) -> Result<i64, StateError> {
    let failed = |error| StateError::new(path, error);
    if schema::application_id(connection).map_err(failed)? != schema::APPLICATION_ID {
        let problem = "it is a database, and not one of this program";
        return Err(StateError::damaged(path, problem));
    }
    let version = schema::version(connection).map_err(failed)?;
    let known = schema::newest(schema::STEPS);
    if version > known {
        let path = path.to_owned();
        return Err(StateError::Newer {
            path,
            version,
            known,
        });
    }
    let bound: String = connection
        .query_row("SELECT base_url FROM organisation", [], |row| row.get(0))
        .map_err(failed)?;
    if bound == base_url {
        return Ok(version);
    }
    Err(StateError::OtherOrganisation {
        path: path.to_owned(),
        bound,
        asked: base_url.to_owned(),
    })
}

/// Reads every page once. A damaged journal could say that somebody is ours to remove.
fn check_whole(path: &Path, connection: &Connection) -> Result<(), StateError> {
    let said: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| StateError::new(path, error))?;
    match said.as_str() {
        "ok" => Ok(()),
        problem => Err(StateError::damaged(path, problem.trim())),
    }
}

/// Takes the rights of others, whatever they were given.
fn restrict(path: &Path) -> io::Result<()> {
    for ending in ["", "-wal", "-shm"] {
        let path = with_ending(path, ending);
        match fs::set_permissions(&path, Permissions::from_mode(0o600)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
