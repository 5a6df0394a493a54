//! A world with a daemon as a process.

use crate::browser::GENEROUS;
use crate::world::World;
use omni_user_sync::sandbox::Options;
use std::fmt::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PROGRAM: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../target/release/omni-user-sync"
);

pub const TOKEN: &str = "hunter2-hunter2-hunter2";

/// A program that is killed at the end.
pub struct Program(Child);

impl Program {
    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &id]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn free_port() -> u16 {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    taken.local_addr().expect("has one").port()
}

/// Waits until something listens there.
pub async fn listening(port: u16) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let trying = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let there = tokio::time::timeout(GENEROUS, trying).await;
    there.unwrap_or_else(|_| panic!("nothing listens on {address}"));
}

pub fn start(program: &mut Command) -> Program {
    let child = program.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Program(child.unwrap_or_else(|error| panic!("{program:?}: {error}; is it installed?")))
}

/// A roster over the mock server's users, which removes some of them and has one bad row.
pub fn roster(going: usize) -> String {
    let mut text = "op,email,display_name,region\n".to_owned();
    for number in 1..=30 {
        let op = if number <= going { "delete" } else { "upsert" };
        let op = if number == 30 { "upsrt" } else { op };
        writeln!(
            text,
            "{op},user{number:04}@example.com,Name {number},[north]"
        )
        .expect("memory");
    }
    text
}

/// A world with a daemon, and where its pages are.
pub async fn daemon() -> (World, Program, String) {
    let options = Options {
        users: 30,
        ..Options::default()
    };
    // The first roster renames all users.
    let world = World::with(options).await.set("policy.max_updates", "100%");
    world.roster(&roster(0));
    serve(world).await
}

/// Starts the daemon of a world, with its pages.
pub async fn serve(world: World) -> (World, Program, String) {
    let port = free_port();
    let token = world.folder.path().join("token");
    std::fs::write(&token, TOKEN).expect("written");
    let world = world
        .set("serve.listen", &format!("127.0.0.1:{port}"))
        .set("serve.admin_token_file", token.to_str().expect("text"))
        .set("source.poll_interval", "200ms");
    let daemon = start(
        Command::new(PROGRAM)
            .arg("run")
            .env_clear()
            .envs(world.variables()),
    );
    listening(port).await;
    let base = format!("http://127.0.0.1:{port}");
    (world, daemon, base)
}

/// Waits until a condition holds.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(GENEROUS, waiting).await;
    waited.unwrap_or_else(|_| panic!("never {what}"));
}
