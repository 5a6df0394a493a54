//! Whatever happens in whatever order, with restarts in between: approvals and counts are those of
//! a small model.

use super::support::{State, approved, at, held, id, intent, removed, settle, settled, start};
use crate::support::cases;
use omni_user_sync::model::{
    ChangeId, ChangeIntent, ChangeOutcome, GuardRule, Operation, RunNumber, RunRef, UserId,
};
use omni_user_sync::state::StateDb;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

const NAMES: [&str; 4] = ["ann", "bob", "cid", "dan"];
const HOUR: i64 = 3600;

#[derive(Clone, Debug)]
enum Step {
    Intend(usize, Operation, bool),
    Settle(usize, ChangeOutcome),
    Resolve(usize, bool),
    /// Holds the users of these bits, and approves them.
    Approve(u8, Operation),
    Wait(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let operation = || {
        prop::sample::select(vec![
            Operation::Delete,
            Operation::Deactivate,
            Operation::Update,
        ])
    };
    let outcome = prop::sample::select(ChangeOutcome::ALL.to_vec());
    prop_oneof![
        4 => (0..NAMES.len(), operation(), any::<bool>()).prop_map(|(user, operation, approved)| Step::Intend(user, operation, approved)),
        4 => (any::<usize>(), outcome).prop_map(|(change, outcome)| Step::Settle(change, outcome)),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(change, done)| Step::Resolve(change, done)),
        2 => (1u8..16, operation()).prop_map(|(users, operation)| Step::Approve(users, operation)),
        2 => (1i64..20).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

#[derive(Default)]
struct Model {
    now: i64,
    open: Vec<(RunNumber, ChangeId, ChangeIntent)>,
    /// What may have been sent, apart from what is open.
    sent: Vec<ChangeIntent>,
    /// Until when; one that is used up is taken out.
    approvals: HashMap<(UserId, Operation), i64>,
}

impl Model {
    fn take(&mut self, number: usize) -> Option<(RunNumber, ChangeId, ChangeIntent)> {
        let at = number.checked_rem(self.open.len())?;
        Some(self.open.remove(at))
    }

    fn done(&mut self, intent: &ChangeIntent) {
        if intent.approved || intent.operation != Operation::Update {
            let user = intent.user_id.clone().expect("none of them is made");
            self.approvals.remove(&(user, intent.operation));
        }
    }

    fn approved(&self) -> HashSet<(UserId, Operation)> {
        let good = self
            .approvals
            .iter()
            .filter(|(_, until)| **until > self.now);
        good.map(|(what, _)| what.clone()).collect()
    }

    /// The users whose removal was sent, without approval or at all.
    fn removed(&self) -> (usize, usize) {
        let open = self.open.iter().map(|(.., intent)| intent);
        let since = at(self.now - 24 * HOUR);
        let removals = open
            .chain(&self.sent)
            .filter(|intent| intent.operation.is_removal() && intent.intended > since);
        let removals: Vec<_> = removals.collect();
        let users = |intents: &mut dyn Iterator<Item = &&ChangeIntent>| {
            let ids: HashSet<_> = intents.map(|intent| intent.user_id.clone()).collect();
            ids.len()
        };
        let unapproved = users(&mut removals.iter().filter(|intent| !intent.approved));
        (unapproved, users(&mut removals.iter()))
    }
}

async fn take_step(step: Step, model: &mut Model, db: &mut Option<StateDb>, state: &State) {
    if matches!(step, Step::Restart) {
        db.take();
        *db = Some(state.open());
        return;
    }
    let db = db.as_ref().expect("it is open");
    match step {
        Step::Restart => {}
        Step::Wait(hours) => model.now += hours * HOUR,
        Step::Intend(user, operation, approved) => {
            let run = db.begin(start(model.now)).await.expect("written");
            let intent = ChangeIntent {
                approved,
                ..intent(operation, NAMES[user], model.now)
            };
            let id = db.intend(run, &intent).await.expect("written");
            model.open.push((run, id, intent));
        }
        Step::Settle(number, outcome) => {
            let Some((run, id, intent)) = model.take(number) else {
                return;
            };
            let settled = settled(outcome, model.now);
            settle(db, run, id, &intent, &settled).await;
            if outcome == ChangeOutcome::Applied {
                model.done(&intent);
            }
            if outcome != ChangeOutcome::Skipped {
                model.sent.push(intent);
            }
        }
        Step::Resolve(number, was_done) => {
            let Some((run, id, intent)) = model.take(number) else {
                return;
            };
            let outcome = match was_done {
                true => ChangeOutcome::Applied,
                false => ChangeOutcome::Failed,
            };
            let settled = settled(outcome, model.now);
            settle(db, run, id, &intent, &settled).await;
            if was_done {
                model.done(&intent);
            }
            model.sent.push(intent);
        }
        Step::Approve(bits, operation) => {
            let names: Vec<_> = NAMES
                .iter()
                .enumerate()
                .filter(|(number, _)| bits & (1 << number) != 0)
                .map(|(_, name)| *name)
                .collect();
            let run = db.begin(start(model.now)).await.expect("written");
            db.hold(run, &[held(GuardRule::MaxRemovals, operation, &names)])
                .await
                .expect("written");
            let beside = state.approve();
            beside
                .approve(RunRef::Number(run), "root", at(model.now), false)
                .await
                .expect("written");
            let until = model.now + 24 * HOUR;
            model
                .approvals
                .extend(names.iter().map(|name| ((id(name), operation), until)));
        }
    }
}

async fn follow(steps: Vec<Step>) {
    let state = State::new();
    let mut db = Some(state.open());
    let mut model = Model::default();
    for step in steps {
        take_step(step, &mut model, &mut db, &state).await;
        let open = db.as_ref().expect("it is open");
        let memory = open.memory(at(model.now)).await.expect("read");
        assert_eq!(approved(&memory.approved), model.approved());
        assert_eq!(removed(open, model.now).await, model.removed());
        let unknown = open.unknown().await.expect("read");
        assert_eq!(unknown.len(), model.open.len());
    }
}

proptest! {
    #![proptest_config(cases(10))]

    #[test]
    fn approvals_and_counts_match_the_model(steps in prop::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(follow(steps));
    }
}
