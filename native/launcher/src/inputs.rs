//! Files that the VMM gets as descriptors, to read from: what takes no path in its jail.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Mode, OFlags, fstat};

use crate::document::Document;
use crate::failure::{At, Failure, Step};
use crate::sockets::out_of_the_way;

pub struct Input {
    pub fd: OwnedFd,
    pub target: i32,
}

pub fn open(document: &Document) -> Result<Vec<Input>, Failure> {
    document.inputs.iter().map(open_one).collect()
}

fn open_one(input: &crate::document::Input) -> Result<Input, Failure> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(&input.path, flags, Mode::empty()).at(Step::Inputs, input.path.display())?;
    let found = FileType::from_raw_mode(fstat(&file).at(Step::Inputs, input.path.display())?.st_mode);
    if found != FileType::RegularFile {
        return Err(Failure::new(Step::Inputs, format!("{} is a {found:?}", input.path.display())));
    }
    Ok(Input { fd: out_of_the_way(&file, Step::Inputs)?, target: input.fd })
}
