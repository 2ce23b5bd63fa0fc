//! Extended attributes; a link at the path's end is followed.

use rustix::fs::{OFlags, XattrFlags};
use rustix::io::Errno;
use tonic::Status;

use super::paths;
use crate::proto::{SetXattrRequest, Xattr, XattrRequest, XattrResponse};
use crate::status::{from_errno, invalid, show};

/// Linux's own limits of a name, a value and a list of names.
const MAX_NAME_BYTES: usize = 255;
const MAX_VALUE_BYTES: usize = 64 << 10;
/// The whole answer stays below the contract's message limit.
const MAX_ANSWER_BYTES: usize = 900 << 10;

/// NOT_FOUND: no such attribute. RESOURCE_EXHAUSTED: all of them together are too large for one answer.
pub fn get(request: &XattrRequest) -> Result<XattrResponse, Status> {
    let file = paths::open(&request.path, OFlags::RDONLY)?;
    let failed = |errno: Errno| from_errno(errno, &format!("read attributes of {}", show(&request.path)));
    let value = |name: &str| {
        let mut value = vec![0; MAX_VALUE_BYTES];
        let size = rustix::fs::fgetxattr(&file, name, &mut value[..])?;
        value.truncate(size);
        Ok(Xattr { name: name.to_string(), value: value.into() })
    };
    if !request.name.is_empty() {
        check_name(&request.name)?;
        return Ok(XattrResponse { attributes: vec![value(&request.name).map_err(failed)?] });
    }
    let mut names = vec![0; MAX_VALUE_BYTES];
    let size = rustix::fs::flistxattr(&file, &mut names[..]).map_err(failed)?;
    let mut attributes = Vec::new();
    let mut bytes = 0;
    for name in names[..size].split(|b| *b == 0).filter_map(|name| std::str::from_utf8(name).ok()) {
        if !name.starts_with("user.") {
            continue;
        }
        match value(name) {
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => continue,
            attribute => attributes.push(attribute.map_err(failed)?),
        }
        bytes += attributes.last().map_or(0, |attribute| attribute.name.len() + attribute.value.len() + 16);
        if bytes > MAX_ANSWER_BYTES {
            return Err(Status::resource_exhausted("the attributes are too large for one answer"));
        }
    }
    Ok(XattrResponse { attributes })
}

pub fn set(request: &SetXattrRequest) -> Result<(), Status> {
    check_name(&request.name)?;
    if request.value.len() > MAX_VALUE_BYTES {
        return Err(invalid("the value is larger than 64 KiB"));
    }
    let file = paths::open(&request.path, OFlags::RDONLY)?;
    let result = if request.remove {
        rustix::fs::fremovexattr(&file, &request.name[..])
    } else {
        rustix::fs::fsetxattr(&file, &request.name[..], &request.value, XattrFlags::empty())
    };
    result.map_err(|errno| from_errno(errno, &format!("set an attribute of {}", show(&request.path))))
}

/// Only the user's own namespace: the others are the kernel's and the file system's (overlay's are in `trusted`), and
/// the thread keeps capabilities that the user has not.
fn check_name(name: &str) -> Result<(), Status> {
    let own = name.strip_prefix("user.").is_some_and(|rest| !rest.is_empty());
    if !own || name.len() > MAX_NAME_BYTES || name.contains('\0') {
        return Err(invalid("an attribute's name starts with `user.` and has at most 255 bytes"));
    }
    Ok(())
}
