//! The serial console: a few lines of the boot contract, nothing that user code could multiply.

use std::io::Write;

/// Prints one line on the console. A console that is gone is no reason to stop.
pub fn line(text: &str) {
    // One write, so that a kernel message can't fall into the middle of it.
    let _ = std::io::stderr().write_all(format!("exai-guest: {text}\n").as_bytes());
}

/// The last line of a boot that can't go on.
pub fn fatal(text: &str) {
    line(&format!("fatal: {text}"));
}
