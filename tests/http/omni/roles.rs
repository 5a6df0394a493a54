//! Connections, models and roles: lists, both vocabularies, assignments, faults.

use super::{says, status, times, writer};
use crate::support::World;
use omni_user_sync::model::{
    ConnectionId, GroupId, ModelId, ObservedRole, RoleHolder, RoleName, RoleOrigin, RoleScope,
    StandardRole, UserId,
};
use omni_user_sync::omni::{Available, OmniError, Reader};
use omni_user_sync::sandbox::{Fault, Options, Origins, What};
use reqwest::StatusCode;
use serde_json::json;

/// The user `a@x.co` in the group `Analysts`, and the connection `Warehouse` with two models.
struct RoleWorld {
    world: World,
    user: RoleHolder,
    group: RoleHolder,
    sales: RoleScope,
    finance: RoleScope,
}

impl RoleWorld {
    async fn new(origins: Origins) -> Self {
        let world = World::with(Options {
            origins,
            ..Options::default()
        })
        .await;
        world.user("a@x.co", "A", json!({}));
        let org = world.org();
        let user = org.user("a@x.co").expect("just added");
        let group = org.add_group("Analysts", &["a@x.co"]);
        let warehouse = org.add_connection("Warehouse", "NO_ACCESS");
        let scope = |model: &str| RoleScope {
            connection: ConnectionId::parse(&warehouse).expect("an id"),
            model: Some(ModelId::parse(model).expect("an id")),
        };
        let sales = scope(&org.add_model(&warehouse, "Sales", "SHARED"));
        let finance = scope(&org.add_model(&warehouse, "Finance", "SHARED_EXTENSION"));
        org.add_model(&warehouse, "raw", "SCHEMA");
        org.clear_requests();
        Self {
            user: RoleHolder::User(
                UserId::parse(user["id"].as_str().expect("a text")).expect("an id"),
            ),
            group: RoleHolder::Group(GroupId::parse(&group).expect("an id")),
            sales,
            finance,
            world,
        }
    }

    fn whole_connection(&self) -> RoleScope {
        RoleScope {
            model: None,
            ..self.sales.clone()
        }
    }

    async fn user_roles(&self, reader: &Reader) -> Vec<ObservedRole> {
        known(reader.roles(&self.user).await)
    }

    async fn group_roles(&self, reader: &Reader) -> Vec<ObservedRole> {
        known(reader.roles(&self.group).await)
    }
}

fn known<T>(answer: Result<Available<T>, OmniError>) -> T {
    match answer {
        Ok(Available::Known(value)) => value,
        Ok(Available::Rejected(status)) => panic!("{status}"),
        Err(error) => panic!("{error}"),
    }
}

fn role(name: &str) -> RoleName {
    RoleName::parse(name).expect("a role")
}

#[tokio::test]
async fn connections_and_shared_models_are_listed() {
    let RoleWorld {
        world,
        sales,
        finance,
        ..
    } = RoleWorld::new(Origins::Live).await;
    let reader = world.reader();
    let connections = known(reader.connections().await);
    assert_eq!((&*connections[0].name, connections.len()), ("Warehouse", 1));
    assert_eq!(connections[0].id, sales.connection);
    assert_eq!(connections[0].base_role, Some(role("NO_ACCESS")));
    let models = known(reader.models().await);
    let found: Vec<_> = models
        .iter()
        .map(|model| (&*model.name, Some(model.id.clone())))
        .collect();
    assert_eq!(found, [("Sales", sales.model), ("Finance", finance.model)]);
    assert!(
        models
            .iter()
            .all(|model| model.connection == sales.connection)
    );
    assert_eq!(world.org().requests().len(), 3, "one per kind of model");
}

#[tokio::test]
async fn every_page_of_models_is_read() {
    let RoleWorld { world, sales, .. } = RoleWorld::new(Origins::Live).await;
    for number in 0..250 {
        let name = format!("Model {number}");
        world
            .org()
            .add_model(sales.connection.as_str(), &name, "SHARED");
    }
    let models = known(world.reader().models().await);
    assert_eq!(models.len(), 252);
    assert_eq!(world.org().requests().len(), 4);
    assert_eq!(world.org().unexpected(), [""; 0]);
}

#[tokio::test]
async fn a_list_of_models_without_end_is_an_error() {
    let RoleWorld { world, .. } = RoleWorld::new(Origins::Live).await;
    let page = r#"{"records":[],"pageInfo":{"hasNextPage":true,"nextCursor":"a"}}"#;
    world.org().fault(times(2, says(200, page)));
    let got = world.reader().models().await;
    assert!(
        matches!(got, Err(OmniError::UnreliableModels { listed: 0 })),
        "{got:?}"
    );
}

#[tokio::test]
async fn deleted_and_unreadable_entries_hide_no_others() {
    let RoleWorld { world, .. } = RoleWorld::new(Origins::Live).await;
    let connections = r#"{"connections":[{"id":"1","name":"Old","deleted":true},null,{"id":"../x","name":"B"},
        {"id":"2","name":" Lake ","deleted":false},{"id":"3","name":null,"baseRole":null}]}"#;
    world.org().fault(times(1, says(200, connections)));
    let found = known(world.reader().connections().await);
    let found: Vec<_> = found
        .iter()
        .map(|one| (one.id.as_str(), &*one.name))
        .collect();
    assert_eq!(found, [("2", "Lake"), ("3", "")]);
    let models = r#"{"records":[{"id":"1","name":"A","connectionId":"2","deletedAt":"2026-01-01"},
        {"id":"2","name":"B","connectionId":null},{"id":"3","connectionId":"2","deletedAt":null}]}"#;
    world.org().fault(times(1, says(200, models)));
    let found = known(world.reader().models().await);
    assert_eq!((found[0].id.as_str(), &*found[0].name), ("3", ""));
    let roles = r#"{"results":[{"roleName":"VIEWER"},{"roleName":"VIEWER","connectionId":"2","modelId":"a/b"},
        {"roleName":"VIEWER","connectionId":"2","from":{"type":"Owner"}}]}"#;
    world.org().fault(times(1, says(200, roles)));
    let id = RoleHolder::User(UserId::parse("1").expect("an id"));
    let found = known(world.reader().roles(&id).await);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0].scope.model, &found[0].origin),
        (&None, &RoleOrigin::Other)
    );
}

#[tokio::test]
async fn roles_are_read_in_both_vocabularies() {
    for origins in [Origins::Live, Origins::Document] {
        let world = RoleWorld::new(origins).await;
        let org = world.world.org();
        org.add_role("Auditor", "QUERIER");
        let sales = world.sales.model.as_ref().expect("a model").as_str();
        org.set_role("a@x.co", sales, "VIEWER");
        org.set_role("Analysts", sales, "Auditor");
        let reader = world.world.reader();
        let roles = world.user_roles(&reader).await;
        let shown: Vec<_> = roles
            .iter()
            .map(|one| {
                (
                    one.role.as_str(),
                    one.rank(),
                    one.origin.clone(),
                    one.is_resolved,
                )
            })
            .collect();
        let RoleHolder::Group(group) = &world.group else {
            panic!("{:?}", world.group);
        };
        let analysts = RoleOrigin::Group {
            id: Some(group.clone()),
            name: "Analysts".into(),
        };
        use StandardRole::{NoAccess, Querier, Viewer};
        let expected = [
            ("VIEWER", Some(Viewer), RoleOrigin::Direct, false),
            ("Auditor", Some(Querier), analysts, true),
            ("NO_ACCESS", Some(NoAccess), RoleOrigin::Base, false),
            ("NO_ACCESS", Some(NoAccess), RoleOrigin::Base, true),
        ];
        assert_eq!(shown, expected);
        assert_eq!(
            ObservedRole::assigned(&roles, &world.sales),
            Some(&role("VIEWER"))
        );
        assert_eq!(ObservedRole::assigned(&roles, &world.finance), None);
        let on_sales = roles.iter().filter(|one| one.scope == world.sales);
        let counts = ObservedRole::prevailing(on_sales).expect("three roles");
        assert!(counts.is_resolved);
        let roles = world.group_roles(&reader).await;
        assert_eq!(
            (roles.len(), &roles[0].origin),
            (1, &RoleOrigin::Direct),
            "{origins:?}"
        );
        assert_eq!(
            ObservedRole::assigned(&roles, &world.sales),
            Some(&role("Auditor"))
        );
        assert_eq!(roles[0].base, Some(Querier));
    }
}

#[tokio::test(start_paused = true)]
async fn assignments_overwrite() {
    let world = RoleWorld::new(Origins::Live).await;
    let writer = writer(&world.world);
    for name in ["QUERIER", "NO_ACCESS"] {
        let shown = writer
            .assign_role(&world.user, &world.sales, &role(name))
            .await;
        assert_eq!(shown.expect("it works"), Some(role(name)));
        let shown = writer
            .assign_role(&world.group, &world.finance, &role(name))
            .await;
        assert_eq!(shown.expect("it works"), Some(role(name)));
    }
    let org = world.world.org();
    let model = |scope: &RoleScope| scope.model.as_ref().expect("a model").as_str().to_owned();
    let no_access = |scope| [(model(scope), "NO_ACCESS".to_owned())];
    assert_eq!(org.roles("a@x.co"), no_access(&world.sales));
    assert_eq!(org.roles("Analysts"), no_access(&world.finance));
    assert_eq!(org.unexpected(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_administrator_of_a_group_is_shown_per_model() {
    let world = RoleWorld::new(Origins::Live).await;
    let (writer, whole) = (writer(&world.world), world.whole_connection());
    let admin = RoleName::CONNECTION_ADMIN;
    for shown in [
        writer.assign_role(&world.user, &whole, &admin).await,
        writer.assign_role(&world.group, &whole, &admin).await,
    ] {
        assert_eq!(shown.expect("it works"), Some(admin.clone()));
    }
    let roles = world.group_roles(writer.reader()).await;
    assert_eq!(ObservedRole::assigned(&roles, &whole), Some(&admin));
    assert_eq!(ObservedRole::assigned(&roles, &world.sales), None);
    let roles = world.user_roles(writer.reader()).await;
    assert_eq!(
        ObservedRole::assigned(&roles, &whole),
        None,
        "can't be read back"
    );
    assert_eq!(world.world.org().unexpected(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_assignment_says_why() {
    let world = RoleWorld::new(Origins::Live).await;
    let writer = writer(&world.world);
    let lake = world.world.org().add_connection("Lake", "VIEWER");
    let moved = RoleScope {
        connection: ConnectionId::parse(&lake).expect("an id"),
        ..world.sales.clone()
    };
    for (scope, name, reason) in [
        (&world.sales, "Owner", "Invalid role"),
        (&moved, "VIEWER", "Model does not belong to connection"),
    ] {
        let refused = writer.assign_role(&world.user, scope, &role(name)).await;
        let Err(OmniError::Rejected { status, detail }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((status.as_u16(), &*detail), (422, reason));
    }
    let unknown =
        RoleHolder::User(UserId::parse("550e8400-e29b-41d4-a716-446655440000").expect("an id"));
    let refused = writer
        .assign_role(&unknown, &world.sales, &role("VIEWER"))
        .await;
    assert!(
        matches!(refused, Err(OmniError::NotFound { .. })),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_assignment_is_unknown() {
    for what in [What::LostReply, What::CutJson] {
        let world = RoleWorld::new(Origins::Live).await;
        let writer = writer(&world.world);
        world.world.org().fault(times(1, what));
        let lost = writer
            .assign_role(&world.user, &world.sales, &role("VIEWER"))
            .await;
        assert!(
            matches!(lost, Err(OmniError::OutcomeUnknown(_))),
            "{lost:?}"
        );
        let roles = world.user_roles(writer.reader()).await;
        assert_eq!(
            ObservedRole::assigned(&roles, &world.sales),
            Some(&role("VIEWER"))
        );
    }
}

#[tokio::test]
async fn roles_may_be_unavailable() {
    let world = RoleWorld::new(Origins::Live).await;
    let (org, reader) = (world.world.org(), world.world.reader());
    for (code, expected) in [(403, StatusCode::FORBIDDEN), (404, StatusCode::NOT_FOUND)] {
        let refuse = || org.fault(Fault::next(status(code, None)));
        refuse();
        let got = reader.connections().await.expect("an answer");
        assert_eq!(got, Available::Rejected(expected));
        refuse();
        let got = reader.models().await.expect("an answer");
        assert_eq!(got, Available::Rejected(expected));
        refuse();
        let got = reader.roles(&world.user).await.expect("an answer");
        assert_eq!(got, Available::Rejected(expected));
        refuse();
        let got = reader.roles(&world.group).await.expect("an answer");
        assert_eq!(got, Available::Rejected(expected));
    }
    known(reader.connections().await);
}
