//! Real terminals: the agent holds the master, the child gets the slave as its controlling terminal.

use std::os::fd::OwnedFd;

use rustix::fs::{Gid, Uid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::proto::Terminal;

/// Group `tty` in every distribution.
const TTY_GROUP: u32 = 5;
const ROWS: u32 = 24;
const COLUMNS: u32 = 80;

/// Master (non-blocking) and slave of a new terminal that belongs to `uid`.
pub fn open(terminal: &Terminal, uid: u32) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    // A user without /dev/tty rights could not open its own terminal again.
    let _ = rustix::fs::fchown(&slave, Some(Uid::from_raw(uid)), Some(Gid::from_raw(TTY_GROUP)));
    resize(&master, terminal.rows, terminal.columns)?;
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok((master, slave))
}

/// Zero means the usual size.
pub fn resize(master: &OwnedFd, rows: u32, columns: u32) -> rustix::io::Result<()> {
    let ws_row = if rows == 0 { ROWS } else { rows } as u16;
    let ws_col = if columns == 0 { COLUMNS } else { columns } as u16;
    tcsetwinsize(master, Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 })
}
