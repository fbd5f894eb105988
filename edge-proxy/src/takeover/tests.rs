use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::sync::oneshot;
use tollgate_domain::id::EdgeId;

use super::wire::{Say, Wire, address, socket};
use super::*;

fn edge() -> EdgeId {
    "edge1".parse().unwrap()
}

fn bound(kind: ListenerKind) -> NamedListener {
    NamedListener::new(kind, TcpListener::bind("127.0.0.1:0").unwrap()).unwrap()
}

fn offer(path: &Path, listeners: Vec<NamedListener>) -> (Offer, oneshot::Receiver<Taken>) {
    let listeners = Arc::new(listeners);
    let all = move || listeners.iter().map(NamedListener::try_clone).collect();
    Offer::start(path, edge(), Box::new(all)).unwrap()
}

fn hello(path: &Path, say: &Say) -> Wire {
    let fd = socket().unwrap();
    rustix::net::connect(&fd, &address(path).unwrap()).unwrap();
    let wire = Wire::new(fd).unwrap();
    wire.send(say, &[]).unwrap();
    wire
}

#[test]
fn more_listeners_than_fit_one_message_are_handed_over_by_name() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("t.sock");
    let mut listeners = vec![bound(ListenerKind::Gateway), bound(ListenerKind::Admin)];
    listeners.extend((0..450).map(|_| bound(ListenerKind::Port)));
    let names: Vec<_> = listeners.iter().map(|l| l.name).collect();
    let (offer, taken) = offer(&path, listeners);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let mut received = receive(&path, &edge()).unwrap().unwrap();
    // A connection that nobody has accepted yet is in the shared queue.
    let mut client = TcpStream::connect(names[0].address).unwrap();
    assert!(received.take(ListenerKind::Admin, names[0].address).is_none(), "another kind");
    let gateway = received.take(ListenerKind::Gateway, names[0].address).unwrap();
    assert!(received.take(ListenerKind::Gateway, names[0].address).is_none(), "once");
    let mut ports: Vec<_> = received.take_all(ListenerKind::Port).iter().map(|l| l.name).collect();
    ports.sort();
    let mut sent = names[2..].to_vec();
    sent.sort();
    assert_eq!(ports, sent);

    let old = std::thread::spawn(move || {
        let taken = taken.blocking_recv().unwrap();
        drop(offer);
        taken.draining().unwrap();
    });
    received.serving().unwrap();
    old.join().unwrap();
    let (mut served, _) = gateway.accept().unwrap();
    served.write_all(b"new").unwrap();
    drop(served);
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert_eq!(said, "new");
    assert!(path.exists(), "the successor replaces the socket itself");
    assert!(receive(&path, &edge()).unwrap().is_none(), "nobody answers at the stale one");
}

#[test]
fn a_successor_that_dies_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("t.sock");
    let (offer, mut taken) = offer(&path, vec![bound(ListenerKind::Gateway)]);
    for _ in 0..3 {
        drop(receive(&path, &edge()).unwrap().unwrap());
    }
    // Not even after words that make no sense.
    let wire = hello(&path, &Say::Serving);
    assert!(matches!(wire.receive().unwrap().0, Say::Refused { .. }));
    assert!(receive(&path, &edge()).unwrap().is_some());
    assert!(taken.try_recv().is_err());
    drop(offer);
    assert!(!path.exists());
    assert!(receive(&path, &edge()).unwrap().is_none());
}

#[test]
fn another_edge_or_another_version_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("t.sock");
    let (_offer, _taken) = offer(&path, vec![bound(ListenerKind::Gateway)]);
    let refused = receive(&path, &"edge2".parse().unwrap()).unwrap_err().to_string();
    assert!(refused.contains("this is edge edge1, not edge2"), "{refused}");
    let wire = hello(&path, &Say::Hello { version: 9, edge: "edge1".into() });
    let Say::Refused { why } = wire.receive().unwrap().0 else { panic!("not refused") };
    assert!(why.contains("version 9"), "{why}");
}

#[test]
fn a_shutdown_ends_a_hand_over_that_is_under_way() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("t.sock");
    let (offer, taken) = offer(&path, vec![bound(ListenerKind::Gateway)]);
    let received = receive(&path, &edge()).unwrap().unwrap();
    drop(offer);
    assert!(taken.blocking_recv().is_err());
    assert!(received.serving().is_err());
}

#[test]
fn listeners_that_cannot_be_shared_refuse_the_hand_over() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("t.sock");
    let (_offer, _taken) = Offer::start(&path, edge(), Box::new(|| Err(other("descriptors are short")))).unwrap();
    let refused = receive(&path, &edge()).unwrap_err().to_string();
    assert!(refused.contains("descriptors are short"), "{refused}");
}
