//! Roles as values: names, ranks, the direction of an assignment, and names that lead to ids.

use omni_user_sync::model::{
    ConnectionId, DesiredRole, DesiredRoles, GroupId, Location, ModelId, ObservedConnection,
    ObservedModel, ObservedRole, RoleBases, RoleColumn, RoleHolder, RoleName, RoleNameError,
    RoleOrigin, RoleRisk, RoleScope, RoleScopeList, RoleStep, StandardRole, Subject,
};
use omni_user_sync::plan::{NameError, NameIndex, RoleCatalogue, ScopedRoles};
use proptest::prelude::*;

fn role(name: &str) -> RoleName {
    RoleName::parse(name).expect(name)
}

fn connection(id: &str) -> ConnectionId {
    ConnectionId::parse(id).expect("an id")
}

fn scope(connection_id: &str, model: &str) -> RoleScope {
    RoleScope {
        connection: connection(connection_id),
        model: ModelId::parse(model),
    }
}

fn observed(name: &str, base: Option<StandardRole>, origin: RoleOrigin) -> ObservedRole {
    ObservedRole {
        holder: RoleHolder::Group(GroupId::parse("g").expect("an id")),
        scope: scope("c", "m"),
        role: RoleName::known(name),
        base,
        origin,
        is_resolved: false,
    }
}

#[test]
fn standard_roles_are_recognised_in_one_spelling() {
    for standard in StandardRole::ALL {
        let name = standard.as_str();
        assert_eq!(role(&format!(" {name} ")), RoleName::Standard(standard));
        assert_eq!(RoleName::known(name), RoleName::Standard(standard));
        for other in [
            name.to_lowercase(),
            name.replace('_', " "),
            name.replace('_', "-"),
        ] {
            if other != name {
                let error = RoleName::parse(&other).expect_err(&other);
                assert_eq!(error, RoleNameError::Respelled(standard));
            }
        }
    }
    let error = RoleName::parse("Restricted querier").expect_err("another name");
    assert_eq!(error, RoleNameError::Respelled(StandardRole::QueryTopics));
    assert_eq!(role("Auditor"), RoleName::Custom("Auditor".into()));
    assert_eq!(role("Zu\u{308}rich"), role("Zürich"), "composed");
    assert_eq!(RoleName::parse(" "), Err(RoleNameError::Blank));
    assert_eq!(
        RoleName::parse("a\u{7}"),
        Err(RoleNameError::ControlCharacter)
    );
}

#[test]
fn subjects_are_users_or_groups() {
    let subject = |text: &str| Subject::parse(text).map_err(|error| error.to_string());
    assert_eq!(subject("Ann@x.co").expect("a user").folded(), "ann@x.co");
    let group = subject(" Group: All Ops").expect("a group");
    assert_eq!(
        (&*group.to_string(), &*group.folded()),
        ("group:All Ops", "group:all ops")
    );
    assert_eq!(
        subject("group:"),
        Err("the name of the group is blank".into())
    );
    assert_eq!(
        subject("Ops"),
        Err("an email has the form local@domain, with one @".into())
    );
    // The mark is cut between characters.
    assert!(subject("grou\u{301}p:x").is_err());
}

#[test]
fn assignments_have_a_direction_and_a_weight() {
    let mut bases = RoleBases::default();
    bases.learn(&observed(
        "Auditor",
        Some(StandardRole::Querier),
        RoleOrigin::Direct,
    ));
    let step = |from: &str, to: &str| {
        let from = Some(from).filter(|from| !from.is_empty()).map(role);
        let to = role(to);
        let step = RoleStep::between(from.as_ref(), &to, &bases);
        (step, RoleRisk::weight(RoleRisk::of(step, &to, &bases)))
    };
    for (from, to, expected, weight) in [
        ("", "VIEWER", RoleStep::Raise, 1),
        ("", "NO_ACCESS", RoleStep::Raise, 1),
        ("", "MODELER", RoleStep::Raise, 5),
        ("", "CONNECTION_ADMIN", RoleStep::Raise, 5),
        ("VIEWER", "VIEWER", RoleStep::Same, 1),
        ("MODELER", "MODELER", RoleStep::Same, 1),
        ("VIEWER", "QUERIER", RoleStep::Raise, 1),
        ("QUERIER", "QUERY_TOPICS", RoleStep::Lower, 5),
        ("QUERIER", "NO_ACCESS", RoleStep::Lower, 5),
        ("VIEWER", "Auditor", RoleStep::Raise, 1),
        ("QUERIER", "Auditor", RoleStep::Unknown, 5),
        ("Auditor", "VIEWER", RoleStep::Lower, 5),
        // Its permissions are unknown, so it may grant anything.
        ("", "Owner", RoleStep::Raise, 5),
        ("VIEWER", "Owner", RoleStep::Unknown, 5),
        ("Owner", "QUERIER", RoleStep::Unknown, 5),
        ("Owner", "Owner", RoleStep::Same, 1),
    ] {
        assert_eq!(step(from, to), (expected, weight), "{from} {to}");
    }
}

fn may_lower(step: RoleStep) -> bool {
    matches!(step, RoleStep::Lower | RoleStep::Unknown)
}

#[test]
fn another_source_may_outrank_a_role() {
    let group = RoleOrigin::Group {
        id: None,
        name: "Ops".into(),
    };
    let roles = [
        observed("VIEWER", None, RoleOrigin::Direct),
        observed("Auditor", Some(StandardRole::Querier), group),
        observed("NO_ACCESS", None, RoleOrigin::Base),
    ];
    let outranking = |name: &str| {
        let found = ObservedRole::outranking(&roles, &role(name), &RoleBases::default());
        found.map(|one| one.role.as_str())
    };
    assert_eq!(outranking("NO_ACCESS"), Some("Auditor"));
    assert_eq!(outranking("QUERIER"), None);
    assert_eq!(outranking("Owner"), None, "unknown");
}

#[test]
fn an_unknown_custom_role_is_ranked_by_omni() {
    let mut roles = vec![
        observed("MODELER", None, RoleOrigin::Direct),
        observed("Owner", None, RoleOrigin::Other),
    ];
    assert_eq!(ObservedRole::prevailing(&roles), None);
    roles[1].is_resolved = true;
    assert_eq!(ObservedRole::prevailing(&roles), Some(&roles[1]));
}

/// The catalogue of two connections, in which names are not unique.
fn catalogue() -> RoleCatalogue {
    let connections = [
        ("1", "Warehouse"),
        ("2", "Lake"),
        ("3", "lake"),
        ("4", "Lake"),
        ("5", ""),
    ];
    let connections = connections.map(|(id, name)| ObservedConnection {
        id: connection(id),
        name: name.into(),
        base_role: None,
    });
    let models = [
        ("1", "a", "Sales"),
        ("1", "b", "Sales"),
        ("1", "c", "Zürich"),
        ("2", "d", "Sales"),
    ];
    let models = models.map(|(of, id, name)| ObservedModel {
        id: ModelId::parse(id).expect("an id"),
        name: name.into(),
        connection: connection(of),
    });
    RoleCatalogue::new(&RoleScopeList {
        connections: connections.into(),
        models: models.into(),
    })
}

/// The rows of a file, each from line 2 on.
fn desired(rows: &[[&str; 4]]) -> DesiredRoles {
    let row = |(at, [subject, connection, model, name]): (usize, &[&str; 4])| DesiredRole {
        subject: Subject::parse(subject).expect("a subject"),
        connection: (*connection).into(),
        model: Some(*model)
            .filter(|model| !model.is_empty())
            .map(Into::into),
        role: role(name),
        location: Location {
            file: "roles.csv".into(),
            line: at as u64 + 2,
            column: None,
        },
        doubt: None,
    };
    DesiredRoles {
        rows: rows.iter().enumerate().map(row).collect(),
        unclear: Vec::new(),
        bad_rows: Vec::new(),
        rejected: Vec::new(),
        lints: Vec::new(),
        columns: [1, 2, 3, 4],
        count: None,
        fingerprint: None,
    }
}

fn shown(scoped: &ScopedRoles) -> String {
    let roles = scoped.roles.iter().map(|one| {
        let model = one.scope.model.as_ref().map_or("-", ModelId::as_str);
        format!(
            "{} {}/{model} {}\n",
            one.row.subject,
            one.scope.connection.as_str(),
            one.row.role
        )
    });
    let problems = scoped
        .problems
        .iter()
        .map(|problem| format!("bad: {problem}\n"));
    let lints = scoped.lints.iter().map(|lint| format!("note: {lint}\n"));
    roles.chain(problems).chain(lints).collect()
}

#[test]
fn names_lead_to_ids() {
    let scoped = catalogue().resolve(&desired(&[
        ["a@x.co", "Warehouse", "zu\u{308}RICH", "VIEWER"],
        ["a@x.co", "1", "a", "VIEWER"],
        ["a@x.co", "lake", "", "CONNECTION_ADMIN"],
        ["a@x.co", "5", "", "CONNECTION_ADMIN"],
        ["b@x.co", "Warehuose", "Sales", "VIEWER"],
        ["b@x.co", "Warehouse", "Zurich", "VIEWER"],
        ["b@x.co", "Warehouse", "Sales", "VIEWER"],
        ["b@x.co", "Lake", "Sales", "VIEWER"],
        ["b@x.co", "LAKE", "Sales", "VIEWER"],
        ["b@x.co", "2", "a", "VIEWER"],
    ]));
    insta::assert_snapshot!(shown(&scoped), @"
    a@x.co 1/c VIEWER
    a@x.co 1/a VIEWER
    a@x.co 3/- CONNECTION_ADMIN
    a@x.co 5/- CONNECTION_ADMIN
    bad: roles.csv:6:2 (connection): Omni has no connection 'Warehuose' (did you mean 'Warehouse'?); correct the name, or write the id
    bad: roles.csv:7:3 (model): this connection has no shared model 'Zurich' (did you mean 'Zürich'?); correct the name, or write the id
    bad: roles.csv:8:3 (model): this connection has 2 shared models with the name 'Sales'; rename one of them in Omni, or write the id
    bad: roles.csv:9:2 (connection): Omni has 2 connections with the name 'Lake'; rename one of them in Omni, or write the id
    bad: roles.csv:10:2 (connection): Omni has 3 connections with the name 'LAKE'; rename one of them in Omni, or write the id
    bad: roles.csv:11:3 (model): this connection has no shared model 'a'; correct the name, or write the id
    ");
}

#[test]
fn rows_may_turn_out_to_be_about_the_same() {
    let scoped = catalogue().resolve(&desired(&[
        ["a@x.co", "Warehouse", "Zürich", "VIEWER"],
        ["a@x.co", "warehouse", "c", "MODELER"],
        ["b@x.co", "Warehouse", "Zürich", "VIEWER"],
        ["B@x.co", "1", "zürich", "VIEWER"],
    ]));
    insta::assert_snapshot!(shown(&scoped), @"
    b@x.co 1/c VIEWER
    bad: roles.csv:2: conflicts with roles.csv:3, which has another role for 'a@x.co' on the same model or connection; keep only the correct row; until then neither role is assigned
    bad: roles.csv:3: conflicts with roles.csv:2, which has another role for 'a@x.co' on the same model or connection; keep only the correct row; until then neither role is assigned
    note: roles.csv:5: repeats roles.csv:4 for 'B@x.co'; remove one of the two rows
    ");
}

fn any_role() -> impl Strategy<Value = RoleName> {
    prop::sample::select(vec![
        "NO_ACCESS",
        "VIEWER",
        "QUERY_TOPICS",
        "QUERIER",
        "MODELER",
        "CONNECTION_ADMIN",
        "A",
        "B",
        "C",
    ])
    .prop_map(RoleName::known)
}

/// Bases of the custom roles A and B; that of C is unknown.
fn bases() -> RoleBases {
    let mut bases = RoleBases::default();
    bases.learn(&observed(
        "A",
        Some(StandardRole::Viewer),
        RoleOrigin::Direct,
    ));
    bases.learn(&observed(
        "B",
        Some(StandardRole::Modeler),
        RoleOrigin::Direct,
    ));
    bases
}

proptest! {
    #[test]
    fn a_step_back_has_the_opposite_direction(from in any_role(), to in any_role()) {
        let bases = bases();
        let there = RoleStep::between(Some(&from), &to, &bases);
        let back = RoleStep::between(Some(&to), &from, &bases);
        let opposite = match there {
            RoleStep::Raise => RoleStep::Lower,
            RoleStep::Lower => RoleStep::Raise,
            same => same,
        };
        prop_assert_eq!(back, opposite);
        prop_assert_eq!(there == RoleStep::Same, from == to);
        // One of the two may take access away.
        prop_assert!(from == to || may_lower(there) || may_lower(back));
    }

    #[test]
    fn only_harmless_assignments_weigh_one(from in prop::option::of(any_role()), to in any_role()) {
        let bases = bases();
        let step = RoleStep::between(from.as_ref(), &to, &bases);
        let is_harmless = !may_lower(step)
            && bases.rank(&to).is_some_and(|rank| rank < StandardRole::Modeler);
        let expected = match step == RoleStep::Same || is_harmless {
            true => 1,
            false => 5,
        };
        prop_assert_eq!(RoleRisk::weight(RoleRisk::of(step, &to, &bases)), expected);
    }

    #[test]
    fn the_most_permissive_role_prevails(names in prop::collection::vec(any_role(), 0..6)) {
        let bases = bases();
        let roles: Vec<_> = names.iter().map(|name| {
            observed(name.as_str(), bases.rank(name), RoleOrigin::Base)
        }).collect();
        let prevailing = ObservedRole::prevailing(&roles);
        if roles.iter().all(|one| one.rank().is_some()) {
            prop_assert_eq!(prevailing.map(ObservedRole::rank), roles.iter().map(ObservedRole::rank).max());
        } else {
            prop_assert_eq!(prevailing, None);
        }
        for direct in &names {
            let above = ObservedRole::outranking(&roles, direct, &bases);
            prop_assert!(above.is_none_or(|one| one.rank() > bases.rank(direct)));
        }
    }

    #[test]
    fn names_are_found_exactly_first(names in prop::collection::vec("[aAbé]{1,2}", 0..8), name in "[aAbé]{1,2}") {
        let index: NameIndex<usize> = names.iter().zip(0..).collect();
        let fold = |text: &str| text.to_lowercase();
        let exact: Vec<_> = (0..names.len()).filter(|at| names[*at] == name).collect();
        let loose: Vec<_> = (0..names.len()).filter(|at| fold(&names[*at]) == fold(&name)).collect();
        let expected = if exact.is_empty() { loose } else { exact };
        match index.find(&name) {
            Ok(at) => prop_assert_eq!(vec![*at], expected),
            Err(NameError::Ambiguous { count }) => {
                prop_assert!(count > 1);
                prop_assert_eq!(count, expected.len());
            }
            Err(NameError::Unknown { nearest }) => {
                prop_assert!(expected.is_empty());
                prop_assert!(nearest.is_none_or(|nearest| names.iter().any(|one| one == nearest)));
            }
        }
    }
}

#[test]
fn the_columns_are_named_like_the_header() {
    assert_eq!(
        RoleColumn::ALL.map(RoleColumn::as_str),
        ["subject", "connection", "model", "role"]
    );
}
