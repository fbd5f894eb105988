//! CONNECT: tunnels, and every byte of them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tollgate_domain::budget::Bucket;

use crate::support::world::{NOON, PASSWORD, limits, plan_bucket};
use crate::support::{World, basic, connect, read_all, read_head, status};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn client_edge_and_store_count_the_same_bytes() {
    let w = World::new(100 * MIB, limits()).await;
    let edge = w.start().await;
    let (mut c, head) = connect(edge.gateway_addr(), "echo.test:443", "demo-line-chip1-country-be", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    let sent = vec![b'y'; 3_000_003];
    let (mut r, mut s) = c.split();
    let mut back = vec![0; sent.len()];
    let (a, b) = tokio::join!(s.write_all(&sent), r.read_exact(&mut back));
    a.unwrap();
    b.unwrap();
    assert_eq!(back, sent);
    c.shutdown().await.unwrap();
    assert!(read_all(&mut c).await.is_empty());
    edge.drain(Duration::from_secs(5)).await.unwrap();
    let rows = w.rows().await;
    assert_eq!((rows.ingress, rows.egress, rows.connections), (3_000_003, 3_000_003, 1));
    let a = w.allowance(&plan_bucket()).await;
    assert_eq!((a.folded, a.available), (6_000_006, 100 * MIB - 6_000_006));
    assert!(a.leases.is_empty());
    assert!(w.files().is_empty(), "{:?}", w.files());
    // The gateway saw the provider's grammar and its own password, never the customer's.
    let head = w.upstream.heads().pop().unwrap();
    let auth = basic("brd-customer-c_1-zone-isp-ip-203.0.113.7", "zone-password");
    assert_eq!(
        head,
        format!("CONNECT echo.test:443 HTTP/1.1\r\nHost: echo.test:443\r\nProxy-Authorization: {auth}\r\n\r\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_ends_a_tunnel_at_the_exact_byte_and_a_pack_goes_on() {
    let w = World::new(1_000_000, limits()).await;
    let edge = w.start().await;
    let (mut c, head) = connect(edge.gateway_addr(), "flood.test:443", "demo", PASSWORD).await;
    assert_eq!(status(&head), 200, "{head}");
    assert_eq!(read_all(&mut c).await.len(), 1_000_000);
    let (_c, head) = connect(edge.gateway_addr(), "flood.test:443", "demo", PASSWORD).await;
    assert_eq!(status(&head), 402, "{head}");
    assert!(head.contains("X-Tollgate-Error: QUOTA_EXHAUSTED"), "{head}");
    // A pack bought now is spent by the next tunnel, to its last byte as well.
    let pack = Bucket::Pack { expires: NOON.next_month_start(), pack: "p1".into() };
    w.grant("p1", &pack, 70_001).await;
    let mut got = 0;
    for _ in 0..200 {
        let (mut c, head) = connect(edge.gateway_addr(), "flood.test:443", "demo", PASSWORD).await;
        if status(&head) == 200 {
            got = read_all(&mut c).await.len();
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(got, 70_001);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(w.rows().await.bytes(), 1_070_001);
    assert_eq!(w.allowance(&plan_bucket()).await.folded, 1_000_000);
    assert_eq!(w.allowance(&pack).await.folded, 70_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_moves_from_plan_to_pack_without_a_break() {
    let w = World::new(300_000, limits()).await;
    let pack = Bucket::Pack { expires: NOON.next_month_start(), pack: "p1".into() };
    w.grant("p1", &pack, 10 * MIB).await;
    let edge = w.start().await;
    let mut asked = 0;
    for n in [50_000, 60_000, 65_000] {
        for _ in 0..3 {
            let (mut c, head) = connect(edge.gateway_addr(), &format!("bytes.test:{n}"), "demo", PASSWORD).await;
            assert_eq!(status(&head), 200, "{head}");
            assert_eq!(read_all(&mut c).await.len(), n);
            asked += n as u64;
        }
    }
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(w.rows().await.egress, asked);
    assert_eq!(w.allowance(&plan_bucket()).await.folded, 300_000);
    assert_eq!(w.allowance(&pack).await.folded, asked - 300_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn early_data_goes_through_and_is_counted() {
    let w = World::new(MIB, limits()).await;
    let edge = w.start().await;
    let mut c = tokio::net::TcpStream::connect(edge.gateway_addr()).await.unwrap();
    let auth = basic("demo", PASSWORD);
    let ask = format!("CONNECT echo.test:443 HTTP/1.1\r\nProxy-Authorization: {auth}\r\n\r\nearly");
    c.write_all(ask.as_bytes()).await.unwrap();
    assert_eq!(status(&read_head(&mut c).await), 200);
    let mut back = [0; 5];
    c.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"early");
    drop(c);
    edge.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!((w.rows().await.ingress, w.rows().await.egress), (5, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tunnels_of_a_line_ask_the_assigner_once() {
    let w = World::new(MIB, limits()).await;
    let edge = w.start().await;
    let addr = edge.gateway_addr();
    let (a, b) = tokio::join!(
        connect(addr, "echo.test:1", "demo-line-x", PASSWORD),
        connect(addr, "echo.test:1", "demo-line-x", PASSWORD)
    );
    assert_eq!((status(&a.1), status(&b.1)), (200, 200));
    assert_eq!(w.assigner.asked.lock().unwrap().len(), 1);
    drop((a, b));
    edge.drain(Duration::from_secs(5)).await.unwrap();
}
