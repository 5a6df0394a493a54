//! How all has to be once nothing goes wrong any more.

use super::roster::{COLUMNS, DesiredUser, Op, Row, Sheet, is_as_wanted};
use super::story::BOSS;
use super::witness::{ATTRIBUTES, Witness, email_of, whose};
use serde_json::{Value, json};

impl Witness<'_> {
    /// In the end each row has its will, and whom no row names is gone or as policy.prune wants it.
    pub fn all_is_as_wanted(&mut self) {
        let Some(window) = self.tale.windows.last() else {
            return;
        };
        let Some(sheet) = self.sheet_of(window) else {
            return;
        };
        let users = self.tale.world.org().users();
        let mut wrong = Vec::new();
        for row in &sheet.rows {
            let there: Vec<_> = users
                .iter()
                .filter(|user| email_of(user) == row.email)
                .collect();
            let is_fine = match (row.flaw, &there[..]) {
                (Some(_), _) => true,
                (None, [_, _, ..]) => true,
                (None, []) => row.op != Op::Upsert || row.name.trim().is_empty(),
                (None, [user]) => self.is_as_row(user, row, sheet),
            };
            if !is_fine {
                wrong.push(format!("in the end not as wanted: {row:?}: {there:?}"));
            }
        }
        for user in &users {
            if let Some(why) = self.should_be_gone(user, sheet, &users) {
                wrong.push(format!("{why}: {user:?}"));
            }
        }
        self.wrong.extend(wrong);
    }

    fn is_as_row(&self, user: &Value, row: &Row, sheet: &Sheet) -> bool {
        let is_active = user["active"] == json!(true);
        match row.op {
            Op::Delete | Op::Deactivate if row.email == BOSS => true,
            Op::Delete => self.policy.deactivates && !is_active,
            Op::Deactivate => !is_active,
            Op::Upsert => {
                let name = row.name.trim();
                let as_wanted = |&at: &usize| {
                    let value = &user[ATTRIBUTES][COLUMNS[at]];
                    is_as_wanted(at, &row.cells[at], value, self.policy.keeps_blanks)
                };
                (name.is_empty() || user["displayName"] == json!(name))
                    && sheet.columns.iter().all(as_wanted)
                    && (is_active || !self.policy.reactivates)
            }
        }
    }

    /// Why somebody should not be there, or be inactive.
    fn should_be_gone(&self, user: &Value, sheet: &Sheet, users: &[Value]) -> Option<&'static str> {
        let email = email_of(user);
        let twins = users
            .iter()
            .filter(|other| email_of(other) == email)
            .count()
            > 1;
        let is_gone = self.policy.deactivates && user["active"] == json!(false);
        let is_named = !matches!(sheet.want(&email), DesiredUser::Nothing);
        if email == BOSS || twins || is_gone || is_named || !sheet.may_prune() {
            return None;
        }
        match self.policy.prune {
            "all" => Some("to be pruned, and still there"),
            "managed" if self.is_surely_ours(&email, user["id"].as_str().unwrap_or_default()) => {
                Some("ours, to be pruned, and still there")
            }
            _ => None,
        }
    }

    /// Whether a run that came to a plan saw a roster that upserts them, and nobody removed them since:
    /// who is gone from both is forgotten.
    fn is_surely_ours(&self, email: &str, id: &str) -> bool {
        let named = self.tale.windows.iter().rev().find(|window| {
            window.planned
                && !window.is_dry
                && self
                    .sheet_of(window)
                    .is_some_and(|sheet| sheet.upserts().any(|one| one == email))
        });
        let Some(named) = named else { return false };
        // Whom a row removed in vain is not known as ours any more: Omni said that it is done.
        let in_vain = self.requests.iter().any(|request| {
            request.number >= named.first
                && request.method == "DELETE"
                && request.status == 204
                && request.path.ends_with(id)
                && self.row_deletes(email, request.number)
        });
        // Of others' changes it is known only after which other change they came.
        let removed = self.history.iter().any(|change| {
            change.after.is_none()
                && email_of(whose(change)) == email
                && change.request.is_none_or(|number| number >= named.first)
        });
        !removed && !in_vain
    }

    /// Whether the roster of a request's run has a row that deletes somebody.
    fn row_deletes(&self, email: &str, request: u64) -> bool {
        let sheet = self
            .window_of(request)
            .and_then(|window| self.sheet_of(window));
        sheet.is_some_and(
            |sheet| matches!(sheet.want(email), DesiredUser::Row(row) if row.op == Op::Delete),
        )
    }
}
