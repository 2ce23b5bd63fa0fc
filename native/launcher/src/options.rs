//! `--name value` pairs of the small commands, each known and given once.

use std::path::PathBuf;

use crate::document::plain_absolute;
use crate::failure::{At, Failure, Step};

pub struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    /// All of `known` must be there.
    pub fn parse(words: &[&'a str], known: &[&str]) -> Result<Self, Failure> {
        let pairs: Vec<_> = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let complete = known.iter().all(|name| pairs.iter().filter(|(each, _)| each == name).count() == 1);
        if words.len() != known.len() * 2 || !complete {
            return Err(Failure::new(Step::Usage, format!("needed, each once: {}", known.join(" "))));
        }
        Ok(Options(pairs))
    }

    fn text(&self, name: &str) -> &'a str {
        self.0.iter().find(|(each, _)| *each == name).map_or("", |(_, value)| value)
    }

    pub fn number(&self, name: &str) -> Result<u64, Failure> {
        self.text(name).parse().at(Step::Usage, name)
    }

    /// A uid or gid of somebody without privileges.
    pub fn id(&self, name: &str) -> Result<u32, Failure> {
        match self.text(name).parse::<u32>().at(Step::Usage, name)? {
            0 | u32::MAX => Err(Failure::new(Step::Usage, format!("{name} must be neither 0 nor -1"))),
            id => Ok(id),
        }
    }

    pub fn path(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = PathBuf::from(self.text(name));
        plain_absolute(&path).map_err(|error| Failure::new(Step::Usage, error))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_is_known_once() {
        let options = Options::parse(&["--at", "/a/b", "--uid", "7"], &["--at", "--uid"]).expect("both");
        assert_eq!((options.path("--at").expect("path"), options.id("--uid").expect("id")), ("/a/b".into(), 7));
        for words in [&["--at", "/a"][..], &["--at", "/a", "--at", "/b"], &["--at", "/a", "--uid"], &["--at"]] {
            assert_eq!(Options::parse(words, &["--at", "--uid"]).err().expect("refused").step, Step::Usage);
        }
        let root = Options::parse(&["--at", "/a/../b", "--uid", "0"], &["--at", "--uid"]).expect("parsed");
        assert!(root.id("--uid").is_err() && root.path("--at").is_err() && root.number("--at").is_err());
    }
}
