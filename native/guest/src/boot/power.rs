//! Switching the machine off.

use rustix::system::{RebootCommand, reboot};

/// Ends the machine at once, without a sync. A microVM has no ACPI: for the kernel "power off" would mean to
/// halt for ever. There the command line says how to reboot (`reboot=t`, `reboot=k`), and the VMM exits on it.
pub fn off(by_reboot: bool) -> ! {
    let command = if by_reboot { RebootCommand::Restart } else { RebootCommand::PowerOff };
    let _ = reboot(command);
    // Not allowed, so this is no PID 1 of a machine.
    std::process::exit(1)
}
