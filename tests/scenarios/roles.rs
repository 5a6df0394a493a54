//! Roles of a scenario: connections and models, the present roles, `source.roles`, and roles that others assign.

use crate::access::{Access, GROUPS};
use crate::roster::FileState;
use crate::scenario::{Kind, chance, pick};
use crate::trouble::fault_of_kind;
use fastrand::Rng;
use omni_user_sync::model::RoleScope;
use omni_user_sync::sandbox::{Org, Request, What, When};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The only role of a whole connection.
pub(crate) const ADMIN: &str = "CONNECTION_ADMIN";
/// A role that Omni does not have.
pub(crate) const UNKNOWN: &str = "Ghost";
/// From the least to the most permissive.
const STANDARD: [&str; 6] = [
    "NO_ACCESS",
    "VIEWER",
    "QUERY_TOPICS",
    "QUERIER",
    "MODELER",
    ADMIN,
];
/// A custom role, and the role that it is based on.
const CUSTOM: (&str, &str) = ("Analyst", "QUERIER");
/// The roles that rows state for models.
const OF_MODELS: [&str; 5] = ["NO_ACCESS", "VIEWER", "QUERY_TOPICS", "QUERIER", "MODELER"];
/// No row can mean one of those with equal names, or the one that is not shared.
const MODELS: [(&str, &str, &str); 6] = [
    ("Warehouse", "Orders", "SHARED"),
    ("Warehouse", "Costs", "SHARED_EXTENSION"),
    ("Warehouse", "Draft", "WORKBOOK"),
    ("Lake", "Orders", "SHARED"),
    ("Lake", "Twin", "SHARED"),
    ("Lake", "Twin", "SHARED"),
];
/// The models that rows mostly name.
const USUAL: [(&str, &str); 3] = [
    ("Warehouse", "Orders"),
    ("Warehouse", "Costs"),
    ("Lake", "Orders"),
];
/// A run reads the roles of this number of users again, so that the reference knows what it sees.
const VERIFIED: usize = 10;
/// A group that a cell of the roster may create.
const NEW_GROUP: &str = "group:Newcomers";

/// The roles at the start, and the settings about them.
#[derive(Clone, Debug)]
pub(crate) struct Roles {
    pub(crate) max_changes: u64,
    pub(crate) file: RolesFile,
    /// Whether no reading is kept for the next run.
    has_no_age: bool,
    /// Of the two connections.
    base_roles: [&'static str; 2],
    /// The subject, the connection, the model and the role.
    present: Vec<(String, &'static str, &'static str, &'static str)>,
    source: RowSource,
}

/// What rows are drawn from.
#[derive(Clone, Debug)]
struct RowSource {
    users: Vec<String>,
    groups: Vec<&'static str>,
    of_models: Vec<&'static str>,
}

/// The file of `source.roles`.
#[derive(Clone, Debug)]
pub(crate) struct RolesFile {
    pub(crate) rows: Vec<RoleRow>,
    pub(crate) state: FileState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoleRow {
    /// An email, or `group:` and a name.
    pub(crate) subject: String,
    pub(crate) connection: &'static str,
    /// Blank for the whole connection.
    pub(crate) model: &'static str,
    pub(crate) role: &'static str,
}

/// A role that others assign in Omni.
#[derive(Clone, Debug)]
pub(crate) struct OutsideRole {
    subject: String,
    connection: &'static str,
    model: &'static str,
    role: &'static str,
}

/// A connection or model, as requests and the history name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scope {
    connection: String,
    pub(crate) model: Option<String>,
}

/// The ids of connections and models.
#[derive(Clone, Debug, Default)]
pub(crate) struct Catalogue {
    connections: BTreeMap<&'static str, String>,
    /// The models that may have roles: the connection, the name and the id.
    models: Vec<(&'static str, &'static str, String)>,
}

/// How permissive a role is; `None` if that is not known.
pub(crate) fn rank(role: &str) -> Option<usize> {
    let base = if role == CUSTOM.0 { CUSTOM.1 } else { role };
    STANDARD.iter().position(|name| *name == base)
}

pub(crate) fn is_custom(role: &str) -> bool {
    !STANDARD.contains(&role)
}

/// Whether a path is about the roles of a user or group.
pub(crate) fn is_of_roles(path: &str) -> bool {
    path.ends_with("/model-roles")
}

/// A request that assigns a role.
#[derive(Clone, Debug)]
pub(crate) struct Sent<'a> {
    pub(crate) request: &'a Request,
    /// The id of a user or group.
    pub(crate) holder: &'a str,
    pub(crate) is_user: bool,
    pub(crate) scope: Scope,
    pub(crate) role: &'a str,
}

impl<'a> Sent<'a> {
    pub(crate) fn of(request: &'a Request) -> Option<Self> {
        let path = request.path.strip_suffix("/model-roles")?;
        let (kind, holder) = path.rsplit_once('/')?;
        let body = request.body.as_ref().filter(|_| request.method == "POST")?;
        Some(Self {
            request,
            holder,
            is_user: kind.ends_with("/users"),
            scope: Scope::of(body)?,
            role: body["roleName"].as_str()?,
        })
    }

    /// Whether Omni does not show the role.
    pub(crate) fn is_hidden(&self) -> bool {
        self.is_user && self.scope.model.is_none()
    }
}

impl Scope {
    /// The scope of a body, or of a role in the history.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        Some(Self {
            connection: value["connectionId"].as_str()?.to_owned(),
            model: value["modelId"].as_str().map(str::to_owned),
        })
    }
}

impl From<&RoleScope> for Scope {
    fn from(ids: &RoleScope) -> Self {
        Self {
            connection: ids.connection.as_str().to_owned(),
            model: ids.model.as_ref().map(|id| id.as_str().to_owned()),
        }
    }
}

impl Catalogue {
    /// The connection or model that a row means; `None` if that is unclear.
    pub(crate) fn find(&self, connection: &str, model: &str) -> Option<Scope> {
        let same = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
        let mut connections = self.connections.iter();
        let (name, id) = connections.find(|(name, _)| same(name, connection))?;
        let models = self.models.iter().filter(|(of, ..)| of == name);
        let mut models = models.filter(|(_, name, _)| same(name, model));
        let model = match (model.is_empty(), models.next(), models.next()) {
            (true, ..) => None,
            (false, Some((.., id)), None) => Some(id.clone()),
            _ => return None,
        };
        let connection = id.clone();
        Some(Scope { connection, model })
    }
}

impl RoleRow {
    /// Whether it has an error of its own.
    pub(crate) fn is_invalid(&self) -> bool {
        let is_respelled =
            !STANDARD.contains(&self.role) && STANDARD.contains(&self.role.to_uppercase().as_str());
        is_respelled || self.model.is_empty() != (self.role == ADMIN)
    }
}

impl RowSource {
    fn subject(&self, random: &mut Rng) -> String {
        match random.u32(..100) {
            0..3 => "unknown@y.co".to_owned(),
            3..5 => "group:Nobody".to_owned(),
            5..35 if !self.groups.is_empty() => {
                let name = *pick(random, &self.groups);
                let name = if chance(random, 10) {
                    name.to_uppercase()
                } else {
                    name.to_owned()
                };
                format!("group:{name}")
            }
            35..38 if !self.groups.is_empty() => NEW_GROUP.to_owned(),
            at => {
                let email = pick(random, &self.users);
                if at < 92 {
                    email.clone()
                } else {
                    email.to_uppercase()
                }
            }
        }
    }

    fn row(&self, random: &mut Rng) -> RoleRow {
        let subject = self.subject(random);
        let (connection, model) = match random.u32(..100) {
            0..3 => ("Warehuose", "Orders"),
            3..6 => ("Lake", "Twin"),
            6..8 => ("Warehouse", "Draft"),
            8..14 => ("warehouse", "ORDERS"),
            14..27 => (if random.bool() { "Warehouse" } else { "Lake" }, ""),
            _ => *pick(random, &USUAL),
        };
        RoleRow {
            subject,
            connection,
            model,
            role: self.role(random, model),
        }
    }

    fn role(&self, random: &mut Rng, model: &str) -> &'static str {
        match (model.is_empty(), random.u32(..100)) {
            (true, 0..94) | (false, 0..2) => ADMIN,
            (_, 2..5) => "viewer",
            (_, 5..7) if self.of_models.contains(&CUSTOM.0) => UNKNOWN,
            _ => self.of_models[random.usize(..self.of_models.len())],
        }
    }
}

impl RolesFile {
    /// The text of the file; `None` if there is no file.
    pub(crate) fn text(&self) -> Option<String> {
        const HEADER: &str = "subject,connection,model,role\n";
        let mut text = match self.state {
            FileState::Gone => return None,
            FileState::Empty => return Some(String::new()),
            FileState::Header => return Some(HEADER.to_owned()),
            FileState::UnknownColumn => "subject,connection,model,rule\n".to_owned(),
            FileState::Whole | FileState::OpenQuote => HEADER.to_owned(),
        };
        for row in &self.rows {
            let RoleRow {
                subject,
                connection,
                model,
                role,
            } = row;
            writeln!(text, "{subject},{connection},{model},{role}").expect("a String");
        }
        if self.state == FileState::OpenQuote {
            text += "\"open@x.co,Warehouse,Orders,VIEWER\n";
        }
        Some(text)
    }

    /// The rows, if the file can be read.
    pub(crate) fn readable(&self) -> &[RoleRow] {
        match self.state {
            FileState::Whole => &self.rows,
            _ => &[],
        }
    }

    /// The same with other rows, or in another state.
    pub(crate) fn edited(&self, random: &mut Rng, roles: &Roles) -> Self {
        use FileState::{Empty, Gone, Header, OpenQuote, UnknownColumn, Whole};
        let mut file = self.clone();
        file.state = match chance(random, 70) {
            true => Whole,
            false => *pick(random, &[Gone, Empty, Header, UnknownColumn, OpenQuote]),
        };
        file.rows.retain(|_| chance(random, 85));
        for row in &mut file.rows {
            if chance(random, 30) {
                row.role = roles.source.role(random, row.model);
            }
        }
        while file.rows.is_empty() || chance(random, 60) {
            file.rows.push(roles.source.row(random));
        }
        if chance(random, 15) {
            // A row that repeats or contradicts another one.
            let mut row = pick(random, &file.rows).clone();
            row.role = roles.source.role(random, row.model);
            if row.connection == "Warehouse" && chance(random, 30) {
                row.connection = "warehouse";
            }
            file.rows.push(row);
        }
        file
    }
}

impl Roles {
    pub(crate) fn drawn(
        random: &mut Rng,
        kind: Kind,
        emails: &[String],
        access: Option<&Access>,
    ) -> Self {
        let mut of_models = OF_MODELS.to_vec();
        let mut users = emails.to_vec();
        match kind {
            Kind::Faults => of_models.extend([CUSTOM.0]),
            // The last one is protected.
            Kind::NoFaults => drop(users.drain(..emails.len().saturating_sub(VERIFIED))),
        }
        let source = RowSource {
            users,
            groups: access.map_or_else(Vec::new, |_| GROUPS.to_vec()),
            of_models,
        };
        let count = random.usize(1..12);
        let rows: Vec<_> = (0..count).map(|_| source.row(random)).collect();
        let strays = (0..random.usize(..4)).map(|_| source.row(random));
        let strays: Vec<_> = strays.collect();
        let mut present = Vec::new();
        for RoleRow { subject, .. } in rows.iter().chain(&strays).filter(|_| random.bool()) {
            present.push(subject.clone());
        }
        let present = present.into_iter().map(|subject| {
            let (connection, model) = *pick(random, &USUAL);
            (subject, connection, model, *pick(random, &OF_MODELS))
        });
        let mut present: Vec<_> = present.collect();
        for row in rows.iter().filter(|row| !row.is_invalid()) {
            if row.role != UNKNOWN && chance(random, 40) {
                present.push((row.subject.clone(), row.connection, row.model, row.role));
            }
        }
        Self {
            max_changes: match random.u32(..100) {
                0..15 => random.u64(..6),
                15..40 => random.u64(6..20),
                _ => 1000,
            },
            file: RolesFile {
                rows,
                state: FileState::Whole,
            },
            has_no_age: kind == Kind::Faults && chance(random, 20),
            base_roles: [(); 2].map(|()| *pick(random, &["NO_ACCESS", "NO_ACCESS", "VIEWER"])),
            present,
            source,
        }
    }

    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![("policy.max_role_changes", self.max_changes.to_string())];
        if self.has_no_age {
            settings.push(("observe.max_age", "0s".to_owned()));
        }
        settings
    }

    /// Creates connections and models, and assigns the roles of those who exist.
    pub(crate) fn begin(&self, org: &Org) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for (name, base) in ["Warehouse", "Lake"].into_iter().zip(self.base_roles) {
            let id = org.add_connection(name, base);
            catalogue.connections.insert(name, id);
        }
        for (connection, name, kind) in MODELS {
            let id = org.add_model(&catalogue.connections[connection], name, kind);
            if kind.starts_with("SHARED") {
                catalogue.models.push((connection, name, id));
            }
        }
        org.add_role(CUSTOM.0, CUSTOM.1);
        for (subject, connection, model, role) in &self.present {
            let (subject, connection, model) = (subject.clone(), *connection, *model);
            let assigned = OutsideRole {
                subject,
                connection,
                model,
                role,
            };
            assigned.act(org, &catalogue);
        }
        catalogue
    }

    pub(crate) fn outside(&self, random: &mut Rng, file: &RolesFile) -> OutsideRole {
        let subject = match file.rows.is_empty() || chance(random, 25) {
            true => self.source.subject(random),
            false => pick(random, &file.rows).subject.clone(),
        };
        let (connection, model) = *pick(random, &USUAL);
        let role = *pick(random, &[&OF_MODELS[..], &[CUSTOM.0]].concat());
        OutsideRole {
            subject,
            connection,
            model,
            role: if role == CUSTOM.0 && !self.source.of_models.contains(&role) {
                "MODELER"
            } else {
                role
            },
        }
    }

    /// A fault of requests about roles.
    pub(crate) fn fault(random: &mut Rng) -> (What, When) {
        let codes = [400, 403, 404, 409, 422, 422, 500, 503];
        let others = [
            What::LostReply,
            What::LostReply,
            What::CutJson,
            What::Reset,
            What::Reset,
            What::IgnoreWrite,
            What::StaleAnswer,
            What::Html { code: 200 },
        ];
        let what = fault_of_kind(random, (&codes, 40), 8, &others);
        let paths = ["users/", "users/", "user-groups/", "connections", "models"];
        let path = *pick(random, &paths);
        let writes = path.ends_with('/') && chance(random, 75);
        let when = When {
            method: Some(if writes { "POST" } else { "GET" }.to_owned()),
            path: Some(format!("/api/v1/{path}")),
            ..When::default()
        };
        (what, when)
    }
}

impl OutsideRole {
    pub(crate) fn act(&self, org: &Org, catalogue: &Catalogue) {
        let scope = catalogue.find(self.connection, self.model);
        let Some(Scope { connection, model }) = scope else {
            return;
        };
        let name = self.subject.strip_prefix("group:");
        let holder = match name {
            Some(name) => org.members(name).map(|_| name),
            None => org.user(&self.subject).map(|_| self.subject.as_str()),
        };
        if let Some(holder) = holder {
            org.set_role(holder, &model.unwrap_or(connection), self.role);
        }
    }
}
