//! The state database: an SQLite file in the state folder, and the lock of this folder. It stores and decides nothing.
//!
//! ```text
//! StateLock ─► StateDb::open ─► memory ─► (a run: begin, record_roster, hold, intend, settle, finish)
//! ```
//!
//! The rules of the module:
//!
//! - **Only confirmed changes count as applied.** A change is recorded before it is sent ([`StateDb::intend`]), and its
//!   outcome once it is known ([`StateDb::settle`]). If the program is killed in between, the outcome is unknown until
//!   a later observation shows it; until then the guard counts the change, and no approval is used up.
//! - **One writer.** Only the holder of the [`StateLock`] can open the database for runs. `approve` writes while a
//!   daemon runs, and any process may read.
//! - **The place must stay.** Once the folder, the lock or the file is no longer the one that was opened, every
//!   write fails.
//! - **The database is never replaced automatically.** A database that is damaged, belongs to another organisation, or
//!   is newer than the program is rejected, because an empty one would lose ownership and the count of recent removals.
//! - One thread owns the database. A write that has returned is on disk.
//! - Times come from the caller; only the lock reads the clock.
//! - Arguments and results are values. No SQL leaves the module. Each method fails if the database can't be read or
//!   written.

mod accepted;
mod approvals;
mod changes;
mod error;
mod groups;
mod held;
mod leavers;
mod lock;
mod managed;
mod memory;
mod observation;
mod observed_groups;
mod open;
mod opened;
mod pause;
mod places;
mod prune;
mod quarantine;
mod readings;
pub mod render;
mod roles;
mod runs;
mod schema;
mod seen_files;
mod sql;
mod startup;
mod thread;
mod users;

pub use approvals::{APPROVAL_VALID, Approval, ApprovalScope, ApproveError};
pub use changes::{ChangeFilter, ChangePage, OutcomeFilter};
pub use error::StateError;
pub use held::HeldIn;
pub use lock::{Holder, LockError, StateLock};
pub use managed::{Managed, UserState};
pub use open::Access;
pub use readings::KeyUsers;
pub use runs::{ResultFilter, RunFilter};
pub use thread::StateDb;
pub use users::{ListedUser, UserList, UserQuery};
