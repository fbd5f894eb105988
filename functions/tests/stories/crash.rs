//! A process dies at every store call of every story, before the call is applied and after; then
//! time passes, another process sweeps and reconciles, and the line asks again. Nothing may be
//! paid and unowned, owned and unpaid, or stuck.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tollgate_engine::Faults;
use tollgate_functions::close_line::close_line;
use tollgate_functions::platform::Platform;
use tollgate_functions::reconcile::reconcile;
use tollgate_functions::release_idle::release_idle;
use tollgate_sandbox::{Call, Fault};

use crate::support::books::{Books, none};
use crate::support::{Rig, ask, brd, key};

/// A story, what it starts from, and how many purchases there are in the end.
struct Play {
    before: fn(&Rig) -> BoxFuture<'_, ()>,
    act: fn(&Platform) -> BoxFuture<'_, ()>,
    purchases: usize,
}

async fn dies_everywhere(play: Play) {
    for torn in [false, true] {
        for after in 0.. {
            let rig = Rig::new().await;
            rig.sandbox.set_stock("nl", 5);
            (play.before)(&rig).await;
            let faults = Faults::death(after, torn);
            (play.act)(&rig.faulty(&faults)).await;
            let what = format!("dead after {after} calls, torn: {torn}");
            none(&what, &Books::of(&rig).await.always());
            Box::pin(heal(&rig)).await;
            let again = rig.assign("a", "nl").await;
            let books = Books::of(&rig).await;
            none(&what, &books.settled());
            assert!(again.is_ok(), "{what}: {again:?}");
            none(&what, &books.every_line_bound());
            assert_eq!(rig.purchases(), play.purchases, "{what}");
            if faults.injected().total() == 0 {
                assert!(after > 2, "the story made {after} calls");
                println!("{after} calls");
                break;
            }
        }
    }
}

/// What schedules do in the twenty minutes after.
async fn heal(rig: &Rig) {
    for seconds in [10, 60, 300, 900] {
        rig.clock.forward_secs(seconds);
        rig.later.run_due(&rig.platform).await;
        rig.sweep().await;
        rig.reconcile().await;
    }
}

async fn buys(platform: &Platform) {
    let _ = ask(platform, "a", "nl").await;
}

#[tokio::test]
async fn a_death_while_buying_leaves_one_purchase() {
    dies_everywhere(Play {
        before: |_| async {}.boxed(),
        act: |p| async move { buys(p).await }.boxed(),
        purchases: 1,
    })
    .await;
}

#[tokio::test]
async fn a_death_on_the_way_through_the_chain_leaves_one_purchase() {
    dies_everywhere(Play {
        before: |_| async {}.boxed(),
        act: |p| async move { drop(ask(p, "b", "be").await) }.boxed(),
        // Line b's, and line a's own.
        purchases: 2,
    })
    .await;
}

#[tokio::test]
async fn a_death_while_recycling_leaves_the_address_in_the_pool_or_on_the_line() {
    dies_everywhere(Play {
        before: |rig| rig.idle("nl", 1).boxed(),
        act: |p| async move { buys(p).await }.boxed(),
        purchases: 0,
    })
    .await;
}

#[tokio::test]
async fn a_death_while_closing_leaves_the_line_open_or_its_address_idle() {
    dies_everywhere(Play {
        before: |rig| async { drop(rig.bound("a", "nl").await) }.boxed(),
        act: |p| async move { drop(close_line(p, &key("a"), "test").await) }.boxed(),
        purchases: 1,
    })
    .await;
}

#[tokio::test]
async fn a_death_while_giving_back_gives_back_in_the_end() {
    dies_everywhere(Play {
        before: |rig| {
            async {
                rig.bound("a", "nl").await;
                rig.close("a").await;
                rig.clock.forward_secs(3600);
            }
            .boxed()
        },
        act: |p| async move { drop(release_idle(p).await) }.boxed(),
        purchases: 2,
    })
    .await;
}

#[tokio::test]
async fn a_death_while_a_lost_purchase_is_matched_leaves_it_to_the_next_look() {
    dies_everywhere(Play {
        before: |rig| {
            async {
                rig.sandbox.faults().push(Call::Buy, Fault::ChargedButAnswerLost);
                assert_eq!(rig.refused("a", "nl").await, "ASSIGN_IN_PROGRESS");
                rig.clock.forward_secs(10);
            }
            .boxed()
        },
        act: |p| async move { drop(reconcile(p, &brd()).await) }.boxed(),
        purchases: 1,
    })
    .await;
}

#[tokio::test]
async fn a_death_while_a_purchase_that_never_was_is_given_up_leaves_it_to_the_next_look() {
    dies_everywhere(Play {
        before: |rig| {
            async {
                rig.sandbox.faults().push(Call::Buy, Fault::Status { code: 500, retry_after: None });
                assert_eq!(rig.refused("a", "nl").await, "ASSIGN_IN_PROGRESS");
                rig.clock.forward_secs(16 * 60);
            }
            .boxed()
        },
        act: |p| async move { drop(reconcile(p, &brd()).await) }.boxed(),
        purchases: 1,
    })
    .await;
}

#[tokio::test]
async fn a_death_while_an_address_is_taken_in_leaves_it_to_the_next_look() {
    dies_everywhere(Play {
        before: |rig| {
            async { assert_eq!(rig.sandbox.buy_by_hand("nl", 1).len(), 1) }.boxed()
        },
        act: |p| async move { drop(reconcile(p, &brd()).await) }.boxed(),
        purchases: 0,
    })
    .await;
}
