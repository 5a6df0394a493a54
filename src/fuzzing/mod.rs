//! The entry points of the fuzz targets in `fuzz/`, for all bytes that come from outside.
//!
//! Each panics if a property does not hold. The tests below run them on the seeds and on generated
//! input, so that `cargo test` covers them too.

pub(crate) mod checks;

pub use crate::omni::fuzzing::scim;
pub use crate::roster::fuzzing::{cell, groups, roster};
pub use crate::roster::role_fuzzing::roles;
pub use crate::settings::fuzzing::settings;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    /// Runs a target on all of its seeds.
    fn seeds(target: fn(&[u8]), name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/seeds")
            .join(name);
        let files = std::fs::read_dir(&folder).expect("the folder of seeds");
        let mut count = 0;
        for file in files {
            let bytes = std::fs::read(file.expect("an entry").path()).expect("a seed");
            target(&bytes);
            count += 1;
        }
        assert!(count > 0, "{} has no seeds", folder.display());
    }

    #[test]
    fn every_seed_passes() {
        seeds(roster, "roster");
        seeds(cell, "cell");
        seeds(groups, "groups");
        seeds(roles, "roles");
        seeds(scim, "scim");
        seeds(settings, "settings");
    }

    /// Generates a text of these pieces.
    fn made_of(pieces: &'static [&'static str], max: usize) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(pieces), 0..max)
            .prop_map(|pieces| pieces.concat())
    }

    const GROUPS: &[&str] = &[
        "+,",
        "-,",
        "add,",
        "?,",
        "a@x.co,",
        "A@x.co,",
        "b@localhost,",
        "<c@x.co>,",
        "Sales",
        "sales",
        "Board",
        "\"",
        "\n",
        "\n",
        ",",
        "\r\n",
    ];

    const ROLES: &[&str] = &[
        "a@x.co,",
        "A@x.co,",
        "b@localhost,",
        "group:Ops,",
        "GROUP:ops,",
        "group:,",
        "Warehouse,",
        "warehouse,",
        "Sales,",
        "s3cret",
        "VIEWER",
        "viewer",
        "CONNECTION_ADMIN",
        "Auditor",
        "\"",
        "\n",
        "\n",
        ",",
        "\r\n",
    ];

    const ROSTER: &[&str] = &[
        "op",
        "email",
        "display_name",
        "tier",
        "Region",
        "seats",
        "codes",
        ",",
        ",",
        ",",
        ";",
        "\t",
        "\n",
        "\n",
        "\r\n",
        "\r",
        "\"",
        "\"",
        "[",
        "]",
        "a@x.co",
        "b@x.co",
        "upsert",
        "delete",
        "deactivate",
        "1,5",
        "7.0",
        " ",
        "\u{a0}",
        "\u{200b}",
        "é",
        "s3cret",
        "\u{feff}",
        "sep=;\n",
        "[a,b]",
        "1.2E+05",
        "2024-01-05",
        "007",
        "“a”",
        "a|b",
        "Ann <a@x.co>",
    ];

    const CELL: &[&str] = &[
        "[",
        "]",
        ",",
        "\"",
        "\\",
        "a",
        " ",
        "1",
        ".5",
        "-",
        "\u{a0}",
        "é",
        "null",
        "\"a,b\"",
        "[\"a\",\"b\"]",
        "E5",
        "'a'",
        "“b”",
        ";",
        "|",
        "/",
    ];

    proptest! {
        #[test]
        fn generated_rosters_pass(how in any::<u8>(), header in "(op,|)email(,display_name|)(,tier|)(,Region|)(,groups|)(,successor|)(,leave_on|)(\n|\r\n)", rest in made_of(ROSTER, 60)) {
            let text = format!("{header}{rest}");
            roster(&[&[how], text.as_bytes()].concat());
        }

        #[test]
        fn generated_groups_files_pass(how in any::<u8>(), rows in made_of(GROUPS, 40)) {
            let text = format!("op,email,group_name\n{rows}");
            groups(&[&[how], text.as_bytes()].concat());
        }

        #[test]
        fn generated_roles_files_pass(how in any::<u8>(), rows in made_of(ROLES, 40)) {
            let text = format!("subject,connection,model,role\n{rows}");
            roles(&[&[how], text.as_bytes()].concat());
        }

        #[test]
        fn random_bytes_pass(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            roster(&bytes);
            cell(&bytes);
            groups(&bytes);
            roles(&bytes);
            scim(&bytes);
            settings(&bytes);
        }

        #[test]
        fn generated_cells_pass(how in any::<u8>(), text in made_of(CELL, 12)) {
            cell(&[&[how], text.as_bytes()].concat());
        }

        #[test]
        fn generated_answers_pass(how in 0u8..4, name in "\\PC{0,9}", value in made_of(CELL, 8)) {
            let user = serde_json::json!({
                "id": "1-a", "userName": "a@x.co", "displayName": name,
                "urn:omni:params:1.0:UserAttribute": { name.clone(): value, "x": [value, 7, null] },
            });
            let text = match how {
                0 => serde_json::json!({ "Resources": [user], "totalResults": 1 }),
                3 => serde_json::json!({ "records": [{ "id": name, "ownerId": value }, user], "pageInfo": null }),
                _ => user,
            };
            scim(&[&[how], text.to_string().as_bytes()].concat());
        }
    }
}
