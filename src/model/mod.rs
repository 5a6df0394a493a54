//! The plain values of all modules: serde at most, no I/O, no clock.
//!
//! Everything is parsed once, at the edge where it comes in (a cell, a page of Omni's list), and every
//! module can rely on it from then on.

mod approval;
mod assignment;
mod attributes;
mod change;
mod decimal;
mod email;
mod field;
mod field_count;
mod group;
mod history;
mod leaving;
mod listed_memberships;
mod membership;
mod memory;
mod observation;
mod observed;
mod observed_role;
mod observed_roles;
mod owned;
mod pause;
mod place;
mod plain_id;
mod policy;
mod problem;
mod readings;
mod role;
mod roster;
mod run;
mod run_time;
mod schema;
mod subject;
mod text;
mod user;
mod user_filter;
mod value;
mod word;

pub use approval::{Approvals, ApprovedChange, HeldChange, ShownSuccessor};
pub use assignment::{Assignment, AssignmentHolder, NamedScope, RoleChange};
pub use attributes::{Attributes, Interner, Pairs};
pub use change::{
    Action, Change, ChangeKey, ChangeOutcome, Counts, Membership, MembershipSource, Operation,
    Transfer,
};
pub use decimal::Decimal;
pub use email::{Email, EmailError, PERCENT_ENCODED, fold};
pub use field::{Field, FieldChange};
pub use field_count::{FieldCount, NewValues};
pub use group::{
    GroupId, GroupName, GroupNameError, GroupRef, GroupsUnknown, MembershipChange, ObservedGroup,
    UserIds,
};
pub use history::{
    ChangeId, ChangeIntent, ChangeRecord, HeldRecord, NewIds, PLANNED, RunEnd, RunRecord, RunStart,
    RunState, Settled, UNKNOWN, reverting,
};
pub use leaving::{DueLeaver, DueUpdate, LeaveOn, LeaveState, Leaver, Leaving, SuccessorCell};
pub use listed_memberships::ListedMemberships;
pub use membership::{
    DesiredMemberships, DoubtfulMembership, GroupsCell, MembershipRow, ObservedGroups,
};
pub use memory::{
    AcceptedRoster, GroupMemory, GroupUpdate, ManagedGroup, Memory, OwnershipUpdate, Quarantined,
    RecentChanges, RecentRemoval,
};
pub use observation::{
    GroupListing, KnownUser, ObservationHeader, ObservationUpdate, ObservedGroupsUpdate,
    PartialListing, StoredObservation,
};
pub use observed::{Observed, ObservedSummary, UserMatch};
pub use observed_role::{
    ConnectionId, ModelId, ObservedConnection, ObservedModel, ObservedRole, RoleBases, RoleHolder,
    RoleOrigin, RoleRisk, RoleScope, RoleStep,
};
pub use observed_roles::{
    HolderUnknown, KnownRoles, ObservedRoles, ObservedRolesUpdate, RoleScopeList, RoleUpdate,
    RolesUnknown, StatedRole, StoredRoles,
};
pub use owned::{
    DocumentsByCreator, Owned, OwnedDetails, OwnedDocuments, OwnedPart, OwnedSchedule,
    OwnedSchedules, OwnedTokens, ScheduleId,
};
pub use pause::Pause;
pub use place::RosterPlace;
pub use policy::{
    GroupGlobs, Limit, Mode, OwnedSchedulesPolicy, Policy, Protect, Protection, Prune, Removal,
};
pub use problem::{Location, Problem, ProblemKind};
pub use readings::{ClearForm, PatchForm, ProbeUser, Readings};
pub use role::{
    DesiredRole, DesiredRoles, RoleColumn, RoleName, RoleNameError, StandardRole, UnclearRole,
};
pub use roster::{Desired, DesiredUser, DoubtfulRow, Entry, FileRead, Fingerprint};
pub use run::{
    GuardRule, Phase, ReadingTime, RowOutcome, RunNumber, RunOptions, RunRef, RunResult, Trigger,
};
pub use run_time::{ClockStep, RunClock, RunTime, max_gap};
pub use schema::{Definition, Schema, ValueType};
pub use subject::{Subject, SubjectError};
pub use text::{
    ByEmail, Escaped, Text, is_blank, is_control_or_bidi, is_invisible, is_word_for_nothing, nfc,
    same_text, trim,
};
pub use user::{AttributeName, ObservedUser, UserId, UserSpec};
pub use user_filter::UserFilter;
pub use value::{Texts, Value};
