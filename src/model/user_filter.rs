//! The states by which users are listed.

use super::word::word_enum;

word_enum! {
    /// The users to list.
    pub enum UserFilter {
        /// All that the state database knows: seen in Omni, or in one of the other states.
        All = "all",
        /// Managed users.
        Managed = "managed",
        /// Users who are never removed.
        Protected = "protected",
        /// Managed users that are missing from the roster.
        Missing = "missing",
        /// Users that this program has deactivated.
        Deactivated = "deactivated",
        /// Users in quarantine.
        Quarantined = "quarantined",
    }
}
