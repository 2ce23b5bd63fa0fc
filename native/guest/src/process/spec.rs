//! From a StartRequest to a program that the child can execute: limits, environment, PATH.

use std::ffi::CString;

use tonic::Status;

use super::child::Program;
use crate::proto::{EnvVar, StartRequest, Terminal};
use crate::status::invalid;
use crate::users::User;

const MAX_ARGUMENTS: usize = 4096;
const MAX_ARGUMENT_BYTES: usize = 1 << 20;
const MAX_TAG_BYTES: usize = 256;
const MAX_PATH_BYTES: usize = 4096;
const MAX_WINDOW: u32 = 4096;
/// Together with the program's name: execvp(3)'s own limit of what it tries.
const MAX_SEARCH: usize = 64;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Checks the request's fields that have limits. INVALID_ARGUMENT names the field.
pub fn check(request: &StartRequest) -> Result<(), Status> {
    let bytes: usize = request.argv.iter().map(|argument| argument.len() + 1).sum();
    let env_bytes: usize = request.env.iter().map(|var| var.name.len() + var.value.len() + 2).sum();
    let cwd = &request.cwd;
    let refusal = if request.argv.is_empty() || request.argv[0].is_empty() {
        "argv is empty"
    } else if request.argv.len() > MAX_ARGUMENTS || bytes > MAX_ARGUMENT_BYTES {
        "argv has more than 4096 entries or 1 MiB"
    } else if request.env.len() > MAX_ARGUMENTS || env_bytes > MAX_ARGUMENT_BYTES {
        "env has more than 4096 entries or 1 MiB"
    } else if request.env.iter().any(|var| var.name.is_empty() || var.name.contains(&b'=')) {
        "a name in env is empty or holds ="
    } else if !cwd.is_empty() && (cwd[0] != b'/' || cwd.len() > MAX_PATH_BYTES) {
        "cwd is not an absolute path of at most 4096 bytes"
    } else if request.tag.len() > MAX_TAG_BYTES {
        "tag is longer than 256 bytes"
    } else {
        return request.terminal.as_ref().map_or(Ok(()), check_terminal);
    };
    Err(invalid(refusal))
}

fn check_terminal(terminal: &Terminal) -> Result<(), Status> {
    check_window(terminal.rows, terminal.columns)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-+._".contains(&b);
    if terminal.term.len() > 64 || !terminal.term.bytes().all(plain) {
        return Err(invalid("term is not the name of a terminal"));
    }
    Ok(())
}

pub fn check_window(rows: u32, columns: u32) -> Result<(), Status> {
    if rows > MAX_WINDOW || columns > MAX_WINDOW {
        return Err(invalid("a terminal has at most 4096 rows and columns"));
    }
    Ok(())
}

/// The program of a checked request. INVALID_ARGUMENT: a NUL byte.
pub fn program(request: &StartRequest, user: &User) -> Result<Program, Status> {
    let env = environment(request, user);
    let path = env.iter().rev().find(|(name, _)| name == b"PATH").map_or(&[][..], |(_, value)| value);
    let candidates = search(&request.argv[0], path);
    let home = if std::path::Path::new(&user.home).is_dir() { user.home.as_bytes() } else { b"/" };
    let cwd = if request.cwd.is_empty() { home } else { &request.cwd };
    Ok(Program {
        candidates: candidates.into_iter().map(c_string).collect::<Result<_, _>>()?,
        argv: request.argv.iter().map(|argument| c_string(argument.to_vec())).collect::<Result<_, _>>()?,
        env: env
            .into_iter()
            .map(|(name, value)| c_string([&name[..], b"=", &value].concat()))
            .collect::<Result<_, _>>()?,
        cwd: c_string(cwd.to_vec())?,
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
    })
}

type Variable = (Vec<u8>, Vec<u8>);

/// The base, then the request's: of several with one name only the last stays.
fn environment(request: &StartRequest, user: &User) -> Vec<Variable> {
    let mut base = vec![
        ("PATH", PATH),
        ("HOME", &user.home),
        ("USER", &user.name),
        ("LOGNAME", &user.name),
        ("SHELL", &user.shell),
        ("LANG", "C.UTF-8"),
    ];
    if let Some(terminal) = &request.terminal {
        base.push(("TERM", if terminal.term.is_empty() { "xterm-256color" } else { &terminal.term }));
    }
    let base = base.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    let given = request.env.iter().map(|EnvVar { name, value }| (name.to_vec(), value.to_vec()));
    let mut places = std::collections::HashMap::new();
    let mut result: Vec<Variable> = Vec::new();
    for (name, value) in base.chain(given) {
        match places.get(&name) {
            Some(&place) => result[place] = (name, value),
            None => {
                places.insert(name.clone(), result.len());
                result.push((name, value));
            }
        }
    }
    result
}

/// What execvp(3) would try. Without a slash and without a PATH: nothing.
fn search(program: &[u8], path: &[u8]) -> Vec<Vec<u8>> {
    if program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    let folders = path.split(|b| *b == b':').filter(|folder| !folder.is_empty());
    folders.take(MAX_SEARCH).map(|folder| [folder, b"/", program].concat()).collect()
}

fn c_string(bytes: Vec<u8>) -> Result<CString, Status> {
    CString::new(bytes).map_err(|_| invalid("argv, env or cwd holds a NUL byte"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        let (name, home, shell) = ("ada".into(), "/nowhere".into(), "/bin/sh".into());
        User { name, uid: 1, gid: 1, groups: vec![1], home, shell }
    }

    fn var(name: &str, value: &str) -> EnvVar {
        EnvVar { name: name.to_string().into(), value: value.to_string().into() }
    }

    #[test]
    fn later_variables_win_and_path_is_the_process_own() {
        let env = vec![var("PATH", "/a:/b"), var("X", "1"), var("X", "2")];
        let program = program(&StartRequest { argv: vec!["ls".into()], env, ..Default::default() }, &user()).unwrap();
        assert_eq!(program.candidates, [CString::from(c"/a/ls"), c"/b/ls".into()]);
        let env: Vec<&str> = program.env.iter().map(|v| v.to_str().unwrap()).collect();
        assert!(env.contains(&"HOME=/nowhere") && env.contains(&"X=2") && !env.contains(&"X=1"));
        assert_eq!(program.cwd.as_c_str(), c"/");
    }

    #[test]
    fn limits_are_refused() {
        let start = |change: fn(&mut StartRequest)| {
            let mut request = StartRequest { argv: vec!["x".into()], ..Default::default() };
            change(&mut request);
            check(&request).and_then(|()| program(&request, &user()).map(drop))
        };
        assert!(start(|_| ()).is_ok());
        assert!(start(|r| r.argv.clear()).is_err());
        assert!(start(|r| r.argv = vec!["a\0b".into()]).is_err());
        assert!(start(|r| r.argv = vec!["a".into(); 4097]).is_err());
        assert!(start(|r| r.argv.push(vec![b'x'; 1 << 20].into())).is_err());
        assert!(start(|r| r.env = vec![var("A=B", "")]).is_err());
        assert!(start(|r| r.cwd = "tmp".into()).is_err());
        assert!(start(|r| r.tag = "x".repeat(257)).is_err());
        assert!(start(|r| r.terminal = Some(Terminal { rows: 5000, columns: 1, term: String::new() })).is_err());
    }
}
