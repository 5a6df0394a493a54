//! How long a large roster takes, and how much memory: reading, checking and planning against
//! Python's `csv.DictReader`, which only reads. `cargo bench --bench roster [-- ROWS…]`; what was
//! measured is in `benches/README.md`.
//!
//! It fails where a promise is broken: see [`FASTER`], [`GROWTH`] and [`MEMORY`].

#![allow(clippy::print_stdout)] // its output is the table

use omni_user_sync::model::{AttributeName, Definition, Memory, Observed, Schema, ValueType};
use omni_user_sync::omni::UserListPage;
use omni_user_sync::plan::Plan;
use omni_user_sync::roster;
use omni_user_sync::settings::{KeySource, RawSettings, Settings};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The minimum speed-up over reading alone in Python, at a million rows. With fewer rows the start of a process counts
/// for too much.
const FASTER: f64 = 2.0;
const MILLION: usize = 1_000_000;
/// The maximum growth of the duration for ten times the rows.
const GROWTH: f64 = 12.0;
/// The maximum memory, as a multiple of the bytes of the roster and of the listing's pages.
const MEMORY: f64 = 3.0;

const SIZES: [usize; 3] = [10_000, 100_000, MILLION];
/// The number of measurements. The best one counts, because other work on the machine only adds to the rest.
const REPETITIONS: usize = 5;
/// The number of users on a page of the listing.
const PAGE: usize = 100;
/// One in this many users differs.
const DIFFERS: usize = 100;

/// The attributes of the roster.
fn schema() -> Schema {
    let definition = |name: &str, value_type, multiple| Definition {
        name: AttributeName::new(name),
        value_type,
        multiple,
        system: false,
        default: None,
    };
    Schema::new([
        definition("department", ValueType::String, false),
        definition("level", ValueType::Number, false),
        definition("region", ValueType::String, true),
        definition("title", ValueType::String, false),
    ])
}

/// A generated user.
struct User {
    email: String,
    name: String,
    department: &'static str,
    level: usize,
    regions: [&'static str; 2],
    title: &'static str,
}

impl User {
    /// The nth: always the same one.
    fn nth(number: usize) -> Self {
        const FIRST: [&str; 7] = ["Ann", "Bo", "Carla", "Dmitri", "Élodie", "Farid", "Giulia"];
        const LAST: [&str; 5] = ["Ng", "Okafor", "Petersen", "Quintero", "Richards"];
        const DEPARTMENTS: [&str; 4] = ["Sales", "Support", "Engineering", "People and Culture"];
        const REGIONS: [&str; 4] = ["north", "south", "east", "west"];
        const TITLES: [&str; 3] = ["Engineer", "Senior Account Manager", "Analyst"];
        let (first, last) = (FIRST[number % 7], LAST[number % 5]);
        let mail = first.to_lowercase().replace('é', "e");
        Self {
            email: format!("{mail}.{}{number}@example.com", last.to_lowercase()),
            name: format!("{first} {last}"),
            department: DEPARTMENTS[number % 4],
            level: number % 90,
            regions: [REGIONS[number % 4], REGIONS[(number + 1) % 4]],
            title: TITLES[number % 3],
        }
    }

    fn write_row(&self, to: &mut impl Write) -> std::io::Result<()> {
        let Self {
            email,
            name,
            department,
            level,
            regions: [one, other],
            title,
        } = self;
        writeln!(
            to,
            "upsert,{email},{name},{department},{level},\"[{one},{other}]\",{title}"
        )
    }

    /// As Omni shows it; one in [`DIFFERS`] is of another department than the roster says.
    fn shown(&self, number: usize) -> Value {
        let department = if number.is_multiple_of(DIFFERS) {
            "Elsewhere"
        } else {
            self.department
        };
        // Ids don't sort by age, as real ones don't.
        let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        json!({
            "schemas": [
                "urn:ietf:params:scim:schemas:core:2.0:User",
                "urn:omni:params:1.0:UserAttribute",
            ],
            "id": format!("{:08x}-0000-4000-8000-{number:012x}", id >> 32),
            "userName": self.email,
            "displayName": self.name,
            "active": true,
            "emails": [{ "value": self.email, "primary": true }],
            "groups": [],
            "meta": {
                "resourceType": "User",
                "created": "2025-01-02T03:04:05.678Z",
                "lastModified": "2025-06-07T08:09:10.111Z",
            },
            "urn:omni:params:1.0:UserAttribute": {
                "department": department,
                "level": self.level.to_string(),
                "region": self.regions,
                "title": self.title,
            },
        })
    }
}

/// A roster and the listing of as many users, in a folder.
struct World {
    roster: PathBuf,
    /// A page on each line, in the order of another time than the roster's.
    listing: PathBuf,
}

impl World {
    fn at(folder: &Path, rows: usize) -> Self {
        Self {
            roster: folder.join(format!("{rows}.csv")),
            listing: folder.join(format!("{rows}.json")),
        }
    }

    fn write(&self, rows: usize) -> std::io::Result<()> {
        let mut roster = BufWriter::new(File::create(&self.roster)?);
        writeln!(
            roster,
            "op,email,display_name,department,level,region,title"
        )?;
        for number in 0..rows {
            User::nth(number).write_row(&mut roster)?;
        }
        roster.flush()?;
        let mut listing = BufWriter::new(File::create(&self.listing)?);
        for first in (0..rows).step_by(PAGE) {
            // The step has no factor in common with the sizes, so that each user comes once.
            let numbers = (first..rows.min(first + PAGE)).map(|at| at * 7_919 % rows);
            let users: Vec<_> = numbers
                .map(|number| User::nth(number).shown(number))
                .collect();
            let page = json!({
                "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
                "totalResults": rows,
                "startIndex": first + 1,
                "itemsPerPage": users.len(),
                "Resources": users,
            });
            serde_json::to_writer(&mut listing, &page)?;
            writeln!(listing)?;
        }
        listing.flush()
    }

    /// The roster's bytes and the listing's, without the line breaks between its pages.
    fn bytes(&self, rows: usize) -> std::io::Result<[u64; 2]> {
        let breaks = rows.div_ceil(PAGE) as u64;
        let [roster, listing] = [&self.roster, &self.listing].map(fs::metadata);
        Ok([roster?.len(), listing?.len() - breaks])
    }

    fn observe(&self) -> Observed {
        let file = File::open(&self.listing).expect("the listing was written");
        let mut pages = BufReader::new(file);
        let mut body = Vec::new();
        let users = std::iter::from_fn(|| {
            body.clear();
            let read = pages.read_until(b'\n', &mut body).expect("it can be read");
            (read > 0).then(|| UserListPage::parse(&body).expect("a page").users)
        });
        Observed::new(users.flatten(), 0)
    }
}

/// The duration of one run of this program.
#[derive(Clone, Copy)]
struct Run {
    read: f64,
    plan: f64,
    /// In bytes.
    peak: u64,
}

impl Run {
    /// In a process of its own, so that the peak is its own.
    fn in_child(folder: &Path, rows: usize) -> Self {
        let own = std::env::current_exe().expect("this program");
        let output = output(
            Command::new(own)
                .args(["--once", &rows.to_string()])
                .arg(folder),
        );
        let mut figures = output.split_whitespace();
        let mut next = || figures.next().expect("three figures");
        Self {
            read: next().parse().expect("seconds"),
            plan: next().parse().expect("seconds"),
            peak: next().parse().expect("bytes"),
        }
    }

    /// The listing, then the roster, then the plan.
    fn once(folder: &Path, rows: usize) -> Self {
        let world = World::at(folder, rows);
        let raw = RawSettings::default();
        let settings = Settings::check(raw, KeySource::default()).expect("the defaults are valid");
        let (schema, memory) = (schema(), Memory::empty(chrono::Utc::now()));
        let observed = world.observe();
        assert_eq!(observed.users().count(), rows);

        let begun = Instant::now();
        let desired = roster::read(&settings.source, &world.roster, true, &schema);
        let desired = desired.expect("a roster without a mistake");
        let read = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let plan = Plan::new(&desired, &observed, &schema, &memory, &settings.policy);
        let plan_took = begun.elapsed().as_secs_f64();

        assert_eq!((desired.users.len(), desired.bad_rows.len()), (rows, 0));
        assert_eq!(plan.changes.len(), rows.div_ceil(DIFFERS));
        Self {
            read,
            plan: plan_took,
            peak: peak(),
        }
    }

    fn seconds(self) -> f64 {
        self.read + self.plan
    }
}

/// The most memory that this process had at once.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    1024 * kibibytes.expect("a peak").parse::<u64>().expect("a number")
}

/// The seconds that Python takes to read a roster, and do nothing with it.
fn dict_reader(roster: &Path) -> f64 {
    const SCRIPT: &str = "
import csv, sys, time
with open(sys.argv[1], newline='', encoding='utf-8') as file:
    begun = time.perf_counter()
    for row in csv.DictReader(file):
        pass
    print(time.perf_counter() - begun)
";
    let output = output(Command::new("python3").args(["-c", SCRIPT]).arg(roster));
    output.trim().parse().expect("seconds")
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("the program is there");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// All that is known of one size.
struct Measured {
    rows: usize,
    python: f64,
    best: Run,
    roster: u64,
    listing: u64,
    peak: u64,
}

impl Measured {
    fn of(folder: &Path, rows: usize) -> Self {
        let world = World::at(folder, rows);
        world.write(rows).expect("room for the files");
        let [roster, listing] = world.bytes(rows).expect("the files were written");
        // In turn, so that both meet the same other work on the machine.
        let pairs: Vec<_> = (0..REPETITIONS)
            .map(|_| (dict_reader(&world.roster), Run::in_child(folder, rows)))
            .collect();
        let runs = || pairs.iter().map(|(_, run)| *run);
        let best = runs().min_by(|a, b| a.seconds().total_cmp(&b.seconds()));
        Self {
            rows,
            python: pairs.iter().fold(f64::MAX, |best, (s, _)| best.min(*s)),
            best: best.expect("several repetitions"),
            roster,
            listing,
            peak: runs().map(|run| run.peak).max().unwrap_or(0),
        }
    }

    fn faster(&self) -> f64 {
        self.python / self.best.seconds()
    }

    fn memory(&self) -> f64 {
        self.peak as f64 / (self.roster + self.listing) as f64
    }

    /// How many times as long it takes as ten times fewer rows.
    fn growth(&self, before: Option<&Self>) -> Option<f64> {
        let before = before.filter(|before| before.rows * 10 == self.rows)?;
        Some(self.best.seconds() / before.best.seconds())
    }

    fn row(&self, before: Option<&Self>) -> String {
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let growth = self.growth(before);
        format!(
            "| {} | {:.1} | {:.3} | {:.3} | {:.3} | {:.3} | {:.1} × | {} | {:.1} | {:.0} | {:.2} |",
            self.rows,
            mebibytes(self.roster),
            self.python,
            self.best.read,
            self.best.plan,
            self.best.seconds(),
            self.faster(),
            growth.map_or("–".into(), |growth| format!("{growth:.1} ×")),
            mebibytes(self.listing),
            mebibytes(self.peak),
            self.memory(),
        )
    }

    /// The promises that are broken.
    fn broken(&self, before: Option<&Self>) -> Vec<String> {
        let rows = self.rows;
        let (faster, memory) = (self.faster(), self.memory());
        let slow = format!("{rows} rows: {faster:.2} times as fast as Python, not {FASTER}");
        let large = format!("{rows} rows: {memory:.2} times the bytes read, more than {MEMORY}");
        let growth = self.growth(before).filter(|growth| *growth > GROWTH);
        let steep =
            growth.map(|growth| format!("{rows} rows: {growth:.1} times as long as a tenth"));
        let slow = (rows >= MILLION && faster < FASTER).then_some(slow);
        let large = (memory > MEMORY).then_some(large);
        slow.into_iter().chain(large).chain(steep).collect()
    }
}

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [once, rows, folder] = &arguments[..]
        && once == "--once"
    {
        let run = Run::once(Path::new(folder), rows.parse().expect("a number"));
        println!("{} {} {}", run.read, run.plan, run.peak);
        return;
    }
    // cargo adds `--bench`.
    let asked: Vec<usize> = arguments.iter().filter_map(|a| a.parse().ok()).collect();
    let sizes = if asked.is_empty() { &SIZES[..] } else { &asked };
    let folder = tempfile::tempdir().expect("a temporary folder");
    println!(
        "| rows | roster, MiB | DictReader, s | read and check, s | plan, s | together, s | \
         faster | ten times the rows | listing, MiB | peak, MiB | peak / bytes read |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    let (mut before, mut broken) = (None, Vec::new());
    for rows in sizes {
        let measured = Measured::of(folder.path(), *rows);
        println!("{}", measured.row(before.as_ref()));
        broken.extend(measured.broken(before.as_ref()));
        before = Some(measured);
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
