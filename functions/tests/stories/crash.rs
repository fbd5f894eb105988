//! A process dies at every store call of every story, before the call is applied and after; then
//! time passes, another process sweeps and reconciles, and the line asks again. Nothing may be
//! paid and unowned, owned and unpaid, or stuck.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tollgate_engine::{Fault, Faults, Recorder};
use tollgate_functions::close_line::close_line;
use tollgate_functions::platform::Platform;
use tollgate_functions::reconcile::reconcile;
use tollgate_functions::release_idle::release_idle;
use tollgate_sandbox::{Call, Fault as ProviderFault};

use crate::support::books::{Books, none};
use crate::support::{Rig, ask, brd, key, long};

/// A story, what it starts from, and how many purchases there are in the end.
struct Play {
    before: fn(&Rig) -> BoxFuture<'_, ()>,
    act: fn(&Platform) -> BoxFuture<'_, ()>,
    country: &'static str,
    purchases: usize,
}

/// What happens to one call of a story.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Blow {
    /// The process dies before it.
    Before,
    /// The process dies after it: it was applied.
    After,
    /// Its answer is lost, as often as the client tries; the process lives on.
    Unanswered,
    /// Its answer is lost once: the client tries again.
    Repeated,
}

impl Blow {
    fn at(self, call: usize) -> Arc<Faults> {
        let lost = |n| Faults::script((0..call).map(|_| Fault::Pass).chain((0..n).map(|_| Fault::LostAck)));
        match self {
            Self::Before => Faults::death(call as u64, false),
            Self::After => Faults::death(call as u64, true),
            Self::Unanswered => lost(3),
            Self::Repeated => lost(1),
        }
    }
}

/// Plays once to learn its calls, then once per blow. A death before a read leaves what the death
/// after the write before it leaves, so reads are left to the long form.
async fn dies_everywhere(play: Play) {
    let recorder = Recorder::new();
    let rig = begin(&play).await;
    (play.act)(&rig.on(rig.engine.client_recorded(recorder.clone()))).await;
    let served = Books::of(&rig).await.every_line_bound().is_empty();
    check(&rig, &play, "no blow").await;
    let calls = recorder.operations();
    let writes = calls.iter().filter(|c| is_write(c)).count();
    assert!(writes > 0, "{calls:?}");
    for (call, operation) in calls.iter().enumerate() {
        let blows: &[Blow] = if is_write(operation) {
            &[Blow::Before, Blow::After, Blow::Unanswered, Blow::Repeated]
        } else if long() {
            &[Blow::Before]
        } else {
            &[]
        };
        for blow in blows {
            let rig = begin(&play).await;
            let faults = blow.at(call);
            (play.act)(&rig.faulty(&faults)).await;
            let what = format!("{blow:?} call {call}, {operation} of {calls:?}");
            assert!(faults.injected().total() > 0, "{what}");
            if served && *blow == Blow::Repeated {
                none(&what, &Books::of(&rig).await.every_line_bound());
            }
            check(&rig, &play, &what).await;
        }
    }
}

fn is_write(operation: &str) -> bool {
    !matches!(operation, "GetItem" | "Query")
}

async fn begin(play: &Play) -> Rig {
    let rig = Rig::new().await;
    rig.sandbox.set_stock("nl", 5);
    (play.before)(&rig).await;
    rig
}

async fn check(rig: &Rig, play: &Play, what: &str) {
    none(what, &Books::of(rig).await.always());
    Box::pin(heal(rig)).await;
    let again = rig.assign("a", play.country).await;
    let books = Books::of(rig).await;
    none(what, &books.settled());
    assert!(again.is_ok(), "{what}: {again:?}");
    none(what, &books.every_line_bound());
    assert_eq!(rig.purchases(), play.purchases, "{what}");
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
        country: "nl",
        purchases: 1,
    })
    .await;
}

#[tokio::test]
async fn a_death_on_the_way_through_the_chain_leaves_one_purchase() {
    dies_everywhere(Play {
        before: |_| async {}.boxed(),
        act: |p| async move { drop(ask(p, "a", "be").await) }.boxed(),
        country: "be",
        purchases: 1,
    })
    .await;
}

#[tokio::test]
async fn a_death_while_recycling_leaves_the_address_in_the_pool_or_on_the_line() {
    dies_everywhere(Play {
        before: |rig| rig.idle("nl", 1).boxed(),
        act: |p| async move { buys(p).await }.boxed(),
        country: "nl",
        purchases: 0,
    })
    .await;
}

#[tokio::test]
async fn a_death_while_closing_leaves_the_line_open_or_its_address_idle() {
    dies_everywhere(Play {
        before: |rig| async { drop(rig.bound("a", "nl").await) }.boxed(),
        act: |p| async move { drop(close_line(p, &key("a"), "test").await) }.boxed(),
        country: "nl",
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
        country: "nl",
        purchases: 2,
    })
    .await;
}

#[tokio::test]
async fn a_death_while_a_lost_purchase_is_matched_leaves_it_to_the_next_look() {
    dies_everywhere(Play {
        before: |rig| {
            async {
                rig.sandbox.faults().push(Call::Buy, ProviderFault::ChargedButAnswerLost);
                assert_eq!(rig.refused("a", "nl").await, "ASSIGN_IN_PROGRESS");
                rig.clock.forward_secs(10);
            }
            .boxed()
        },
        act: |p| async move { drop(reconcile(p, &brd()).await) }.boxed(),
        country: "nl",
        purchases: 1,
    })
    .await;
}

#[tokio::test]
async fn a_death_while_a_purchase_that_never_was_is_given_up_leaves_it_to_the_next_look() {
    dies_everywhere(Play {
        before: |rig| {
            async {
                rig.sandbox.faults().push(Call::Buy, ProviderFault::Status { code: 500, retry_after: None });
                assert_eq!(rig.refused("a", "nl").await, "ASSIGN_IN_PROGRESS");
                rig.clock.forward_secs(16 * 60);
            }
            .boxed()
        },
        act: |p| async move { drop(reconcile(p, &brd()).await) }.boxed(),
        country: "nl",
        purchases: 1,
    })
    .await;
}

#[tokio::test]
async fn a_death_while_an_address_is_taken_in_leaves_it_to_the_next_look() {
    dies_everywhere(Play {
        before: |rig| async { assert_eq!(rig.sandbox.buy_by_hand("nl", 1).len(), 1) }.boxed(),
        act: |p| async move { drop(reconcile(p, &brd()).await) }.boxed(),
        country: "nl",
        purchases: 0,
    })
    .await;
}
