//! What is remembered: an SQLite file in the state folder, and the lock of that folder.
//!
//! ```text
//! StateLock ─► StateDb::open ─► memory ─► (a run: begin, record_roster, hold, intend, settle, finish)
//! ```
//!
//! The rules of the room:
//!
//! - **It never claims what did not happen.** A change is in here before it is sent
//!   ([`StateDb::intend`]), and done only once that is known ([`StateDb::settle`]). What is in
//!   between when the program is killed is unknown until a later look at Omni says what it was
//!   ([`StateDb::resolve`]); until then the guard counts it as done, and no approval is used up.
//! - **One writes**: only who holds the [`StateLock`] can open a journal for runs. `approve` writes
//!   beside a daemon, and everybody may read beside it.
//! - **It never begins anew by itself.** A journal that is damaged, of another organisation, or newer
//!   than the program is refused: an empty one would forget guard and ownership.
//! - One thread has the database; a write that has returned is on the disk.
//! - The times are the caller's: there is no clock in here, but for who holds the lock.
//! - What is asked for is a value, and what is given too: no SQL leaves the room.

mod accepted;
mod changes;
mod error;
mod held;
mod lock;
mod managed;
mod memory;
mod open;
mod past;
mod prune;
mod quarantine;
pub mod render;
mod runs;
mod schema;
mod sql;
mod thread;

pub use changes::{ChangeFilter, ChangePage};
pub use error::StateError;
pub use held::{APPROVAL_VALID, Approval, ApproveError, HeldIn};
pub use lock::{Holder, LockError, StateLock};
pub use managed::{Managed, UserState};
pub use open::Access;
pub use thread::StateDb;
