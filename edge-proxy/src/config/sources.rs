//! Where settings come from: a TOML file, and the environment, which wins.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Problem;
use super::keys::{self, KEYS};

/// Longest configuration file that is read, in bytes.
pub const MAX_FILE: usize = 1 << 20;

/// The raw settings, before anything is read from them.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file's path and its text.
    pub file: Option<(PathBuf, String)>,
    /// The environment's variables.
    pub variables: BTreeMap<String, String>,
}

/// Who said what a key's value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: the default holds.
    Default,
    /// The file.
    File(PathBuf),
    /// This variable.
    Variable(String),
}

/// What a source says of one key, as text.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub origin: Origin,
    pub items: Items,
}

#[derive(Clone, Debug)]
pub(super) enum Items {
    One(String),
    Many(Vec<String>),
}

impl Sources {
    /// The process's own: the file at `path`, or at `TOLLGATE_EDGE_CONFIG`, and its environment.
    ///
    /// # Errors
    /// [`Problem`] if there is a path and the file cannot be read.
    pub fn of_process(path: Option<PathBuf>) -> Result<Self, Problem> {
        // A variable that is no UTF-8 is not one of ours.
        let text =
            |(k, v): (std::ffi::OsString, std::ffi::OsString)| Some((k.into_string().ok()?, v.into_string().ok()?));
        let variables: BTreeMap<_, _> = std::env::vars_os().filter_map(text).collect();
        let named = variables.get(keys::FILE_VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from);
        let mut file = None;
        if let Some(path) = path.or(named) {
            let text = read(&path).map_err(|why| Problem::new(path.display(), why))?;
            file = Some((path, text));
        }
        Ok(Self { file, variables })
    }

    /// What is said of each key. Unknown names are problems.
    pub(super) fn said(&self, problems: &mut Vec<Problem>) -> BTreeMap<&'static str, Said> {
        let mut said = BTreeMap::new();
        if let Some((path, text)) = &self.file {
            match text.parse::<toml::Table>() {
                Ok(table) => flatten("", table, &mut |name, items| match (keys::find(name), items) {
                    (Some(key), Ok(items)) => {
                        said.insert(key.name, Said { origin: Origin::File(path.clone()), items });
                    }
                    (Some(_), Err(why)) => problems.push(Problem::new(format!("{}: {name}", path.display()), why)),
                    (None, _) => {
                        let near = keys::nearest(name, KEYS.iter().map(|k| Cow::Borrowed(k.name)));
                        problems.push(Problem::unknown(&format!("{}: {name}", path.display()), near));
                    }
                }),
                Err(e) => {
                    problems.push(Problem::new(path.display(), format!("is no TOML: {}", e.to_string().trim_end())))
                }
            }
        }
        for (variable, text) in &self.variables {
            if let Some(key) = KEYS.iter().find(|k| k.variable() == *variable) {
                let origin = Origin::Variable(variable.clone());
                said.insert(key.name, Said { origin, items: Items::One(text.clone()) });
            } else if keys::unknown_variable(variable) {
                let near = keys::nearest(variable, KEYS.iter().map(keys::Key::variable));
                problems.push(Problem::unknown(variable, near));
            }
        }
        said
    }
}

fn read(path: &std::path::Path) -> Result<String, String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|e| format!("cannot be read: {e}"))?;
    let mut text = String::new();
    let limit = MAX_FILE as u64 + 1;
    file.take(limit).read_to_string(&mut text).map_err(|e| format!("cannot be read: {e}"))?;
    if text.len() > MAX_FILE {
        return Err(format!("is longer than {MAX_FILE} bytes"));
    }
    Ok(text)
}

fn flatten(prefix: &str, table: toml::Table, each: &mut impl FnMut(&str, Result<Items, String>)) {
    for (name, value) in table {
        let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&name, inner, each),
            toml::Value::Array(values) => {
                let all: Result<Vec<_>, _> = values.into_iter().map(scalar).collect();
                each(&name, all.map(Items::Many));
            }
            one => each(&name, scalar(one).map(Items::One)),
        }
    }
}

fn scalar(value: toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(s) => Ok(s),
        toml::Value::Integer(n) => Ok(n.to_string()),
        toml::Value::Boolean(b) => Ok(b.to_string()),
        other => Err(format!("takes text, a whole number or true/false, not a {}", other.type_str())),
    }
}
