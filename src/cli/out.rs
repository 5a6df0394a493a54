//! Output of the commands. A closed pipe (`| head`) is not an error.

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use serde::Serialize;
use std::io::{self, BufRead, BufWriter, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether some output could not be written. A closed pipe does not count.
static INCOMPLETE: AtomicBool = AtomicBool::new(false);

/// Prints a result to standard output.
pub(super) fn result(text: &str) {
    let mut out = anstream::stdout().lock();
    note_failure(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Prints a document to standard output, piece by piece.
pub(super) fn json(document: &impl Serialize) {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let written = serde_json::to_writer_pretty(&mut out, document).map_err(io::Error::from);
    note_failure(
        written
            .and_then(|()| writeln!(out))
            .and_then(|()| out.flush()),
    );
}

/// Notes that standard output could not be written.
fn note_failure(written: io::Result<()>) {
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            INCOMPLETE.store(true, Ordering::Relaxed);
            problem(&format!("error: can't write to standard output: {error}"));
        }
        Ok(()) | Err(_) => {}
    }
}

/// Whether a write to standard output failed, so that the output is incomplete.
pub(super) fn is_incomplete() -> bool {
    INCOMPLETE.load(Ordering::Relaxed)
}

/// Prints a message line to standard error.
pub(super) fn note(line: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// Prints a line about a problem to standard error, in red if colours are supported.
pub(super) fn problem(line: &str) {
    let red = anstyle::AnsiColor::Red.on_default();
    let _ = writeln!(anstream::stderr().lock(), "{red}{line}{red:#}");
}

/// Prints a warning to standard error, in yellow if colours are supported.
pub(super) fn warning(line: &str) {
    let yellow = anstyle::AnsiColor::Yellow.on_default();
    let _ = writeln!(
        anstream::stderr().lock(),
        "{yellow}warning: {line}{yellow:#}"
    );
}

/// Prints text that is already formatted to standard error.
pub(super) fn diagnostics(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// Whether a prompt is possible: standard input is a terminal. Standard error may be redirected; the
/// prompt then goes to the controlling terminal.
pub(super) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && prompt_output().is_some()
}

/// The terminal for prompts.
fn prompt_output() -> Option<Box<dyn Write>> {
    if std::io::stderr().is_terminal() {
        return Some(Box::new(anstream::stderr()));
    }
    let terminal = std::fs::File::options().write(true).open("/dev/tty");
    Some(Box::new(terminal.ok()?))
}

/// Prompts for yes or no; the default is no.
pub(super) fn ask(question: &str) -> bool {
    let Some(mut terminal) = prompt_output() else {
        return false;
    };
    let _ = write!(terminal, "{question} [y/N] ").and_then(|()| terminal.flush());
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// Prompts on a thread of its own, so that the caller can stop waiting for the answer at a signal.
pub(super) async fn answer<T: Send + 'static>(
    prompt: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(prompt).await.ok()
}

/// Asks for a line; `None` at the end of input or without a terminal.
pub(super) async fn ask_line(question: String) -> Option<String> {
    answer(move || read_line(&question)).await?
}

fn read_line(question: &str) -> Option<String> {
    let mut terminal = prompt_output()?;
    let _ = write!(terminal, "{question} ").and_then(|()| terminal.flush());
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer).ok()?;
    (read > 0).then(|| answer.trim().to_owned())
}

/// Asks for a secret, which the terminal does not show. If the caller stops waiting, the terminal shows input again.
pub(super) async fn ask_secret(question: String) -> Option<SecretString> {
    let hidden = HiddenInput::begin().ok()?;
    let answer = ask_line(question).await.map(SecretString::from);
    drop(hidden);
    // The line break that was not shown either.
    note("");
    answer
}

/// The terminal shows no input while this exists.
struct HiddenInput(Termios);

impl HiddenInput {
    fn begin() -> rustix::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
