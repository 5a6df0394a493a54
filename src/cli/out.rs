//! Where commands print. A reader that went away (`| head`) is no error.

use std::io::{BufRead, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether something could not be printed. A reader that has read enough is no such thing.
static CUT_OFF: AtomicBool = AtomicBool::new(false);

/// Prints what the command is for, to standard output.
pub(super) fn result(text: &str) {
    let mut out = anstream::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            CUT_OFF.store(true, Ordering::Relaxed);
            problem(&format!("error: standard output can't be written: {error}"));
        }
        Ok(()) | Err(_) => {}
    }
}

/// Whether what a command is for is not all there: half a roster is a wrong one.
pub(super) fn was_cut_off() -> bool {
    CUT_OFF.load(Ordering::Relaxed)
}

/// Says something about it, a line to standard error.
pub(super) fn note(line: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{line}");
}

/// Says what is wrong, a line to standard error, in red where colours are shown.
pub(super) fn problem(line: &str) {
    let red = anstyle::AnsiColor::Red.on_default();
    let _ = writeln!(anstream::stderr().lock(), "{red}{line}{red:#}");
}

/// Says what to look at, a line to standard error, in yellow where colours are shown.
pub(super) fn warning(line: &str) {
    let yellow = anstyle::AnsiColor::Yellow.on_default();
    let _ = writeln!(
        anstream::stderr().lock(),
        "{yellow}warning: {line}{yellow:#}"
    );
}

/// Says what has lines and colours of its own, to standard error.
pub(super) fn diagnostics(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// Whether a person sits there who can be asked. What is said may go elsewhere: the question goes to them.
pub(super) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && asked_on().is_some()
}

/// Where the person at standard input reads.
fn asked_on() -> Option<Box<dyn Write>> {
    if std::io::stderr().is_terminal() {
        return Some(Box::new(anstream::stderr()));
    }
    let terminal = std::fs::File::options().write(true).open("/dev/tty");
    Some(Box::new(terminal.ok()?))
}

/// Asks; anything but a clear yes is a no.
pub(super) fn ask(question: &str) -> bool {
    let Some(mut terminal) = asked_on() else {
        return false;
    };
    let _ = write!(terminal, "{question} [y/N] ").and_then(|()| terminal.flush());
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}
