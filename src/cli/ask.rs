//! Asks before what cannot be undone. Where there is no terminal nobody is asked: a flag must say it.

use std::io::{BufRead as _, IsTerminal as _};

use super::{Exit, Failure, output};

/// Has a word typed: `y` is typed too easily.
///
/// # Errors
/// There is no terminal, which `unasked` says with the flag to use; or another word was typed.
pub(super) fn ask(question: &str, word: &str, unasked: &str) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Exit::Usage.because(format!("without a terminal, {unasked}")));
    }
    output::note(question);
    let mut line = String::new();
    stdin.lock().read_line(&mut line).map_err(|error| Exit::Failed.because(format!("stdin: {error}")))?;
    if line.trim() == word { Ok(()) } else { Err(Exit::Failed.because("nothing was done")) }
}
