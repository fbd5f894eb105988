//! A hundred lines ask at once, with some idle proxies, a slow provider and a store in which
//! half of all transactions conflict.

use std::sync::Arc;
use std::time::Duration;

use tollgate_domain::plan::Limits;
use tollgate_engine::{Faults, Rates};
use tollgate_functions::platform::Bounds;
use tollgate_sandbox::{Call, Fault};

use crate::support::books::{Books, none};
use crate::support::door::Door;
use crate::support::{Rig, long};

const LINES: usize = 100;
const CUSTOMERS: [&str; 4] = ["anna", "bert", "carl", "dora"];

macro_rules! races {
    ($($name:ident $idle:literal;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                // Nine tests of a seed each, of minutes on a small machine; the long form has nine hundred.
                for round in 0..if long() { 100 } else { 1 } {
                    Box::pin(race($idle, round * 1000 + $idle)).await;
                }
            }
        )*
    };
}

races! {
    with_none_idle_a_hundred_lines_buy_a_hundred 0;
    with_one_idle_a_hundred_lines_buy_ninety_nine 1;
    with_five_idle_a_hundred_lines_buy_ninety_five 5;
    with_ten_idle_a_hundred_lines_buy_ninety 10;
    with_37_idle_a_hundred_lines_buy_63 37;
    with_64_idle_a_hundred_lines_buy_36 64;
    with_99_idle_a_hundred_lines_buy_one 99;
    with_a_hundred_idle_a_hundred_lines_buy_none 100;
    with_120_idle_a_hundred_lines_buy_none_and_leave_twenty 120;
}

async fn race(k: u32, seed: u64) {
    let rig = Arc::new(Rig::new().await);
    for c in CUSTOMERS {
        rig.customer(c, Limits::default()).await;
    }
    rig.idle("nl", k).await;
    rig.sandbox.set_stock("nl", 200);
    for _ in 0..LINES {
        rig.sandbox.faults().push(Call::Buy, Fault::Slow(Duration::from_millis(30)));
    }
    let rates = Rates { conflict: 550, throttle: 10, lost_ack: 10, ..Rates::default() };
    let faults = Faults::random(seed, rates);
    // The product's own bounds: a hundred at once on a small machine take their time.
    let platform = rig.with(rig.engine.client_with(faults.clone()), Bounds::default());
    let door = Arc::new(Door::open(&rig, platform, &CUSTOMERS).await);
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..LINES {
        let door = door.clone();
        let line = format!("{}#line{n}", CUSTOMERS[n % CUSTOMERS.len()]);
        asking.spawn(async move { persistently(&door, &line).await });
    }
    let mut again = Vec::new();
    while let Some(answer) = asking.join_next().await {
        again.extend(answer.unwrap().err());
    }
    let injected = faults.injected();
    faults.stop();
    let late = again.len();
    // What the store's faults interrupted is healed by time and the reconciler, as in life.
    for seconds in [40, 40, 900, 40] {
        rig.clock.forward_secs(seconds);
        rig.reconcile().await;
        for line in std::mem::take(&mut again) {
            if rig.assign(&line, "nl").await.is_err() {
                again.push(line);
            }
        }
    }
    let books = Books::of(&rig).await;
    let what = format!("k = {k}, seed {seed}, {late} late, {injected:?}");
    none(&what, &books.settled());
    none(&what, &books.every_line_bound());
    assert_eq!(rig.purchases(), LINES.saturating_sub(k as usize), "{what}");
    assert_eq!((books.proxies("active"), books.open_lines()), (LINES, LINES), "{what}");
    assert_eq!(books.free("nl"), (k as usize).saturating_sub(LINES), "{what}");
    assert!(injected.conflict as usize > LINES / 2, "{what}");
    println!("{what}");
}

/// Asks as a program does that is told to come back: at most five times.
async fn persistently(door: &Door, line: &str) -> Result<(), String> {
    for _ in 0..5 {
        match door.assign(line, "nl").await {
            (200, body) => {
                assert_eq!((&body["country"], &body["state"]), (&"nl".into(), &"bound".into()), "{body}");
                return Ok(());
            }
            (503, _) => {}
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(line.to_owned())
}
