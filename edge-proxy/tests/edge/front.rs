//! The whole front on inputs that are almost right: what strangers send goes through a real edge, in
//! pieces, and what comes of it is read strictly on both sides.
//!
//! The seeds are in `fuzz/seeds/front`, as those of the parsers (`src/fuzz.rs`): one whose name begins
//! with `ok_` passes, of the others nothing reaches anybody. `TOLLGATE_LONG=1` tries more.

mod gateway;
mod heard;
#[path = "../../src/fuzz/mutate.rs"]
mod mutate;

use std::collections::HashSet;
use std::iter::from_fn;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use std::{env, fs, panic, thread};

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use tollgate_domain::plan::Limits;
use tollgate_edge::Edge;

use crate::support::tls::Identity;
use crate::support::world::limits;
use crate::support::{World, connect_from, eventually, read_all};
use gateway::Gateway;
use heard::{Heard, heard};
use mutate::{Numbers, mutated};

const INPUTS: u64 = 1500;
const LONG: u64 = 20;
/// Of a hundred inputs at least this many must be accepted, or refusals only are tested.
const ACCEPTED_PERCENT: usize = 2;
/// Most pieces of an input.
const PIECES: usize = 40;
/// Longest wait for the end of a connection whose client has no more to say.
const BOUND: Duration = Duration::from_secs(30);

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
    b"\r\n ",
    b" ",
    b":",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive, host\r\n",
    b"Connection: content-length\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: websocket\r\n",
    b"Proxy-Authorization: Basic ZGVtbzpkZW1vLXBhc3N3b3Jk\r\n",
    b"Host: evil.test\r\n",
    b"GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
    b"CONNECT echo.test:443 HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"POST ",
    b"HEAD ",
    b" HTTP/1.0\r\n",
    b" HTTP/1.1\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"\x05\x01\x02",
    b"\x01\x04demo\x0Ddemo-password",
    b"\x05\x01\x00\x03\x09echo.test\x01\xBB",
    b"\x05\x03\x00\x01\0\0\0\0\0\0",
    b"\x04\x01",
    b"PROXY TCP4 192.0.2.7 192.0.2.1 51000 443\r\n",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x16\x03\x01",
    b"\0",
    b"\xFF",
];

/// What panicked in threads of an edge.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn watch_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let current = thread::current();
        if current.name().is_some_and(|name| name.starts_with("relay-") || name == "control") {
            PANICS.lock().unwrap().push(info.to_string());
        }
        before(info);
    }));
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|w| w == what)
}

/// An input in pieces whose sizes it decides itself.
fn pieces(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut mixed = input.iter().fold(input.len(), |m, b| m.wrapping_mul(31).wrapping_add(usize::from(*b)));
    let least = input.len().div_ceil(PIECES);
    let mut rest = input;
    from_fn(move || {
        mixed = mixed.wrapping_mul(0x9E37_79B1).wrapping_add(1);
        let spread = [1, 2, 8, 64, 4096][(mixed >> 8) % 5];
        let size = (1 + (mixed >> 16) % spread).max(least).min(rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Whether an input begins as a balancer would.
fn headed(input: &[u8]) -> bool {
    input.starts_with(b"PROXY") || input.starts_with(b"\r\n\r\n\0")
}

struct Trial {
    edge: Edge,
    gateway: Gateway,
    /// Numbers of the gateway that clients have seen.
    seen: HashSet<u64>,
    tunnels: usize,
    tried: u8,
}

impl Trial {
    /// What the edge says to a client who says `input`, and no more.
    async fn say(&mut self, input: &[u8], balanced: bool) -> Result<Vec<u8>, String> {
        self.tried = (self.tried + 1) % 200;
        let [net, host] = if balanced { [1, 1 + self.tried] } else { [0, 20 + self.tried] };
        let stream = connect_from([127, net, 0, host], self.edge.gateway_addr()).await;
        stream.set_nodelay(true).unwrap();
        let (mut from, mut to) = stream.into_split();
        let speak = async {
            for piece in pieces(input) {
                // The edge may have had enough.
                if to.write_all(piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
            let _ = to.shutdown().await;
        };
        let both = async { tokio::join!(read_all(&mut from), speak).0 };
        timeout(BOUND, both).await.map_err(|_| "it does not end".to_owned())
    }

    async fn judge(&mut self, input: &[u8], balanced: bool) -> Result<Heard, String> {
        let said = self.say(input, balanced).await?;
        let found = heard(&said).map_err(|what| format!("{what}: {}", said.escape_ascii()))?;
        let heads = input.windows(7).filter(|w| *w == b"HTTP/1.").count();
        let answers = found.numbers.len();
        ensure(answers <= heads, || format!("{answers} requests of {heads} heads"))?;
        for number in &found.numbers {
            let issued = *number < self.gateway.answered();
            ensure(issued && self.seen.insert(*number), || format!("answer {number} is another's"))?;
        }
        self.tunnels += usize::from(found.tunnel);
        self.sound()?;
        Ok(found)
    }

    /// That nothing has gone wrong so far, wherever it was seen.
    fn sound(&self) -> Result<(), String> {
        let panics = PANICS.lock().unwrap().clone();
        ensure(panics.is_empty(), || format!("the edge panicked: {panics:?}"))?;
        let wrong = self.gateway.wrong();
        ensure(wrong.is_empty(), || format!("the gateway could be misled, here or a little before: {wrong:?}"))
    }

    /// Whether the input was accepted. Fails if something is wrong.
    async fn examine(&mut self, name: &str, input: &[u8], balanced: bool) -> bool {
        match self.judge(input, balanced).await {
            Ok(found) => found.tunnel || !found.numbers.is_empty(),
            Err(what) => panic!(
                "{name}: {what}\n{}\n\"{}\"\nto keep it: xxd -r -p > edge-proxy/fuzz/seeds/front/<name>",
                hex::encode(input),
                input.escape_ascii()
            ),
        }
    }
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/front");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap());
    let read = |file: fs::DirEntry| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap());
    let mut seeds: Vec<_> = files.map(read).collect();
    seeds.sort();
    seeds
}

/// An edge whose one gateway keeps what it is sent: nothing else is dialled.
async fn start() -> (World, Trial) {
    let gateway = Gateway::start().await;
    let at = gateway.addr;
    let limits = Limits { threads: 1000, ..limits() };
    let mut w = World::with_provider(1 << 40, limits, |p| p.gateway_port = at.port()).await;
    w.config.tls = Some(Identity::write(w.dir.path(), "edge").files());
    // Certificates lie beside the data folder, not in it.
    w.config.data_dir = w.dir.path().join("data");
    w.config.proxy_trusted = vec!["127.1.0.0/16".parse().unwrap()];
    // Wrong passwords are many here, and lines are made of anything.
    w.config.auth_failures = 0;
    w.config.usage_slots = 16_384;
    let edge = w.start().await;
    (w, Trial { edge, gateway, seen: HashSet::new(), tunnels: 0, tried: 0 })
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_sent_is_answered_once_and_means_one_thing() {
    watch_panics();
    let (_w, mut trial) = start().await;
    let seeds = seeds();
    assert!(seeds.len() >= 20);
    for (name, seed) in &seeds {
        let accepted = trial.examine(name, seed, headed(seed)).await;
        assert_eq!(accepted, name.starts_with("ok_"), "{name}");
    }
    let seeds: Vec<_> = seeds.into_iter().map(|(_, seed)| seed).collect();
    let long = env::var("TOLLGATE_LONG").is_ok_and(|v| v == "1");
    let inputs = if long { INPUTS * LONG } else { INPUTS };
    let (mut accepted, mut tried) = (0, 0);
    for n in 0..inputs {
        let input = mutated(&mut Numbers::new(n), &seeds, WORDS);
        // Some come from where they should not.
        let balanced = headed(&input) != (n % 8 == 7);
        accepted += usize::from(trial.examine(&format!("input {n}"), &input, balanced).await);
        tried += 1;
    }
    assert!(accepted * 100 >= tried * ACCEPTED_PERCENT, "only {accepted} of {tried} inputs were accepted");

    let Trial { edge, gateway, seen, tunnels, .. } = &trial;
    eventually("all connections end", || async { edge.snapshot().open_connections == 0 && gateway.open() == 0 }).await;
    trial.sound().unwrap();
    let answered = usize::try_from(gateway.answered()).unwrap();
    assert_eq!(answered, seen.len() + tunnels, "each request that arrived has one client who was told so");
    let Trial { edge, .. } = trial;
    edge.drain(BOUND).await.unwrap();
}

#[test]
fn pieces_make_the_input_again() {
    for length in [0, 1, 39, 40, 41, 2048] {
        let input: Vec<u8> = (0..length).map(|n: usize| n.to_le_bytes()[0]).collect();
        let cut: Vec<_> = pieces(&input).collect();
        assert_eq!(cut.concat(), input);
        assert!(cut.len() <= PIECES + 1 && cut.iter().all(|piece| !piece.is_empty()));
    }
}
