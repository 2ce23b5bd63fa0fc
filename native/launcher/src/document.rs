//! The one input of `run`: a JSON document on standard input. Unknown members are refused.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::failure::{At, Failure, Step};

const MAX_BYTES: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Document {
    /// Written into the status file, so that its reader knows which launch it tells of.
    pub tag: String,
    /// Folder of an existing cgroup v2.
    pub cgroup: Option<PathBuf>,
    /// File of an existing network namespace.
    pub netns: Option<PathBuf>,
    pub cpuset: Option<Vec<u16>>,
    pub uid: u32,
    pub gid: u32,
    /// The program; seen at the same path in the jail.
    pub vmm: PathBuf,
    /// Without the program's name.
    pub argv: Vec<String>,
    pub binds: Vec<Bind>,
    pub devices: Vec<Device>,
    /// Bound read-only; symbolic links (a merged /usr) are made again, missing ones left out.
    pub system_folders: Vec<PathBuf>,
    pub sockets: Vec<Socket>,
    /// A folder in the jail that the VMM may fill, in memory and small: for its sockets and FIFOs.
    pub work_folder: Option<PathBuf>,
    /// Sockets of the list above that the VMM does not get: the keeper joins them with one in the jail.
    #[serde(default)]
    pub relays: Vec<Relay>,
    /// Small files of the jail, read-only.
    #[serde(default)]
    pub texts: Vec<Text>,
    /// FIFOs of the jail, and where what the VMM writes to them goes.
    #[serde(default)]
    pub fifos: Vec<Fifo>,
    /// Empty folders of the jail, where a running VMM may be given a volume.
    #[serde(default)]
    pub mount_points: Vec<PathBuf>,
    /// Files that the VMM gets as descriptors, to read from.
    #[serde(default)]
    pub inputs: Vec<Input>,
    pub console: OwnedLog,
    pub stderr_log: Log,
    pub status_file: PathBuf,
    pub limits: Limits,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Bind {
    /// A regular file.
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum Device {
    #[serde(rename = "/dev/kvm")]
    Kvm,
}

/// A listening UNIX socket that the VMM gets as descriptor `fd`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    pub fd: i32,
    pub path: PathBuf,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// A regular file that the VMM gets as descriptor `fd`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub fd: i32,
    pub path: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    pub fd: i32,
    /// Below the work folder.
    pub path: PathBuf,
    pub kind: RelayKind,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum RelayKind {
    /// The VMM connects to `path`.
    Accept,
    /// The VMM listens at `path`.
    Dial,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    pub target: PathBuf,
    pub content: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fifo {
    /// Below the work folder.
    pub path: PathBuf,
    pub log: Log,
}

/// A log in a folder of somebody who is not trusted: it is made with that one's rights.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OwnedLog {
    pub path: PathBuf,
    pub uid: u32,
    pub gid: u32,
    pub max_bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Log {
    pub path: PathBuf,
    pub max_bytes: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    pub nofile: u64,
    pub fsize_bytes: u64,
    pub core: u64,
    pub memlock_bytes: u64,
    /// Processes and threads of the uid, the launcher among them.
    pub nproc: u64,
}

pub fn read(input: impl Read) -> Result<Document, Failure> {
    let mut text = String::new();
    input.take(MAX_BYTES + 1).read_to_string(&mut text).at(Step::Document, "read")?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Failure::new(Step::Document, "the document is longer than 1 MiB"));
    }
    let document: Document = serde_json::from_str(&text).at(Step::Document, "parse")?;
    document.check().map_err(|error| Failure::new(Step::Document, error))?;
    Ok(document)
}

impl Document {
    fn check(&self) -> Result<(), String> {
        // -1 means "no change" to setresuid(2); 0 would keep every privilege.
        if [self.uid, self.gid].iter().any(|id| *id == 0 || *id == u32::MAX) {
            return Err("uid and gid must be neither 0 nor -1".into());
        }
        let binds = self.binds.iter().flat_map(|bind| [&bind.source, &bind.target]);
        let paths = [&self.vmm, &self.status_file, &self.console.path, &self.stderr_log.path];
        let optional = self.cgroup.iter().chain(&self.netns);
        let all = paths.into_iter().chain(binds).chain(optional).chain(&self.system_folders);
        let made = self.texts.iter().map(|text| &text.target).chain(&self.work_folder).chain(&self.mount_points);
        let made = made.chain(self.inputs.iter().map(|input| &input.path));
        let logs = self.fifos.iter().map(|fifo| &fifo.log);
        let all = all.chain(made).chain(logs.clone().map(|log| &log.path));
        for path in all.chain(self.sockets.iter().map(|socket| &socket.path)) {
            plain_absolute(path)?;
        }
        for path in self.relays.iter().map(|relay| &relay.path).chain(self.fifos.iter().map(|fifo| &fifo.path)) {
            plain_absolute(path)?;
            if path.parent() != self.work_folder.as_deref() {
                return Err(format!("'{}' is not in the work folder", path.display()));
            }
        }
        if self.fifos.len() > 4 || self.texts.iter().map(|text| text.content.len()).sum::<usize>() > 128 << 10 {
            return Err("at most 4 FIFOs, and 128 KiB of texts".into());
        }
        let descriptors = self.sockets.iter().map(|socket| socket.fd).chain(self.inputs.iter().map(|input| input.fd));
        for fd in descriptors.clone() {
            if !(3..=60).contains(&fd) || descriptors.clone().filter(|other| *other == fd).count() != 1 {
                return Err(format!("descriptor {fd} must be 3 to 60 and given once"));
            }
        }
        if self.sockets.iter().any(|socket| socket.mode > 0o777) {
            return Err("a socket's mode is at most 777".into());
        }
        let bytes = [self.console.max_bytes, self.stderr_log.max_bytes];
        for bytes in bytes.into_iter().chain(logs.map(|log| log.max_bytes)) {
            if !(8192..=1 << 30).contains(&bytes) {
                return Err("a log has 8 KiB to 1 GiB".into());
            }
        }
        if self.tag.len() > 64 {
            return Err("a tag has at most 64 bytes".into());
        }
        if self.argv.iter().any(|argument| argument.contains('\0')) {
            return Err("an argument contains a NUL".into());
        }
        Ok(())
    }
}

/// Absolute, not `/` itself, and without `..`: what is written is what is meant.
pub fn plain_absolute(path: &Path) -> Result<(), String> {
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if path.is_absolute() && path.file_name().is_some() && path.components().all(plain) {
        return Ok(());
    }
    Err(format!("'{}' is not a plain absolute path", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> serde_json::Value {
        serde_json::json!({
            "tag": "t", "cgroup": null, "netns": null, "cpuset": [0], "uid": 5, "gid": 5, "vmm": "/usr/bin/true", "argv": [],
            "binds": [{"source": "/a", "target": "/vm/a", "readOnly": true}], "devices": ["/dev/kvm"],
            "systemFolders": ["/usr"], "sockets": [{"fd": 10, "path": "/s", "uid": 1, "gid": 1, "mode": 0o600}],
            "workFolder": "/run", "relays": [{"fd": 10, "path": "/run/a.sock", "kind": "dial"}],
            "texts": [{"target": "/vm/config", "content": "{}"}], "fifos": [{"path": "/run/log", "log": {"path": "/l", "maxBytes": 65536}}],
            "mountPoints": ["/snap"], "inputs": [{"fd": 12, "path": "/i"}],
            "console": {"path": "/c", "uid": 1, "gid": 1, "maxBytes": 65536},
            "stderrLog": {"path": "/e", "maxBytes": 65536}, "statusFile": "/st",
            "limits": {"nofile": 64, "fsizeBytes": 1, "core": 0, "memlockBytes": 0, "nproc": 9}
        })
    }

    fn refused(pointer: &str, value: serde_json::Value) -> String {
        let mut document = sample();
        *document.pointer_mut(pointer).expect("a member") = value;
        let failure = read(document.to_string().as_bytes()).expect_err(pointer);
        assert_eq!(failure.step, Step::Document);
        failure.error
    }

    #[test]
    fn takes_the_sample() {
        let document = read(sample().to_string().as_bytes()).expect("the sample is valid");
        assert_eq!(document.devices, [Device::Kvm]);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let mut document = sample();
        document["shell"] = "sh".into();
        assert!(read(document.to_string().as_bytes()).expect_err("unknown").error.contains("shell"));
        assert!(refused("/devices/0", "/dev/vda".into()).contains("/dev/vda"));
    }

    #[test]
    fn refuses_root_and_paths_that_climb() {
        refused("/uid", 0.into());
        refused("/gid", u32::MAX.into());
        refused("/binds/0/source", "/vm/../etc/shadow".into());
        refused("/binds/0/target", "etc".into());
        refused("/statusFile", "/".into());
        refused("/sockets/0/fd", 2.into());
        refused("/argv", serde_json::json!(["a\0b"]));
        refused("/console/maxBytes", 1.into());
        refused("/relays/0/path", "/vm/a.sock".into());
        refused("/fifos/0/path", "/run/../log".into());
        refused("/fifos/0/log/maxBytes", 1.into());
        refused("/texts/0/content", "x".repeat(129 << 10).into());
        refused("/workFolder", serde_json::Value::Null);
        refused("/mountPoints/0", "/".into());
        refused("/inputs/0/fd", 10.into());
        refused("/inputs/0/path", "/a/../i".into());
    }

    #[test]
    fn refuses_a_long_document() {
        let long = " ".repeat(MAX_BYTES as usize + 1);
        assert!(read(long.as_bytes()).expect_err("too long").error.contains("1 MiB"));
    }
}
