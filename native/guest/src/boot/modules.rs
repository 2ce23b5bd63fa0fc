//! Kernel modules of a stock kernel: `/modules/NN-name.ko` in the initramfs, loaded in lexical order. A kernel of
//! our own has everything built in and brings none.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;

const FOLDER: &str = "/modules";

pub fn load_all() -> Result<(), String> {
    let Ok(entries) = fs::read_dir(FOLDER) else { return Ok(()) };
    let mut names: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        let path = Path::new(FOLDER).join(&name);
        load(&path).map_err(|e| format!("kernel module {} can't be loaded: {e}", name.to_string_lossy()))?;
        // The initramfs is memory.
        let _ = fs::remove_file(&path);
    }
    Ok(())
}

fn load(path: &Path) -> std::io::Result<()> {
    let file = File::open(path)?;
    // SAFETY: the file is open and the parameter string is a constant.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    let error = std::io::Error::last_os_error();
    // Built in, or loaded by another name.
    if result == 0 || error.raw_os_error() == Some(libc::EEXIST) { Ok(()) } else { Err(error) }
}
