//! What edges are told and asked, and what they answer.

use tollgate_domain::country::Country;
use tollgate_domain::feed::{Command, Entity, Selector};
use tollgate_domain::id::RequestId;
use tollgate_domain::live::{LiveReport, LiveTunnel, MOST_TUNNELS};

use super::*;

#[tokio::test]
async fn a_command_is_one_entry_even_if_its_answer_is_lost() {
    let (engine, s) = store().await;
    let kick = |selector| Command::Kick { customer: demo(), selector, at: at(5) };
    let commands = [
        kick(Selector::Line("chip1".parse().unwrap())),
        kick(Selector::source("2001:db8::/48").unwrap()),
        kick(Selector::Connection("e1.2-3".parse().unwrap())),
        Command::RotateLogs { at: at(5) },
        Command::ReportLive { request: "01J".parse().unwrap(), customer: Some(demo()), limit: 500, at: at(5) },
    ];
    for command in &commands {
        let (weak, faults) = losing(&engine, "PutItem");
        weak.announce_command(command, at(5)).await.unwrap();
        assert_eq!(faults.left(), 0);
    }
    let found = s.changes_since(at(5)).await.unwrap();
    assert_eq!(found.len(), commands.len());
    for command in commands {
        let same = found.iter().filter(|(_, c)| c.entity == Entity::Command(command.clone())).count();
        assert_eq!(same, 1, "{command:?}");
    }
    // The same one again is another one.
    s.announce_command(&Command::RotateLogs { at: at(5) }, at(6)).await.unwrap();
    assert_eq!(s.changes_since(at(6)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn edges_are_listed_from_their_first_start() {
    let (engine, s) = store().await;
    assert!(s.edges().await.unwrap().is_empty());
    for (name, now) in [("e2", 1), ("e1", 2), ("e2", 3)] {
        losing(&engine, "PutItem").0.start_epoch(&name.parse().unwrap(), at(now)).await.unwrap();
    }
    s.heartbeat(&edge(1), 0, at(9)).await.unwrap();
    let edges = s.edges().await.unwrap();
    let seen = edges.iter().map(|(id, row)| (id.as_str(), row.epoch, row.heartbeat)).collect::<Vec<_>>();
    assert_eq!(seen, [("e1", 1, at(9)), ("e2", 2, at(3))]);
}

#[tokio::test]
async fn answers_are_kept_by_request_and_session_and_fit_an_item() {
    let (_e, s) = store().await;
    let longest = |number| LiveTunnel {
        number,
        customer: "c".repeat(32).parse().unwrap(),
        line: "l".repeat(64).parse().unwrap(),
        source: Some("2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap()),
        listener_port: Some(65_535),
        upstream: format!("{}/{}", "p".repeat(32), "i".repeat(64)),
        country: Country::parse("be"),
        ingress: Some(u64::MAX),
        egress: Some(u64::MAX),
        opened_at: at(number),
    };
    let request: RequestId = "01J".parse().unwrap();
    let full = LiveReport::new(edge(1), at(5), (0..600).map(longest).collect(), MOST_TUNNELS);
    s.put_live(&request, &full, at(5)).await.unwrap();
    s.put_live(&request, &full, at(5)).await.unwrap();
    let small = LiveReport::new(edge(2), at(6), vec![longest(1)], 0);
    s.put_live(&request, &small, at(6)).await.unwrap();
    let elder = EdgeSession { epoch: 0, ..edge(1) };
    let before = LiveReport::new(elder, at(6), vec![longest(2)], 1);
    s.put_live(&request, &before, at(6)).await.unwrap();
    s.put_live(&"01K".parse().unwrap(), &small, at(6)).await.unwrap();
    assert_eq!(s.live_reports(&request).await.unwrap(), [before, full, small]);
    assert!(s.live_reports(&"01L".parse().unwrap()).await.unwrap().is_empty());
}
