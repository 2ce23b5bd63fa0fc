//! Which names and link targets a tree that is written may hold. The kernel enforces the same once more when the
//! parent is opened (RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS); this says it before anything is written.

use tonic::Status;

use super::edit::MAX_DEPTH;
use super::paths::MAX_PATH_BYTES;
use crate::status::{invalid, show};

const MAX_NAME_BYTES: usize = 255;

/// The parts of an entry's path; none for the root. INVALID_ARGUMENT: absolute, `.`, `..`, empty parts, NUL, too long
/// or too deep.
pub fn parts(path: &[u8]) -> Result<Vec<&[u8]>, Status> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    let bad = |part: &&[u8]| part.is_empty() || *part == b"." || *part == b".." || part.len() > MAX_NAME_BYTES;
    if path.len() > MAX_PATH_BYTES || path.contains(&0) || parts.len() > MAX_DEPTH || parts.iter().any(bad) {
        return Err(invalid(format!("the entry {} is not a plain relative path", show(path))));
    }
    Ok(parts)
}

/// Whether a link in a folder `depth` levels below the root stays within it: relative, `..` only at its front (after
/// a name it would go up from wherever that name leads), and not more of them than there are levels.
pub fn stays_inside(depth: usize, target: &[u8]) -> bool {
    if target.is_empty() || target[0] == b'/' || target.len() > MAX_PATH_BYTES || target.contains(&0) {
        return false;
    }
    let steps = target.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
    let ups = steps.clone().take_while(|part| *part == b"..").count();
    ups <= depth && !steps.skip(ups).any(|part| part == b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_relative_paths_only() {
        assert_eq!(parts(b"a/b.c/..d").unwrap(), [&b"a"[..], b"b.c", b"..d"]);
        assert!(parts(b"").unwrap().is_empty());
        for bad in [&b"/a"[..], b"a//b", b"a/", b"./a", b"a/../b", b"..", b"a\0b", &[b'x'; 256]] {
            assert!(parts(bad).is_err(), "{}", show(bad));
        }
        assert!(parts(&b"a/".repeat(300)[..599]).is_err());
    }

    #[test]
    fn links_stay_inside() {
        for (depth, target) in [(0, "a"), (0, "./a/b"), (1, "../a"), (2, "../../a"), (1, "a//b"), (1, "..")] {
            assert!(stays_inside(depth, target.as_bytes()), "{depth} {target}");
        }
        for (depth, target) in [(0, ""), (0, "/a"), (0, ".."), (1, "../../a"), (3, "a/../b"), (0, "./../a"), (9, "a\0")]
        {
            assert!(!stays_inside(depth, target.as_bytes()), "{depth} {target}");
        }
    }

    #[test]
    fn an_accepted_link_never_resolves_outside() {
        let words = ["..", ".", "a", "b", ""];
        for number in 0..words.len().pow(5) {
            let mut rest = number;
            let target: Vec<&str> = (0..5).map(|_| (words[rest % 5], rest /= 5).0).collect();
            for depth in 0..3 {
                if !stays_inside(depth, target.join("/").as_bytes()) {
                    continue;
                }
                let mut level = depth as i32;
                for word in &target {
                    level += match *word {
                        ".." => -1,
                        "." | "" => 0,
                        _ => 1,
                    };
                    assert!(level >= 0, "{depth} {target:?}");
                }
            }
        }
    }
}
