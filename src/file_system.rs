//! File systems that are shared with other machines. They send no events for changes, and their locks
//! and shared memory are not reliable.

use crate::model::RosterPlace;
use procfs::process::Process;
use std::path::Path;

/// Where a path lies; `None` if the system does not say. Blocks as long as the file system does.
pub(crate) fn place(path: &Path) -> Option<RosterPlace> {
    let real = path.canonicalize().ok()?;
    let mounts = Process::myself().ok()?.mountinfo().ok()?;
    // Of several mounts at one place, the last one is visible.
    let mount = mounts
        .into_iter()
        .filter(|mount| real.starts_with(&mount.mount_point))
        .max_by_key(|mount| mount.mount_point.components().count())?;
    Some(RosterPlace {
        mount_point: mount.mount_point,
        kind: mount.fs_type,
        is_share: shared(&real).is_some(),
    })
}

/// The name of the file system of a path, existing or not, if it is shared: another machine, or the other side of the
/// mount, can write to it without causing events or errors here.
pub(crate) fn shared(path: &Path) -> Option<&'static str> {
    let statfs = |path: &Path| match path.as_os_str().is_empty() {
        true => rustix::fs::statfs("."),
        false => rustix::fs::statfs(path),
    };
    let stat = path.ancestors().find_map(|path| statfs(path).ok())?;
    // Magic numbers have 32 bits; the width and the sign of the field depend on the platform.
    name(stat.f_type as u32)
}

fn name(magic: u32) -> Option<&'static str> {
    match magic {
        0x6969 => Some("NFS"),
        0x517B | 0xFE53_4D42 => Some("SMB"),
        0xFF53_4D42 => Some("CIFS"),
        0x6573_5546 => Some("FUSE"),
        0x0102_1997 => Some("9P"),
        0x00C3_6400 => Some("Ceph"),
        0x5346_414F | 0x6B41_4653 => Some("AFS"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_shared_file_systems() {
        let table = [
            (0x6969, Some("NFS")),
            (0x517B, Some("SMB")),
            (0xFE53_4D42, Some("SMB")),
            (0xFF53_4D42, Some("CIFS")),
            (0x6573_5546, Some("FUSE")),
            (0x0102_1997, Some("9P")),
            (0x00C3_6400, Some("Ceph")),
            (0x5346_414F, Some("AFS")), // OpenAFS
            (0x6B41_4653, Some("AFS")), // the Linux kernel
            (0x794C_7630, None),        // overlay
            (0xEF53, None),             // ext4
            (0x0102_1994, None),        // tmpfs
            (0x9123_683E, None),        // btrfs
            (0x5846_5342, None),        // XFS
        ];
        for (magic, expected) in table {
            assert_eq!(name(magic), expected, "{magic:#x}");
        }
    }

    #[test]
    fn finds_the_mount_of_a_path() {
        let place = |path: &str| place(Path::new(path)).expect("Linux");
        assert_eq!(place("/").mount_point, Path::new("/"));
        assert_eq!(place("/proc/self/status").kind, "proc");
        assert!(!place("/proc/self/status").is_share);
        assert_eq!(super::place(Path::new("/no/such/folder")), None);
    }

    #[test]
    fn uses_the_existing_part_of_a_path() {
        let existing = std::env::temp_dir();
        let missing = existing.join("no/such/folder");
        assert_eq!(shared(&missing), shared(&existing));
        assert_eq!(shared(Path::new("missing.csv")), shared(Path::new(".")));
    }
}
