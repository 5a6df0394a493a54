//! Plans and safety limits: pure functions, without I/O, log or clock. The module imports neither the database nor
//! the client.
//!
//! ```text
//! Desired + Observed + Schema + Memory + Policy → Plan → guard → Verdict
//! ```
//!
//! - [`Plan::new`] compares; it enforces no limits.
//! - Only the guard ([`evaluate`]) makes a [`Verdict`], and only a verdict can be applied.
//! - Which users are managed is decided in [`ownership`] alone.

mod assessment;
mod blocked;
mod diff;
mod document;
mod domains;
mod fingerprint;
mod groups;
mod guard;
mod leavers;
mod lints;
mod lost_files;
mod markdown;
mod memberships;
mod name_index;
mod new_names;
mod not_found;
pub mod ownership;
pub(crate) mod quarantine;
pub(crate) mod recover;
mod renames;
pub mod render;
mod role_names;
mod role_scopes;
mod roles;
mod shadowed;
mod successors;
mod undecided;
mod user_changes;

pub use assessment::{
    Assessment, HeldSummary, managed_groups_warning, observed_lints, protect_warning,
};
pub use blocked::{Blocked, BlockedOperation};
pub use diff::Plan;
pub(crate) use diff::differences;
pub(crate) use document::ChangeDoc;
pub use document::{PlanDoc, ProblemDoc};
pub use groups::{FirstContact, group_contradictions, group_name_problems};
pub use guard::{HeldChanges, Verdict, evaluate};
pub use leavers::{due_update, settle_leavers};
pub use lints::PlanLints;
pub use lost_files::LostFiles;
pub use markdown::markdown;
pub use name_index::{NameError, NameIndex};
pub use not_found::NotFound;
pub(crate) use not_found::{is_near, nearest_email};
pub use role_names::role_name_problems;
pub use role_scopes::{RoleCatalogue, ScopedRole, ScopedRoles};
pub(crate) use shadowed::is_later;
pub use shadowed::shadowed_files;
pub(crate) use successors::successor_of;
pub use successors::{Successor, Successors};
pub use undecided::Undecided;
