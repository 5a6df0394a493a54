//! Opens the state database, if it is undamaged, belongs to this organisation, and has a known version.

use super::opened::OpenedFiles;
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

/// How long to wait for another process that is writing. Longer than the longest write, the first roster of a large
/// organisation.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

const FILE: &str = "state.db";

/// The name in version 0.1.
const OLD_FILE: &str = "journal.db";

/// What the state database is opened for.
#[derive(Debug)]
pub enum Access<'a> {
    /// For runs. The database is created if it is missing and migrated if it is old. The state folder stays locked
    /// while the database is open.
    Write(StateLock),
    /// For approvals, while a daemon writes.
    Approve(&'a Path),
    /// For reading, while a daemon writes.
    Read(&'a Path),
}

impl StateDb {
    /// Opens the state database of an organisation. Blocks as long as the disk does.
    ///
    /// An existing file is never replaced. If there is none, a database opened for approvals or reading is empty, and
    /// no file is created.
    pub fn open(base_url: &str, access: Access<'_>) -> Result<Self, StateError> {
        match access {
            Access::Write(lock) => {
                let path = path_in(lock.dir())?;
                rename_old_file(lock.dir(), base_url)?;
                let connection = open_to_write(&path, base_url)?;
                let opened = OpenedFiles::of(&path, &[lock.dir(), &lock.path()])?;
                Self::start(path, connection, opened, lock)
            }
            Access::Approve(dir) => {
                let path = existing_path_in(dir)?;
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
                let connection = open_beside(&path, base_url, |path| connect(path, flags))?;
                let is_there = is_there(&path)?;
                let opened = is_there
                    .then(|| OpenedFiles::of(&path, &[dir]))
                    .transpose()?;
                Self::start(path, connection, opened.unwrap_or_default(), ())
            }
            Access::Read(dir) => {
                let path = existing_path_in(dir)?;
                let connection = open_beside(&path, base_url, connect_to_read)?;
                Self::start(path, connection, OpenedFiles::default(), ())
            }
        }
    }
}

fn path_in(dir: &Path) -> Result<PathBuf, StateError> {
    let path = dir.join(FILE);
    match file_system::shared(dir) {
        Some(file_system) => Err(StateError::Shared { path, file_system }),
        None => Ok(path),
    }
}

/// The file for reading: under its old name if no run has renamed it yet. Then it is rejected as too old.
fn existing_path_in(dir: &Path) -> Result<PathBuf, StateError> {
    let (path, old) = (path_in(dir)?, dir.join(OLD_FILE));
    Ok(if !is_there(&path)? && is_there(&old)? {
        old
    } else {
        path
    })
}

/// Renames the file of version 0.1, once it is known to be undamaged and this organisation's. Its write-ahead log is
/// merged into it first, so that there is only one file to rename.
fn rename_old_file(dir: &Path, base_url: &str) -> Result<(), StateError> {
    let (path, old) = (dir.join(FILE), dir.join(OLD_FILE));
    if is_there(&path)? {
        if old.exists() {
            tracing::warn!("{OLD_FILE} is ignored, because {FILE} exists; remove it");
        }
        return Ok(());
    }
    if !is_there(&old)? {
        return Ok(());
    }
    let connection = connect(&old, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    check_organisation(&old, &connection, base_url)?;
    check_integrity(&old, &connection)?;
    let failed = |error| StateError::new(&old, error);
    let merged = connection.pragma_update(None, "journal_mode", "DELETE");
    merged.map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    put(&old, &path).map_err(|error| StateError::unusable(&old, error))?;
    tracing::info!("the state database was renamed from {OLD_FILE} to {FILE}");
    Ok(())
}

fn open_to_write(path: &Path, base_url: &str) -> Result<Connection, StateError> {
    if !is_there(path)? {
        create(path, base_url)?;
    }
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    check_organisation(path, &connection, base_url)?;
    check_integrity(path, &connection)?;
    restrict(path).map_err(|error| StateError::unusable(path, error))?;
    prepare_to_write(&mut connection).map_err(|error| StateError::new(path, error))?;
    Ok(connection)
}

fn prepare_to_write(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
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
    let version = check_organisation(path, &connection, base_url)?;
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

/// An empty database.
fn empty(base_url: &str) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    schema::create(&mut connection, base_url)?;
    Ok(connection)
}

/// Whether the file exists. It appears complete, so an empty file is damaged. So is a file of which only the
/// write-ahead log is left: SQLite would apply the log to any file that replaces it.
fn is_there(path: &Path) -> Result<bool, StateError> {
    let unusable = |error| StateError::unusable(path, error);
    match fs::metadata(path) {
        Ok(about) if !about.is_file() => Err(StateError::damaged(path, "it is not a file")),
        Ok(about) if about.len() == 0 => Err(StateError::damaged(path, "the file is empty")),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if with_ending(path, "-wal").try_exists().map_err(unusable)? {
                let problem = "the file is missing, and its -wal file exists";
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

/// Creates the file under another name and renames it, so that it appears complete.
fn create(path: &Path, base_url: &str) -> Result<(), StateError> {
    let unusable = |error| StateError::unusable(path, error);
    let new = with_ending(path, ".new");
    create_file(&new).map_err(unusable)?;
    fill(&new, base_url).map_err(|error| StateError::new(path, error))?;
    put(&new, path).map_err(unusable)?;
    let path = path.display();
    tracing::warn!(%path, "created a new state database: earlier removals are not known, so the safety limits start over");
    Ok(())
}

/// Creates an empty file with mode 0600, replacing one that a killed process left behind.
fn create_file(new: &Path) -> io::Result<()> {
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

/// A reader creates files next to the database, unless the daemon has done so. In a folder without write permission,
/// such as a read-only volume, a database that no process has open is copied into memory. Later writes of a daemon are
/// not seen then, which does no harm.
fn connect_to_read(path: &Path) -> Result<Connection, StateError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let folder = path.parent().unwrap_or(Path::new("."));
    let is_open = with_ending(path, "-wal").try_exists();
    if access(folder, rustix::fs::Access::WRITE_OK).is_ok() || is_open.unwrap_or(true) {
        return connect(path, flags);
    }
    let flags = flags | OpenFlags::SQLITE_OPEN_URI;
    let file = connect_as(path, Path::new(&immutable_address(path)), flags)?;
    let copied = || {
        let mut copy = Connection::open_in_memory()?;
        Backup::new(&file, &mut copy)?.step(-1)?;
        Ok(copy)
    };
    copied().map_err(|error| StateError::new(path, error))
}

/// The address by which SQLite reads a file that does not change.
fn immutable_address(path: &Path) -> String {
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
            // Deleted data is overwritten, and sorting leaves no file behind.
            ("secure_delete", "ON"),
            ("temp_store", "MEMORY"),
            // The log of the first roster of a large organisation must not stay large.
            ("journal_size_limit", "16777216"),
            // A damaged file may hold anything; its triggers and views are not trusted.
            ("trusted_schema", "OFF"),
            ("cell_size_check", "ON"),
        ] {
            connection.pragma_update(None, name, value)?;
        }
        Ok(connection)
    };
    connect().map_err(|error| StateError::new(path, error))
}

/// Checks that this is a state database of this organisation. Returns its version.
fn check_organisation(
    path: &Path,
    connection: &Connection,
    base_url: &str,
) -> Result<i64, StateError> {
    let failed = |error| StateError::new(path, error);
    if schema::application_id(connection).map_err(failed)? != schema::APPLICATION_ID {
        let problem = "it is a database of another program";
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

/// Reads every page once. A damaged database could name users as managed that are not.
fn check_integrity(path: &Path, connection: &Connection) -> Result<(), StateError> {
    let said: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| StateError::new(path, error))?;
    match said.as_str() {
        "ok" => Ok(()),
        problem => Err(StateError::damaged(path, problem.trim())),
    }
}

/// Sets mode 0600, whatever the mode was.
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
