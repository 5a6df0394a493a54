//! `export --roles`: the direct roles of groups, or also of users, as a file for `source.roles`.

use super::{ExportedFile, organisation, out};
use crate::model::{
    Escaped, GroupName, ObservedGroup, ObservedRole, ObservedUser, RoleHolder, RoleName,
    RoleScopeList, Subject,
};
use crate::omni::{self, Available, Reader};
use crate::plan::{NameIndex, RoleCatalogue};
use crate::roster::export::why_unwritable;
use crate::roster::{RoleExportRow, export_roles};
use crate::settings::Settings;
use crate::util::text::{about, plural};
use anyhow::bail;
use std::collections::HashMap;
use std::sync::Arc;

/// The roles to export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum RolesOf {
    /// The roles of groups
    Groups,
    /// The roles of groups and users, with one request for each user
    Users,
}

/// The file for `source.roles`.
pub(super) async fn file(settings: &Settings, of: RolesOf) -> anyhow::Result<ExportedFile> {
    let reader = organisation::reader(settings)?;
    let scopes = RoleScopeList {
        connections: known("connections", reader.connections().await?)?,
        models: known("models", reader.models().await?)?,
    };
    let mut export = RoleExport {
        catalogue: RoleCatalogue::new(&scopes),
        reader,
        rows: Vec::new(),
    };
    export.add_groups().await?;
    if of == RolesOf::Users {
        export.add_users().await?;
    }
    let count = export.rows.len();
    Ok(ExportedFile {
        text: export_roles(export.rows, (&settings.source).into()),
        content: plural(count, "role"),
    })
}

/// The answer of an endpoint without which no role can be exported.
fn known<T>(what: &str, answer: Available<T>) -> anyhow::Result<T> {
    match answer {
        Available::Known(value) => Ok(value),
        Available::Rejected(status) => bail!(
            "this key can't read {what} (Omni responded with {status}); use an organisation key of an admin"
        ),
    }
}

struct RoleExport {
    catalogue: RoleCatalogue,
    reader: Reader,
    rows: Vec<RoleExportRow>,
}

impl RoleExport {
    async fn add_groups(&mut self) -> anyhow::Result<()> {
        let groups = known("groups", self.reader.group_names().await?)?;
        say_how_long("group", groups.len(), &self.reader);
        let by_name: NameIndex<&ObservedGroup> =
            groups.iter().map(|group| (&*group.name, group)).collect();
        let mut named = Vec::new();
        for group in &groups {
            let why = match GroupName::parse(&group.name) {
                Ok(name) if by_name.get(name.as_str()) == Ok(&group) => {
                    named.push((RoleHolder::Group(group.id.clone()), Subject::Group(name)));
                    continue;
                }
                Ok(_) => "several groups have this name".to_owned(),
                Err(error) => error.to_string(),
            };
            let shown = Escaped(&group.name);
            out::warning(&format!("a row can't name the group {shown}: {why}"));
        }
        self.add_all(named).await
    }

    async fn add_users(&mut self) -> anyhow::Result<()> {
        let observed = omni::list(&self.reader).await?;
        let mut users: Vec<&Arc<ObservedUser>> = observed.users().collect();
        users.sort_by(|a, b| a.email.cmp(&b.email));
        say_how_long("user", users.len(), &self.reader);
        out::note("Omni does not show a user's CONNECTION_ADMIN, so no row states one");
        let named = users.into_iter().map(|user| {
            let holder = RoleHolder::User(user.id.clone());
            (holder, Subject::from(&user.email))
        });
        self.add_all(named.collect()).await
    }

    async fn add_all(&mut self, named: Vec<(RoleHolder, Subject)>) -> anyhow::Result<()> {
        let holders = named.iter().map(|(holder, _)| holder.clone());
        let mut answers = HashMap::new();
        omni::read_roles(&self.reader, holders.collect(), |holder, roles| {
            answers.insert(holder, roles?);
            Ok(())
        })
        .await?;
        for (holder, subject) in named {
            if let Some(roles) = answers.remove(&holder) {
                self.add(&subject, roles);
            }
        }
        Ok(())
    }

    /// Adds the direct roles of one user or group.
    fn add(&mut self, subject: &Subject, roles: Available<Vec<ObservedRole>>) {
        let roles = match roles {
            Available::Known(roles) => roles,
            Available::Rejected(status) => {
                out::warning(&format!(
                    "the roles of {subject} can't be read (Omni responded with {status})"
                ));
                return;
            }
        };
        for (scope, role) in ObservedRole::direct(&roles) {
            let read = RoleName::parse(role.as_str());
            let read = read.as_ref().map(RoleName::as_str);
            if let Some(why) = why_unwritable(role.as_str(), read) {
                out::warning(&format!(
                    "a row can't name the role {role} of {subject}: {why}"
                ));
                continue;
            }
            let (connection, model) = self.catalogue.names(&scope);
            self.rows.push(RoleExportRow {
                subject: subject.clone(),
                connection,
                model,
                role: role.clone(),
            });
        }
    }
}

/// Reading takes one request for each holder of roles.
fn say_how_long(noun: &str, count: usize, reader: &Reader) {
    let time = about(reader.estimate(count));
    out::note(&format!(
        "reading the roles of {}: {}, {time}",
        plural(count, noun),
        plural(count, "request"),
    ));
}
