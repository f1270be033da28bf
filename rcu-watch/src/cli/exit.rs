//! How the process ends: from an [`Exit`], or from an error that came all the way up, to its exit code.

use std::process::ExitCode;

use rcu_watch_core::verdict::Exit;

use crate::session::refusal::is_unsupported;
use crate::sink::is_closed_pipe;

/// What an error that ended a command is to the caller.
#[must_use]
pub fn of_error(error: &anyhow::Error) -> Exit {
    if is_closed_pipe(error) {
        // Nobody heard the verdict, and none is known.
        Exit::Inconclusive
    } else if is_unsupported(error) {
        Exit::Unsupported
    } else {
        Exit::Error
    }
}

/// The process's own form of it.
#[must_use]
pub fn code(exit: Exit) -> ExitCode {
    ExitCode::from(exit.code())
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context as _;
    use rcu_watch_core::verdict::Unsupported;

    use super::*;

    #[test]
    fn a_closed_pipe_is_inconclusive() {
        let error =
            Err::<(), _>(io::Error::from(io::ErrorKind::BrokenPipe)).context("cannot write").unwrap_err();
        assert_eq!(of_error(&error), Exit::Inconclusive);
    }

    #[test]
    fn unsupported_is_found_under_any_context() {
        let error = anyhow::Error::new(Unsupported("no BTF".into())).context("cannot start");
        assert_eq!(of_error(&error).code(), 4);
        assert_eq!(of_error(&anyhow::anyhow!("other")).code(), 1);
    }
}
