//! The ledger on disk: `ledger.redb` in the hub's data folder, one record an edge.
//!
//! Table `edges`: key (branch, edge), value [`Record`] as JSON. Table `format`: key `version`, value 1. A transaction holds
//! all that has changed, and is durable when it returns. The file is a copy of what the edges say, save for what earlier
//! buffers lost; so a damaged one is set aside, said in the log, and the hub starts with an empty one.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};

use super::book::Book;

/// Name of the file.
pub(crate) const FILE: &str = "ledger.redb";
const VERSION: u64 = 1;
const EDGES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("edges");
const FORMAT: TableDefinition<'_, &str, u64> = TableDefinition::new("format");
/// Bytes of the database's cache: all of it is in memory anyway.
const CACHE_BYTES: usize = 1 << 20;

/// What is kept of an edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) book: Book,
    /// When it was last heard, by the hub's clock, ms since 1970.
    pub(crate) heard_at_ms: i64,
}

/// A record and whose it is.
pub(crate) type Row = ((String, String), Record);

/// The open file.
pub(crate) struct LedgerFile {
    database: Mutex<Opened>,
    path: PathBuf,
    open: Open,
}

/// Opens the file, the first time and again.
type Open = Box<dyn Fn() -> Result<Database, redb::DatabaseError> + Send + Sync>;

/// Whether it is open.
enum Opened {
    Yes(Database),
    /// Something could not be written. The database takes nothing more then; opened anew it is what it was before.
    Failed,
    Closed,
}

/// Why the ledger cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    #[error(
        "{} has ledger format {found}, this release reads format {VERSION}: use the release that wrote it, or move the file away (edges report again what they hold)",
        path.display()
    )]
    UnknownVersion { path: PathBuf, found: u64 },
    #[error("{operation} {} failed: {source}", path.display())]
    Database {
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: Box<redb::Error>,
    },
}

impl LedgerFile {
    /// Opens or makes the file; what is in it, and a warning when a damaged one was set aside.
    ///
    /// # Errors
    /// Another release's format, or the system's refusal.
    pub(crate) fn open(data_dir: &Path) -> Result<(Self, Vec<Row>, Option<String>), LedgerError> {
        let path = data_dir.join(FILE);
        match Self::try_open(&path) {
            Ok((file, rows)) => Ok((file, rows, None)),
            Err(LedgerError::Database { source, .. }) if is_damage(&source) => {
                let aside = aside(&path);
                std::fs::rename(&path, &aside).map_err(|error| LedgerError::Database {
                    operation: "setting aside",
                    path: path.clone(),
                    source: Box::new(redb::Error::Io(error)),
                })?;
                let warning = format!(
                    "the ledger {} is damaged ({source}) and was set aside as {}: edges report again what they hold; what earlier buffers lost is not known any more",
                    path.display(),
                    aside.display()
                );
                let (file, rows) = Self::try_open(&path)?;
                Ok((file, rows, Some(warning)))
            }
            Err(error) => Err(error),
        }
    }

    /// The same on a file of a test's own making.
    #[cfg(test)]
    pub(crate) fn open_on(
        file: impl redb::StorageBackend + Clone,
    ) -> Result<(Self, Vec<Row>), LedgerError> {
        let open = move || Self::builder().create_with_backend(file.clone());
        Self::read(Path::new(FILE), Box::new(open))
    }

    fn try_open(path: &Path) -> Result<(Self, Vec<Row>), LedgerError> {
        let file = path.to_owned();
        Self::read(path, Box::new(move || Self::builder().create(&file)))
    }

    fn builder() -> redb::Builder {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        builder
    }

    fn read(path: &Path, open: Open) -> Result<(Self, Vec<Row>), LedgerError> {
        let failed = |source: redb::Error| LedgerError::Database {
            operation: "opening",
            path: path.to_owned(),
            source: Box::new(source),
        };
        let database = open().map_err(|error| failed(error.into()))?;
        let found = Self::format(&database).map_err(failed)?;
        if found != VERSION {
            return Err(LedgerError::UnknownVersion {
                path: path.to_owned(),
                found,
            });
        }
        let rows = Self::rows(&database).map_err(failed)?;
        Ok((
            LedgerFile {
                database: Mutex::new(Opened::Yes(database)),
                path: path.to_owned(),
                open,
            },
            rows,
        ))
    }

    /// The version of the format, written if the file is new.
    fn format(database: &Database) -> Result<u64, redb::Error> {
        let transaction = database.begin_write()?;
        let found = {
            let mut format = transaction.open_table(FORMAT)?;
            let found = format.get("version")?.map(|version| version.value());
            if found.is_none() {
                format.insert("version", VERSION)?;
            }
            transaction.open_table(EDGES)?;
            found
        };
        transaction.commit()?;
        Ok(found.unwrap_or(VERSION))
    }

    fn rows(database: &Database) -> Result<Vec<Row>, redb::Error> {
        let transaction = database.begin_read()?;
        let edges = transaction.open_table(EDGES)?;
        let mut rows = Vec::new();
        for row in edges.iter()? {
            let (key, value) = row?;
            let (branch, edge) = key.value();
            match serde_json::from_slice(value.value()) {
                Ok(record) => rows.push(((branch.to_owned(), edge.to_owned()), record)),
                Err(error) => {
                    return Err(redb::Error::Corrupted(format!(
                        "record of branch {branch:?}, edge {edge:?}: {error}"
                    )));
                }
            }
        }
        Ok(rows)
    }

    /// Writes records and takes others out, all or nothing; durable when it returns.
    ///
    /// # Errors
    /// The system's refusal: nothing was written, try again.
    pub(crate) fn write(&self, rows: &[Row], gone: &[(String, String)]) -> Result<(), LedgerError> {
        self.try_write(rows, gone)
            .map_err(|source| LedgerError::Database {
                operation: "writing",
                path: self.path.clone(),
                source: Box::new(source),
            })
    }

    /// Lets go of the file: another process, or the next hub of a test, may open it. Nothing can be written after.
    pub(crate) fn close(&self) {
        *self.opened() = Opened::Closed;
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_write(&self, rows: &[Row], gone: &[(String, String)]) -> Result<(), redb::Error> {
        let opened = &mut *self.opened();
        if matches!(opened, Opened::Failed) {
            *opened = Opened::Yes((self.open)()?);
        }
        let Opened::Yes(database) = opened else {
            return Err(redb::Error::DatabaseClosed);
        };
        let written = Self::put(database, rows, gone);
        if written.is_err() {
            *opened = Opened::Failed;
        }
        written
    }

    fn put(
        database: &Database,
        rows: &[Row],
        gone: &[(String, String)],
    ) -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut edges = transaction.open_table(EDGES)?;
            for ((branch, edge), record) in rows {
                let bytes = serde_json::to_vec(record)
                    .map_err(|error| redb::Error::Io(std::io::Error::other(error)))?;
                edges.insert((branch.as_str(), edge.as_str()), bytes.as_slice())?;
            }
            for (branch, edge) in gone {
                edges.remove((branch.as_str(), edge.as_str()))?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

/// Whether trying again would find the same.
fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. } => true,
        redb::Error::Io(error) => matches!(
            error.kind(),
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}

/// A free name beside it.
fn aside(path: &Path) -> PathBuf {
    let name = |number: u32| path.with_extension(format!("damaged-{number}"));
    (1..1_000)
        .map(name)
        .find(|path| !path.exists())
        .unwrap_or_else(|| name(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::plays::memory_file::MemoryFile;

    fn row(branch: &str, through: i64) -> Row {
        let mut book = Book::default();
        book.through = through;
        (
            (branch.to_owned(), "e".to_owned()),
            Record {
                book,
                heard_at_ms: 7,
            },
        )
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (file, rows, warning) = LedgerFile::open(folder.path()).unwrap();
        assert!(rows.is_empty() && warning.is_none());
        file.write(&[row("b01", 1), row("b02", 2)], &[]).unwrap();
        file.write(&[row("b02", 3)], &[("b01".into(), "e".into())])
            .unwrap();
        drop(file);
        let (_, rows, warning) = LedgerFile::open(folder.path()).unwrap();
        assert_eq!(rows, [row("b02", 3)]);
        assert_eq!(warning, None);
    }

    /// Once something could not be written, a database takes nothing more until it is opened anew.
    #[test]
    fn after_a_full_disk_it_is_written_again() {
        let disk = MemoryFile::default();
        let (file, _) = LedgerFile::open_on(disk.clone()).unwrap();
        file.write(&[row("b01", 1)], &[]).unwrap();
        disk.set_full(true);
        for _ in 0..2 {
            file.write(&[row("b01", 2)], &[]).unwrap_err();
        }
        disk.set_full(false);
        file.write(&[row("b02", 3)], &[]).unwrap();
        drop(file);
        let (_, rows) = LedgerFile::open_on(disk).unwrap();
        assert_eq!(rows, [row("b01", 1), row("b02", 3)]);
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_another_releases_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        for _ in 0..2 {
            std::fs::write(&path, vec![7; 10_000]).unwrap();
            let (file, rows, warning) = LedgerFile::open(folder.path()).unwrap();
            assert!(rows.is_empty());
            assert!(warning.unwrap().contains("set aside"));
            drop(file);
        }
        assert!(folder.path().join("ledger.damaged-2").exists());
        let (file, ..) = LedgerFile::open(folder.path()).unwrap();
        let opened = std::mem::replace(&mut *file.opened(), Opened::Closed);
        let Opened::Yes(database) = opened else {
            panic!("it is closed");
        };
        let transaction = database.begin_write().unwrap();
        transaction
            .open_table(FORMAT)
            .unwrap()
            .insert("version", 9)
            .unwrap();
        transaction.commit().unwrap();
        drop((file, database));
        let error = LedgerFile::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("format 9"), "{error}");
    }
}
