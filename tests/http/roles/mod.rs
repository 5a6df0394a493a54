//! Roles of `source.roles`: the real client against the mock server.

mod approvals;
mod assignments;
mod limits;
mod problems;

use crate::support::{World, assert_converged};
use omni_user_sync::run::RunOutcome;
use omni_user_sync::sandbox::Options;
use serde_json::json;

/// An organisation with three users, the group `Analysts`, and the connection `Warehouse` with two models.
struct RoleWorld {
    world: World,
    warehouse: String,
    sales: String,
    finance: String,
}

const ROSTER: &str = "email,display_name\nann@x.co,Ann\nben@x.co,Ben\ncy@x.co,Cy\n";

impl RoleWorld {
    async fn new() -> Self {
        let world = World::with(Options::with_full_lists()).await;
        let path = world.folder.path().join("roles.csv");
        let world = world
            .set("source.roles", &path.display().to_string())
            .set("observe.budget", "100%");
        for (email, name) in [("ann@x.co", "Ann"), ("ben@x.co", "Ben"), ("cy@x.co", "Cy")] {
            world.user(email, name, json!({}));
        }
        world.roster(ROSTER);
        let org = world.org();
        org.add_group("Analysts", &["ann@x.co"]);
        let warehouse = org.add_connection("Warehouse", "NO_ACCESS");
        let sales = org.add_model(&warehouse, "Sales", "SHARED");
        let finance = org.add_model(&warehouse, "Finance", "SHARED_EXTENSION");
        let world = Self {
            world,
            warehouse,
            sales,
            finance,
        };
        world.rows("");
        assert_converged(&world.run().await);
        world.world.org().clear_requests();
        world
    }

    fn set(self, key: &str, value: &str) -> Self {
        Self {
            world: self.world.set(key, value),
            ..self
        }
    }

    /// Writes the file.
    fn rows(&self, rows: &str) {
        let text = format!("subject,connection,model,role\n{rows}");
        let path = self.world.folder.path().join("roles.csv");
        std::fs::write(path, text).expect("the file is written");
    }

    async fn run(&self) -> RunOutcome {
        self.world.run().await
    }

    /// The direct roles of a user or group: the name of the model or connection, and the role.
    fn roles(&self, holder: &str) -> Vec<(&'static str, String)> {
        let names = [
            (&self.warehouse, "Warehouse"),
            (&self.sales, "Sales"),
            (&self.finance, "Finance"),
        ];
        let roles = self.world.org().roles(holder).into_iter();
        let named = |id: &str| names.iter().find(|(one, _)| *one == id).expect("known").1;
        let mut roles: Vec<_> = roles.map(|(id, role)| (named(&id), role)).collect();
        roles.sort();
        roles
    }

    /// The number of requests since the last call, and how many of them are writes.
    fn take_requests(&self) -> (usize, usize) {
        self.world.take_requests()
    }
}

fn role(model: &'static str, role: &str) -> (&'static str, String) {
    (model, role.to_owned())
}

fn details(outcome: &RunOutcome) -> Vec<&str> {
    let changes = outcome.changes.iter();
    changes.map(|one| one.detail.as_str()).collect()
}
