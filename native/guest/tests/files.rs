//! The Files service against a real file system.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use bytes::Bytes;
use common::{Client, Folder, Guest};
use exai_guest::proto::tree_frame::Frame;
use exai_guest::proto::{
    FileContext, FileKind, MkdirRequest, PathRequest, ReadRequest, RemoveRequest, RenameRequest, SetXattrRequest,
    TreeEntry, TreeFrame, TreeRoot, TreeSummary, WatchRequest, WriteOpen, WriteRequest, XattrRequest, watch_event,
    write_request,
};
use tokio::test;
use tonic::{Code, Status};

fn root() -> Option<FileContext> {
    user("root")
}

fn user(name: &str) -> Option<FileContext> {
    Some(FileContext { user: name.into() })
}

fn path(path: Bytes) -> PathRequest {
    PathRequest { path, context: root() }
}

async fn write(client: &mut Client, open: WriteOpen, data: &[&str]) -> Result<u64, Status> {
    let data = data.iter().map(|data| write_request::Frame::Data(data.to_string().into()));
    let frames: Vec<_> = std::iter::once(write_request::Frame::Open(open)).chain(data).collect();
    let frames = frames.into_iter().map(|frame| WriteRequest { frame: Some(frame) });
    let written = client.files.write(tokio_stream::iter(frames)).await?;
    Ok(written.into_inner().size_bytes)
}

async fn read(client: &mut Client, request: ReadRequest) -> Result<Vec<u8>, Status> {
    let mut stream = client.files.read(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.message().await? {
        bytes.extend_from_slice(&chunk.data);
    }
    Ok(bytes)
}

#[test]
async fn write_read_stat_and_replace() {
    let (mut client, folder) = (Guest::start().client().await, Folder::new());
    let target = folder.bytes("a/b/file");
    let open = WriteOpen { path: target.clone(), context: root(), mode: 0o640, mtime_ns: 5, ..Default::default() };
    let orphan = write(&mut client, open.clone(), &["x"]).await.unwrap_err();
    assert_eq!(orphan.code(), Code::NotFound);
    let open = WriteOpen { parents: true, ..open };
    assert_eq!(write(&mut client, open.clone(), &["hello ", "world"]).await.unwrap(), 11);
    let stat = client.files.stat(path(target.clone())).await.unwrap().into_inner();
    assert_eq!((stat.mode, stat.mtime_ns, stat.size_bytes, stat.kind()), (0o640, 5, 11, FileKind::File));
    let request = ReadRequest { path: target.clone(), context: root(), offset: 4, length: 3 };
    assert_eq!(read(&mut client, request).await.unwrap(), b"o w");
    assert_eq!(write(&mut client, open, &[]).await.unwrap(), 0);
    assert_eq!(fs::read_dir(folder.at("a/b")).unwrap().count(), 1);
}

#[test]
async fn a_broken_write_leaves_the_old_file_and_nothing_else() {
    let (mut client, folder) = (Guest::start().client().await, Folder::new());
    fs::write(folder.at("file"), "old").unwrap();
    let open = WriteOpen { path: folder.bytes("file"), context: root(), ..Default::default() };
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let writing = tokio::spawn(async move { client.files.write(stream).await.map(drop) });
    let frame = |frame| WriteRequest { frame: Some(frame) };
    sender.send(frame(write_request::Frame::Open(open))).await.unwrap();
    sender.send(frame(write_request::Frame::Data(vec![b'x'; 60000].into()))).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    writing.abort();
    for _ in 0..100 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        if fs::read_dir(folder.path()).unwrap().count() == 1 {
            break;
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(fs::read(folder.at("file")).unwrap() == b"old");
}

#[test]
async fn a_full_disk_is_resource_exhausted_and_leaves_nothing() {
    let (mut client, folder) = (Guest::start().client().await, Folder::new());
    let mount = Mount::tmpfs(&folder, 1 << 20);
    let open = WriteOpen { path: folder.bytes("big"), context: root(), ..Default::default() };
    let chunk = "x".repeat(60000);
    let full = write(&mut client, open.clone(), &[&chunk[..]; 40]).await.unwrap_err();
    assert_eq!(full.code(), Code::ResourceExhausted, "{full}");
    let early = write(&mut client, WriteOpen { size_bytes: 2 << 20, ..open }, &[]).await.unwrap_err();
    assert_eq!(early.code(), Code::ResourceExhausted, "{early}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    drop(mount);
}

struct Mount(std::path::PathBuf);

impl Mount {
    fn tmpfs(folder: &Folder, bytes: u32) -> Self {
        let data = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", folder.path(), "tmpfs", flags, data.as_c_str()).unwrap();
        Mount(folder.path().into())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[test]
async fn operations_have_the_users_rights_and_no_others() {
    let (mut client, folder) = (Guest::start().client().await, Folder::new());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.at("secret"), "s").unwrap();
    fs::set_permissions(folder.at("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let request = ReadRequest { path: folder.bytes("secret"), context: user("4321"), ..Default::default() };
    assert_eq!(read(&mut client, request).await.unwrap_err().code(), Code::PermissionDenied);
    let open = WriteOpen { path: folder.bytes("mine"), context: user("4321"), ..Default::default() };
    assert_eq!(write(&mut client, open.clone(), &["x"]).await.unwrap_err().code(), Code::PermissionDenied);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(write(&mut client, open, &["x"]).await.unwrap(), 1);
    let made = fs::metadata(folder.at("mine")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o7777), (4321, 4321, 0o644));
    // The threads go back to being root's.
    let request = ReadRequest { path: folder.bytes("secret"), context: root(), ..Default::default() };
    assert_eq!(read(&mut client, request).await.unwrap(), b"s");
}

#[test]
async fn nothing_but_regular_files_is_read() {
    let (mut client, folder) = (Guest::start().client().await, Folder::new());
    let fifo = folder.at("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    symlink("/proc/self/fd/0", folder.at("magic")).unwrap();
    for name in ["fifo", "magic"] {
        let request = ReadRequest { path: folder.bytes(name), context: root(), ..Default::default() };
        let code = read(&mut client, request).await.unwrap_err().code();
        assert_eq!(code, Code::FailedPrecondition, "{name}");
    }
    let relative = ReadRequest { path: "etc/passwd".into(), context: root(), ..Default::default() };
    assert_eq!(read(&mut client, relative).await.unwrap_err().code(), Code::InvalidArgument);
}

#[test]
async fn folders_names_and_attributes() {
    let (mut client, folder) = (Guest::start().client().await, Folder::new());
    let mkdir = MkdirRequest { path: folder.bytes("d/e"), context: root(), mode: 0o770, parents: true };
    assert_eq!(client.files.mkdir(mkdir.clone()).await.unwrap().into_inner().mode, 0o770);
    client.files.mkdir(mkdir.clone()).await.unwrap();
    let again = MkdirRequest { parents: false, ..mkdir };
    assert_eq!(client.files.mkdir(again).await.unwrap_err().code(), Code::AlreadyExists);
    fs::write(folder.at("d/e/f"), "1").unwrap();
    symlink("f", folder.at("d/e/l")).unwrap();
    let mut list = client.files.list(path(folder.bytes("d/e"))).await.unwrap().into_inner();
    let mut names = Vec::new();
    while let Some(info) = list.message().await.unwrap() {
        names.push((info.name.to_vec(), info.kind(), info.link_target.to_vec()));
    }
    names.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(names[0], (b"f".to_vec(), FileKind::File, Vec::new()));
    assert_eq!(names[1], (b"l".to_vec(), FileKind::Symlink, b"f".to_vec()));
    let rename = RenameRequest { from: folder.bytes("d/e/f"), to: folder.bytes("d/g"), context: root() };
    client.files.rename(rename).await.unwrap();
    let remove = |name: &str, recursive| RemoveRequest { path: folder.bytes(name), context: root(), recursive };
    let full = client.files.remove(remove("d", false)).await.unwrap_err();
    assert_eq!(full.code(), Code::FailedPrecondition, "{full}");
    client.files.remove(remove("d", true)).await.unwrap();
    assert!(!folder.at("d").exists());
    assert_eq!(client.files.remove(remove("d", true)).await.unwrap_err().code(), Code::NotFound);
    let whole = RemoveRequest { path: "/".into(), context: root(), recursive: true };
    assert_eq!(client.files.remove(whole).await.unwrap_err().code(), Code::InvalidArgument);

    fs::write(folder.at("x"), "1").unwrap();
    let set = |name: &str, remove| SetXattrRequest {
        path: folder.bytes("x"),
        context: root(),
        name: name.into(),
        value: "v".into(),
        remove,
    };
    client.files.set_xattr(set("user.k", false)).await.unwrap();
    assert_eq!(client.files.set_xattr(set("trusted.k", false)).await.unwrap_err().code(), Code::InvalidArgument);
    let get = |name: &str| XattrRequest { path: folder.bytes("x"), context: root(), name: name.into() };
    let all = client.files.get_xattr(get("")).await.unwrap().into_inner().attributes;
    assert_eq!((all.len(), &all[0].name[..], &all[0].value[..]), (1, "user.k", &b"v"[..]));
    client.files.set_xattr(set("user.k", true)).await.unwrap();
    assert_eq!(client.files.get_xattr(get("user.k")).await.unwrap_err().code(), Code::NotFound);
}

async fn read_tree(client: &mut Client, target: Bytes) -> Result<Vec<Frame>, Status> {
    let mut stream = client.files.read_tree(path(target)).await?.into_inner();
    let mut frames = Vec::new();
    while let Some(frame) = stream.message().await? {
        frames.push(frame.frame.unwrap());
    }
    Ok(frames)
}

async fn write_tree(client: &mut Client, target: Bytes, frames: Vec<Frame>) -> Result<TreeSummary, Status> {
    let open = Frame::Root(TreeRoot { path: target, context: root(), size_bytes: 0 });
    let frames = std::iter::once(open).chain(frames).map(|frame| TreeFrame { frame: Some(frame) });
    let frames: Vec<_> = frames.collect();
    Ok(client.files.write_tree(tokio_stream::iter(frames)).await?.into_inner())
}

#[test]
async fn a_tree_survives_the_way_out_and_in() {
    let (mut client, folder) = (Guest::start().client().await, Folder::new());
    fs::create_dir_all(folder.at("from/sub/locked")).unwrap();
    fs::write(folder.at("from/empty"), "").unwrap();
    fs::write(folder.at("from/sub/big"), vec![7; 200_000]).unwrap();
    fs::write(folder.at("from/sub/locked/in"), "x").unwrap();
    fs::set_permissions(folder.at("from/sub/big"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::set_permissions(folder.at("from/sub/locked"), fs::Permissions::from_mode(0o555)).unwrap();
    symlink("../empty", folder.at("from/sub/link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.at("from/fifo"), rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    let frames = read_tree(&mut client, folder.bytes("from")).await.unwrap();
    let expected = TreeSummary { files: 3, directories: 3, links: 1, bytes: 200_001, skipped: 1 };
    assert_eq!(frames.last(), Some(&Frame::End(expected)));
    let got = write_tree(&mut client, folder.bytes("deep/to"), frames.clone()).await.unwrap();
    assert_eq!(got, TreeSummary { skipped: 0, ..expected });
    let copy = folder.at("deep/to");
    assert!(fs::read(copy.join("sub/big")).unwrap() == vec![7; 200_000]);
    let (a, b) = (fs::metadata(folder.at("from/sub/big")).unwrap(), fs::metadata(copy.join("sub/big")).unwrap());
    assert_eq!((a.mode(), a.mtime(), a.mtime_nsec()), (b.mode(), b.mtime(), b.mtime_nsec()));
    let (a, b) = (fs::metadata(folder.at("from/sub")).unwrap(), fs::metadata(copy.join("sub")).unwrap());
    assert_eq!((a.mode(), a.mtime_nsec()), (b.mode(), b.mtime_nsec()));
    assert_eq!(fs::metadata(copy.join("sub/locked")).unwrap().mode() & 0o7777, 0o555);
    assert_eq!(fs::read_link(copy.join("sub/link")).unwrap().to_str(), Some("../empty"));
    // Again over what is there, and a single file by the entry "".
    write_tree(&mut client, folder.bytes("deep/to"), frames).await.unwrap();
    let one = read_tree(&mut client, folder.bytes("from/sub/locked/in")).await.unwrap();
    write_tree(&mut client, folder.bytes("one"), one).await.unwrap();
    assert_eq!(fs::read(folder.at("one")).unwrap(), b"x");
}

fn entry(path: &str, kind: FileKind, size_bytes: u64, link_target: &str) -> Frame {
    let (path, link_target) = (path.to_string().into(), link_target.to_string().into());
    Frame::Entry(TreeEntry { path, kind: kind.into(), mode: 0o644, size_bytes, mtime_ns: 0, link_target })
}

#[test]
async fn a_tree_never_leaves_its_root() {
    let (mut client, folder) = (Guest::start().client().await, Folder::new());
    fs::create_dir_all(folder.at("outside")).unwrap();
    fs::create_dir_all(folder.at("to")).unwrap();
    symlink("../outside", folder.at("to/planted")).unwrap();
    let file =
        |path: &str| vec![entry(path, FileKind::File, 1, ""), Frame::Data("x".into()), Frame::End(Default::default())];
    let link = |path: &str, to: &str| vec![entry(path, FileKind::Symlink, 0, to), Frame::End(Default::default())];
    let cases = [
        file("../outside/a"),
        file("/outside/a"),
        file("a/./b"),
        file("planted/a"),
        file("planted/../a"),
        file("missing/a"),
        link("l", "../outside"),
        link("l", "/etc"),
        link("l", "a/../../outside"),
        [vec![entry("l", FileKind::Symlink, 0, "planted")], file("l/a")].concat(),
        vec![entry("dev", FileKind::Other, 0, ""), Frame::End(Default::default())],
        vec![entry("a", FileKind::File, 2, ""), Frame::Data("x".into()), Frame::End(Default::default())],
        vec![entry("a", FileKind::File, 0, ""), Frame::Data("x".into()), Frame::End(Default::default())],
        vec![Frame::Data("x".into()), Frame::End(Default::default())],
    ];
    for frames in cases {
        let refused = write_tree(&mut client, folder.bytes("to"), frames.clone()).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{frames:?}");
    }
    assert_eq!(fs::read_dir(folder.at("outside")).unwrap().count(), 0);
    let names: Vec<_> = fs::read_dir(folder.at("to")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| name == "planted" || name == "l"), "{names:?}");
    let truncated = vec![entry("a", FileKind::File, 1, ""), Frame::Data("x".into())];
    let refused = write_tree(&mut client, folder.bytes("to"), truncated).await.unwrap_err();
    assert_eq!(refused.code(), Code::DataLoss);
    let wrong = TreeSummary { files: 2, bytes: 1, ..Default::default() };
    let lying = vec![entry("a", FileKind::File, 1, ""), Frame::Data("x".into()), Frame::End(wrong)];
    assert_eq!(write_tree(&mut client, folder.bytes("to"), lying).await.unwrap_err().code(), Code::DataLoss);
}

#[test]
async fn a_watch_reports_a_whole_tree() {
    use watch_event::Kind;
    let (mut client, folder) = (Guest::start().client().await, Folder::new());
    fs::create_dir_all(folder.at("a/b")).unwrap();
    let request = WatchRequest { path: folder.bytes(""), context: root(), recursive: true };
    let mut stream = client.files.watch(request).await.unwrap().into_inner();
    let mut next = async || {
        let event = tokio::time::timeout(std::time::Duration::from_secs(5), stream.message()).await;
        let event = event.expect("an event in time").unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (event.kind(), text(&event.path), text(&event.moved_to))
    };
    let event = |kind, path: &str, to: &str| (kind, path.to_string(), to.to_string());
    assert_eq!(next().await, event(Kind::Ready, "", ""));
    fs::write(folder.at("a/b/f"), "1").unwrap();
    assert_eq!(next().await, event(Kind::Created, "a/b/f", ""));
    assert_eq!(next().await, event(Kind::Modified, "a/b/f", ""));
    fs::rename(folder.at("a/b"), folder.at("c")).unwrap();
    assert_eq!(next().await, event(Kind::Moved, "a/b", "c"));
    fs::remove_file(folder.at("c/f")).unwrap();
    let mut seen = next().await;
    while seen.0 == Kind::Attributes || seen == event(Kind::Removed, "c", "") {
        seen = next().await;
    }
    assert_eq!(seen, event(Kind::Removed, "c/f", ""));
    fs::create_dir_all(folder.at("new/deep")).unwrap();
    fs::write(folder.at("new/deep/g"), "").unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&event(Kind::Created, "new/deep/g", "")) {
        seen.push(next().await);
    }
    assert!(seen.contains(&event(Kind::Created, "new", "")) && seen.contains(&event(Kind::Created, "new/deep", "")));
}
