//! The program as a process whose memory is watched.

use super::world::{GENEROUS, peak};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

/// The longest that anything here may take before it is taken to hang.
const HANGS: Duration = GENEROUS.saturating_mul(4);

/// The API key in a [`Location`].
pub(crate) const KEY: &str = "hostile-key";

/// A command that ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
    /// The most memory that it had, in MiB.
    pub(crate) memory: u64,
}

impl Ended {
    /// All that it said.
    pub(crate) fn said(&self) -> String {
        format!("{}{}", String::from_utf8_lossy(&self.out), self.err)
    }
}

/// A folder with a roster and settings for a server, and nothing else of this process's environment.
pub(crate) struct Location {
    pub(crate) folder: TempDir,
    variables: Vec<(String, String)>,
}

impl Location {
    pub(crate) fn new(url: &str, roster: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("users.csv"), roster).expect("written");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let variables = [
            ("OMNI_BASE_URL", url.to_owned()),
            ("OMNI_API_KEY", KEY.to_owned()),
            ("OMNI_USER_SYNC__OMNI__TIMEOUT", "3s".to_owned()),
            // So that nothing waits for its turn.
            (
                "OMNI_USER_SYNC__OMNI__REQUESTS_PER_MINUTE",
                "1000000".to_owned(),
            ),
            ("OMNI_USER_SYNC__SOURCE__PATH", path("users.csv")),
            ("OMNI_USER_SYNC__SOURCE__SETTLE", "0s".to_owned()),
            ("OMNI_USER_SYNC__STATE__DIR", path("state")),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        Self {
            folder,
            variables: variables.into(),
        }
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        let mut child = Command::new(env!("CARGO_BIN_EXE_omni-user-sync"))
            .args(arguments)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it runs");
        let status = format!("/proc/{}/status", child.id().expect("it has one"));
        let mut memory = 0;
        let (mut out, mut err) = (Vec::new(), String::new());
        let mut streams = (
            child.stdout.take().expect("one"),
            child.stderr.take().expect("one"),
        );
        let reading = async {
            let (out, err) = tokio::join!(
                streams.0.read_to_end(&mut out),
                streams.1.read_to_string(&mut err)
            );
            out.and(err).expect("is read");
        };
        let watching = async {
            loop {
                // A process that has ended has none.
                let text = std::fs::read_to_string(&status).unwrap_or_default();
                if text.contains("VmHWM") {
                    memory = peak(&text);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            read = timeout(HANGS, reading) => read.expect("it ends"),
            () = watching => {}
        }
        let status = timeout(GENEROUS, child.wait()).await.expect("it ends");
        Ended {
            code: status.expect("it ran").code().unwrap_or(-1),
            out,
            err,
            memory,
        }
    }
}
