//! What a server asked of its disk, and what is on the disk when the power is cut in the middle of that.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use fastrand::Rng;

/// What a disk writes all of or nothing of, in bytes.
const SECTOR: usize = 512;

/// `strace` with everything that changes a file, and everything that is said to anybody, as [`acts`] reads it from `trace`.
pub fn tracer(trace: &str) -> Vec<&str> {
    const CALLS: &str = "trace=openat,write,writev,pwrite64,sendto,sendmsg,ftruncate,fsync,fdatasync,unlink,unlinkat,rename,renameat,renameat2,link,linkat";
    vec!["strace", "-D", "-f", "-y", "-xx", "-s", "1000000", "--seccomp-bpf", "-e", CALLS, "-e", "signal=none", "-o", trace]
}

/// Something that a server did.
#[derive(Debug)]
pub enum Act {
    Created(PathBuf),
    Removed(PathBuf),
    Renamed(PathBuf, PathBuf),
    /// `None` is at the end.
    Written(PathBuf, Option<usize>, Vec<u8>),
    Cut(PathBuf, usize),
    /// Whoever it is waits for the disk to have a file, or the names in a folder; then it does.
    Syncing(String, PathBuf),
    Synced(String),
    /// What was said to somebody.
    Said(Vec<u8>),
}

/// What a server did, in order.
pub fn acts(trace: &str) -> Vec<Act> {
    let mut unfinished = HashMap::new();
    let mut acts = Vec::new();
    for line in trace.lines() {
        let (who, what) = line.split_once(' ').unwrap();
        let what = what.trim_start();
        if what.starts_with("+++") || what.starts_with("---") {
            continue;
        }
        let (call, result) = match what.strip_prefix("<... ") {
            // What happens at the beginning has happened.
            Some(end) => (unfinished.remove(who).unwrap(), end.rsplit_once(" = ").map(|(_, result)| result)),
            None => {
                let (text, result) = what.rsplit_once(" = ").map_or((what, None), |(text, result)| (text, Some(result)));
                let call = Call::read(text);
                acts.extend(call.begins(who));
                (call, result)
            }
        };
        match result {
            Some(result) if !result.starts_with('-') => acts.extend(call.ends(who)),
            Some(result) => assert!(matches!(call.begins(who), None | Some(Act::Said(_))), "{call:?} failed: {result}"),
            None => drop(unfinished.insert(who, call)),
        }
    }
    acts
}

/// A system call.
#[derive(Debug)]
struct Call {
    name: String,
    /// The file that its first argument is open at.
    file: Option<PathBuf>,
    texts: Vec<Vec<u8>>,
    /// What follows the last text, or the file if there is none.
    rest: String,
}

impl Call {
    fn read(text: &str) -> Self {
        let (name, arguments) = text.split_once('(').unwrap();
        let is_open = arguments.starts_with(|first: char| first.is_ascii_digit());
        let (file, rest) = match arguments.split_once('<').and_then(|(_, after)| after.split_once('>')) {
            Some((file, rest)) if is_open => (Some(path(file)), rest),
            _ => (None, arguments),
        };
        let mut parts: Vec<_> = rest.split('"').collect();
        let rest = parts.pop().unwrap().trim_end_matches(" <unfinished ...>").trim_end_matches(')').to_owned();
        let texts = parts.into_iter().skip(1).step_by(2).map(bytes).collect();
        Self { name: name.to_owned(), file, texts, rest }
    }

    fn number(&self, index: usize) -> usize {
        self.rest.trim_start_matches(", ").split(", ").nth(index).unwrap().parse().unwrap()
    }

    fn named(&self, index: usize) -> PathBuf {
        PathBuf::from(String::from_utf8(self.texts[index].clone()).unwrap())
    }

    /// What is so, or partly so, as soon as it is called.
    fn begins(&self, who: &str) -> Option<Act> {
        match self.name.as_str() {
            "pwrite64" => Some(Act::Written(self.file.clone()?, Some(self.number(1)), self.texts.concat())),
            "write" | "writev" if self.is_a_file() => Some(Act::Written(self.file.clone()?, None, self.texts.concat())),
            "write" | "writev" | "sendto" | "sendmsg" => Some(Act::Said(self.texts.concat())),
            "ftruncate" => Some(Act::Cut(self.file.clone()?, self.number(0))),
            "fsync" | "fdatasync" => Some(Act::Syncing(who.to_owned(), self.file.clone()?)),
            _ => None,
        }
    }

    /// What is so when it has returned.
    fn ends(&self, who: &str) -> Option<Act> {
        match self.name.as_str() {
            "fsync" | "fdatasync" => Some(Act::Synced(who.to_owned())),
            "openat" if self.rest.contains("O_CREAT") => Some(Act::Created(self.named(0))),
            "unlink" => Some(Act::Removed(self.named(0))),
            "rename" | "renameat" | "renameat2" => Some(Act::Renamed(self.named(0), self.named(1))),
            "link" | "linkat" | "unlinkat" => panic!("nobody knows what this does: {self:?}"),
            _ => None,
        }
    }

    fn is_a_file(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.is_absolute())
    }
}

/// Bytes as strace writes them: `\x2f\x74`.
fn bytes(text: &str) -> Vec<u8> {
    hex::decode(text.replace("\\x", "")).unwrap()
}

fn path(text: &str) -> PathBuf {
    PathBuf::from(String::from_utf8(bytes(text)).unwrap())
}

/// A change that nobody has waited for.
#[derive(Debug)]
enum Change {
    Written(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Debug, Default)]
struct File {
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// How long it is for those who use it.
    length: usize,
}

/// A file's name comes or goes.
#[derive(Debug, Clone)]
enum Naming {
    Given(PathBuf, usize),
    Taken(PathBuf),
}

/// A disk that has only what somebody has waited for, and of everything else any part.
#[derive(Debug, Default)]
pub struct Disk {
    files: Vec<File>,
    /// As those who use it see them.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<Naming>,
    /// Who waits for what, and how many of its changes were there when that began.
    syncing: HashMap<String, (PathBuf, usize)>,
}

impl Disk {
    /// Lets something happen. What is not in `folder` does not matter.
    pub fn happens(&mut self, act: &Act, folder: &Path) {
        match act {
            Act::Created(path) if path.starts_with(folder) && !self.names.contains_key(path) => {
                self.files.push(File::default());
                self.name(Naming::Given(path.clone(), self.files.len() - 1));
            }
            Act::Removed(path) if self.names.contains_key(path) => self.name(Naming::Taken(path.clone())),
            Act::Renamed(from, to) if self.names.contains_key(from) => {
                self.name(Naming::Given(to.clone(), self.names[from]));
                self.name(Naming::Taken(from.clone()));
            }
            Act::Written(path, at, bytes) => {
                if let Some(file) = self.file(path) {
                    let at = at.unwrap_or(file.length);
                    file.length = file.length.max(at + bytes.len());
                    file.unsynced.push(Change::Written(at, bytes.clone()));
                }
            }
            Act::Cut(path, length) => {
                if let Some(file) = self.file(path) {
                    file.length = *length;
                    file.unsynced.push(Change::Cut(*length));
                }
            }
            Act::Syncing(who, path) => {
                let names = self.unsynced_names.len();
                let changes = self.file(path).map_or(names, |file| file.unsynced.len());
                self.syncing.insert(who.clone(), (path.clone(), changes));
            }
            Act::Synced(who) => self.has(who),
            _ => {}
        }
    }

    fn file(&mut self, path: &Path) -> Option<&mut File> {
        self.names.get(path).map(|number| &mut self.files[*number])
    }

    fn name(&mut self, naming: Naming) {
        naming.clone().happens(&mut self.names);
        self.unsynced_names.push(naming);
    }

    /// What `who` has waited for is there.
    fn has(&mut self, who: &str) {
        let (path, changes) = self.syncing.remove(who).unwrap();
        if let Some(file) = self.file(&path) {
            // Somebody else may have waited for some of them meanwhile.
            let changes = changes.min(file.unsynced.len());
            for change in file.unsynced.drain(..changes).collect::<Vec<_>>() {
                change.happens(&mut file.durable);
            }
            return;
        }
        let waited_for = self.unsynced_names.drain(..changes.min(self.unsynced_names.len())).collect::<Vec<_>>();
        let (durable, others): (Vec<_>, Vec<_>) =
            waited_for.into_iter().partition(|naming| naming.path().parent() == Some(&path));
        durable.into_iter().for_each(|naming| naming.happens(&mut self.durable_names));
        self.unsynced_names.splice(..0, others);
    }

    /// What may be found after the power was cut: of what nobody has waited for, all, nothing, some writes, or some sectors of them; of
    /// names, those that came first.
    pub fn after_a_cut(&self, dice: &mut Rng) -> BTreeMap<PathBuf, Vec<u8>> {
        let luck = dice.u8(..4);
        let mut names = self.durable_names.clone();
        let kept = match luck {
            0 => 0,
            1 => self.unsynced_names.len(),
            _ => dice.usize(..=self.unsynced_names.len()),
        };
        self.unsynced_names[..kept].iter().cloned().for_each(|naming| naming.happens(&mut names));
        let content = |number: usize, dice: &mut Rng| {
            let file = &self.files[number];
            let mut content = file.durable.clone();
            for change in &file.unsynced {
                match luck {
                    0 => {}
                    1 => change.happens(&mut content),
                    2 if dice.bool() => change.happens(&mut content),
                    2 => {}
                    _ => change.happens_in_part(&mut content, dice),
                }
            }
            content
        };
        names.into_iter().map(|(name, number)| (name, content(number, dice))).collect()
    }
}

impl Naming {
    fn path(&self) -> &Path {
        match self {
            Self::Given(path, _) | Self::Taken(path) => path,
        }
    }

    fn happens(self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Given(path, number) => drop(names.insert(path, number)),
            Self::Taken(path) => drop(names.remove(&path)),
        }
    }
}

impl Change {
    fn happens(&self, content: &mut Vec<u8>) {
        match self {
            Self::Written(at, bytes) => put(content, *at, bytes),
            Self::Cut(length) => content.resize(*length, 0),
        }
    }

    fn happens_in_part(&self, content: &mut Vec<u8>, dice: &mut Rng) {
        match self {
            Self::Written(at, bytes) => {
                let mut at = *at;
                let mut bytes = &bytes[..];
                while !bytes.is_empty() {
                    let (sector, others) = bytes.split_at(bytes.len().min(SECTOR - at % SECTOR));
                    if dice.bool() {
                        put(content, at, sector);
                    }
                    at += sector.len();
                    bytes = others;
                }
            }
            Self::Cut(_) if dice.bool() => self.happens(content),
            Self::Cut(_) => {}
        }
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}
