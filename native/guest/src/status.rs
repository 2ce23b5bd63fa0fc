//! From errno to the gRPC statuses that `spec/guest.proto` promises.

use rustix::io::Errno;
use tonic::{Code, Status};

/// The status for a failed system call. `what` says what was tried: "open /a/b".
pub fn from_errno(errno: Errno, what: &str) -> Status {
    Status::new(code(errno), format!("{what}: {}", describe(errno)))
}

/// As `from_errno` for `std::io::Error`.
pub fn from_io(error: &std::io::Error, what: &str) -> Status {
    match Errno::from_io_error(error) {
        Some(errno) => from_errno(errno, what),
        None => Status::internal(format!("{what}: {error}")),
    }
}

pub fn invalid(message: impl Into<String>) -> Status {
    Status::invalid_argument(message)
}

/// A path or name for a message: readable, of bounded length.
pub fn show(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(200)];
    String::from_utf8_lossy(cut).chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn code(errno: Errno) -> Code {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::SRCH | Errno::NODATA | Errno::NODEV => Code::NotFound,
        Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::NOEXEC => Code::PermissionDenied,
        Errno::EXIST => Code::AlreadyExists,
        Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::FBIG => {
            Code::ResourceExhausted
        }
        Errno::INVAL | Errno::NAMETOOLONG | Errno::TOOBIG | Errno::RANGE => Code::InvalidArgument,
        Errno::ISDIR
        | Errno::BUSY
        | Errno::XDEV
        | Errno::TXTBSY
        | Errno::LOOP
        | Errno::NOTEMPTY
        | Errno::OPNOTSUPP
        | Errno::MLINK
        | Errno::NXIO => Code::FailedPrecondition,
        Errno::CONNREFUSED | Errno::NETUNREACH | Errno::HOSTUNREACH => Code::Unavailable,
        _ => Code::Internal,
    }
}

fn describe(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    // The library appends " (os error N)", which says nothing to a person.
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_and_missing_file_have_their_own_codes() {
        assert_eq!(from_errno(Errno::NOSPC, "write").code(), Code::ResourceExhausted);
        assert_eq!(from_errno(Errno::NOENT, "open /x").message(), "open /x: no such file or directory");
    }

    #[test]
    fn shown_names_are_bounded_and_printable() {
        assert_eq!(show(b"a\x1b[2J\nb"), "a?[2J?b");
        assert!(show(&[b'x'; 9000]).len() <= 200);
    }
}
