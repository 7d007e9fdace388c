//! The terminal that a person sits at: its modes and its size.

use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{
    LocalModes, OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::guard::{Guard, Leak, close_in_drop};
use crate::{Result, io, sys};

/// Rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Returns the size of a terminal; `None` where the descriptor is none or nobody knows.
pub fn size(fd: impl AsFd) -> Option<Size> {
    let size = tcgetwinsize(fd).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(Size {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Has standard output and standard error of this process go somewhere else.
pub fn redirect_output(to: impl AsFd) -> Result<()> {
    sys("dup2", "stdout", rustix::stdio::dup2_stdout(to.as_fd()))?;
    sys("dup2", "stderr", rustix::stdio::dup2_stderr(to.as_fd()))
}

/// Sets the size of a terminal; the processes in its foreground get `SIGWINCH`.
///
/// # Errors
///
/// Returns [`crate::Error::Sys`]: `ENOTTY` where the descriptor is no terminal.
pub fn set_size(fd: impl AsFd, size: Size) -> Result<()> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    sys("tcsetwinsize", "", tcsetwinsize(fd, size))
}

/// A terminal in another mode. Closing it restores what was before.
#[derive(Debug)]
pub struct TerminalMode {
    terminal: OwnedFd,
    before: Option<Termios>,
}

impl TerminalMode {
    /// Switches a terminal to raw mode: every key goes to the program, Ctrl-C as well.
    ///
    /// # Errors
    ///
    /// Returns [`crate::Error::Sys`]: `ENOTTY` where the descriptor is no terminal.
    pub fn raw(fd: impl AsFd) -> Result<Self> {
        Self::enter(fd, Termios::make_raw)
    }

    /// Has a terminal not show what is typed, but for the end of the line.
    pub fn silent(fd: impl AsFd) -> Result<Self> {
        Self::enter(fd, |mode| {
            mode.local_modes.remove(LocalModes::ECHO);
            mode.local_modes.insert(LocalModes::ECHONL);
        })
    }

    fn enter(fd: impl AsFd, change: impl Fn(&mut Termios)) -> Result<Self> {
        let terminal = io("dup", "", fd.as_fd().try_clone_to_owned())?;
        let before = sys("tcgetattr", "", tcgetattr(&terminal))?;
        let mut mode = before.clone();
        change(&mut mode);
        sys(
            "tcsetattr",
            "",
            tcsetattr(&terminal, OptionalActions::Now, &mode),
        )?;
        Ok(Self {
            terminal,
            before: Some(before),
        })
    }
}

impl Guard for TerminalMode {
    fn describe(&self) -> String {
        "the terminal's mode".to_owned()
    }

    fn close(&mut self) -> std::result::Result<(), Leak> {
        let Some(before) = &self.before else {
            return Ok(());
        };
        let restored = tcsetattr(&self.terminal, OptionalActions::Now, before);
        if let Err(error) = sys("tcsetattr", "", restored) {
            return Err(Leak {
                what: self.describe(),
                source: error,
            });
        }
        self.before = None;
        Ok(())
    }
}

impl Drop for TerminalMode {
    fn drop(&mut self) {
        close_in_drop(self);
    }
}
