//! Ids in Omni, other than those of users.

/// Declares an id with the rule of [`UserId::parse`](super::UserId::parse).
macro_rules! plain_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// Takes an id as Omni sent it, with the rule of [`UserId::parse`](crate::model::UserId::parse).
            #[must_use]
            pub fn parse(id: &str) -> Option<Self> {
                crate::model::UserId::parse(id).map(|_| Self(id.into()))
            }

            /// The id as Omni spells it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

pub(super) use plain_id;
