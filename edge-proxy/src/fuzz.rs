//! Fuzzing of the parsers that read what strangers send, as ordinary tests: deterministic, bounded
//! in count, without a special compiler.
//!
//! Seeds are files, `fuzz/seeds/<target>/*`, each the raw bytes of one input. Every seed is tried as
//! it is, then inputs made of them, each known by its number alone. A failure prints its input in
//! hexadecimal; put it into the target's folder, and it stays tested. `TOLLGATE_LONG=1` tries fifty
//! times as many.
//!
//! Beyond "no panic": an answer does not depend on how the input is cut into pieces, and what is
//! accepted means the same when it is written again. The front as a whole is tried in
//! `tests/edge/front.rs`, through sockets.

mod frames;
mod http;
mod mutate;
mod names;

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::{env, fs};

use mutate::{Numbers, mutated};

const INPUTS: u64 = 20_000;
const LONG: u64 = 50;
/// Of a hundred inputs at least this many must be accepted, or the target tests refusals only.
const ACCEPTED_PERCENT: u64 = 2;

/// Whether an input was accepted; what is wrong with the parser.
type Verdict = Result<bool, String>;

/// Tries a target on its seeds and on what is made of them and of the words of its grammar.
fn fuzz(target: &str, words: &[&[u8]], check: impl Fn(&[u8]) -> Verdict) {
    let seeds = seeds(target);
    for (name, seed) in &seeds {
        examine(target, name, seed, &check);
    }
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|(_, seed)| seed).collect();
    let long = env::var("TOLLGATE_LONG").is_ok_and(|v| v == "1");
    let inputs = if long { INPUTS * LONG } else { INPUTS };
    let mut accepted = 0;
    for n in 0..inputs {
        let input = mutated(&mut Numbers::new(n), &seeds, words);
        accepted += u64::from(examine(target, &format!("input {n}"), &input, &check));
    }
    assert!(accepted * 100 >= inputs * ACCEPTED_PERCENT, "{target}: only {accepted} of {inputs} inputs were accepted");
}

fn examine(target: &str, name: &str, input: &[u8], check: impl Fn(&[u8]) -> Verdict) -> bool {
    let verdict = catch_unwind(AssertUnwindSafe(|| check(input))).unwrap_or_else(|_| Err("it panicked".to_owned()));
    verdict.unwrap_or_else(|what| {
        let hex = hex::encode(input);
        panic!(
            "{target}, {name}: {what}\n{hex}\n\"{}\"\nto keep it: xxd -r -p > edge-proxy/fuzz/seeds/{target}/<name>",
            input.escape_ascii()
        )
    })
}

/// Name and content of a target's seeds, by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut seeds: Vec<_> = files
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// That an incremental reader answers for the shortest prefix that it can, takes no more than
/// that, and never changes its mind. Its answer for the whole, if it has one.
fn settled<T: Debug + PartialEq, E: Debug + PartialEq>(
    reader: &str,
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<Option<(T, usize)>, E>,
) -> Result<Option<T>, String> {
    let whole = read(bytes);
    let first = (0..bytes.len()).find(|n| read(&bytes[..*n]) != Ok(None)).unwrap_or(bytes.len());
    for n in first..bytes.len() {
        let part = read(&bytes[..n]);
        ensure(part == whole, || format!("{reader}: {part:?} from {n} bytes, {whole:?} from all"))?;
    }
    match whole {
        Ok(Some((value, length))) => {
            ensure(length == first, || format!("{reader}: {length} bytes taken, but {first} were enough"))?;
            Ok(Some(value))
        }
        Ok(None) | Err(_) => Ok(None),
    }
}
