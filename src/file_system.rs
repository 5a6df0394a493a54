//! Which file systems are shared with other machines: they tell of no changes, and their locks and
//! shared memory can't be relied on.

use std::path::Path;

/// The file system that a path is on, or will be on, if another machine, or the other side of the
/// mount, can write to it too. It sends no events then, nor an error: it is silent.
pub(crate) fn shared(path: &Path) -> Option<&'static str> {
    let there = |path: &Path| match path.as_os_str().is_empty() {
        true => rustix::fs::statfs("."),
        false => rustix::fs::statfs(path),
    };
    let about = path.ancestors().find_map(|path| there(path).ok())?;
    // The magic numbers are 32 bits wide; the field's width and sign differ from platform to platform.
    name(about.f_type as u32)
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
    fn knows_the_shared_ones() {
        let table = [
            (0x6969, Some("NFS")),
            (0x517B, Some("SMB")),
            (0xFE53_4D42, Some("SMB")),
            (0xFF53_4D42, Some("CIFS")),
            (0x6573_5546, Some("FUSE")),
            (0x0102_1997, Some("9P")),
            (0x00C3_6400, Some("Ceph")),
            (0x5346_414F, Some("AFS")), // OpenAFS
            (0x6B41_4653, Some("AFS")), // the kernel's own
            (0x794C_7630, None),        // overlay
            (0xEF53, None),             // ext4
            (0x0102_1994, None),        // tmpfs
            (0x9123_683E, None),        // btrfs
            (0x5846_5342, None),        // XFS
        ];
        for (magic, known) in table {
            assert_eq!(name(magic), known, "{magic:#x}");
        }
    }

    #[test]
    fn looks_at_what_is_there_of_a_path() {
        let there = std::env::temp_dir();
        let missing = there.join("no/such/folder");
        assert_eq!(shared(&missing), shared(&there));
        assert_eq!(shared(Path::new("missing.csv")), shared(Path::new(".")));
    }
}
