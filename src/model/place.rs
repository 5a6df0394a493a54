//! Where a roster lies.

use std::fmt;
use std::path::PathBuf;

/// The file system that a roster lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterPlace {
    /// The mount point.
    pub mount_point: PathBuf,
    /// The kind of file system, such as `ext4` or `cifs`.
    pub kind: String,
    /// Whether it is shared with other machines.
    pub is_share: bool,
}

impl RosterPlace {
    /// Whether a roster that lay at `before` may be a stale copy here: the file system of the mount point shows through
    /// when a share is not mounted, and a local folder may take its place.
    #[must_use]
    pub fn is_suspect_after(&self, before: &Self) -> bool {
        if self.mount_point == before.mount_point {
            return before.is_share && !self.is_share;
        }
        before.mount_point.starts_with(&self.mount_point)
    }
}

impl fmt::Display for RosterPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.mount_point.display(), self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(mount_point: &str, kind: &str) -> RosterPlace {
        RosterPlace {
            mount_point: mount_point.into(),
            kind: kind.into(),
            is_share: kind == "cifs",
        }
    }

    #[test]
    fn what_lies_below_a_mount_is_suspect() {
        let suspect = |before: RosterPlace, now: RosterPlace| now.is_suspect_after(&before);
        let share = || place("/srv/roster", "cifs");
        assert!(suspect(share(), place("/", "ext4")));
        assert!(suspect(share(), place("/srv", "cifs")));
        assert!(suspect(share(), place("/srv/roster", "ext4")));
        assert!(suspect(place("/data", "ext4"), place("/", "ext4")));
        assert!(!suspect(share(), share()));
        assert!(!suspect(place("/", "ext4"), share()));
        assert!(!suspect(place("/srv/roster", "ext4"), share()));
        assert!(!suspect(share(), place("/srv/roster/hr", "cifs")));
        assert!(!suspect(share(), place("/srv/rost", "ext4")));
    }
}
