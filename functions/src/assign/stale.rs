//! A claim whose attempt died: its purchase is resolved before anybody claims the line again.

use tollgate_domain::assignment::Assignment;
use tollgate_domain::intent::{IntentState, Verdict};

use super::{Stop, buy, in_progress};
use crate::platform::Platform;

/// Makes the line claimable again, or says that its purchase is still open.
pub(super) async fn resolve(platform: &Platform, found: &Assignment) -> Result<(), Stop> {
    let Some(id) = &found.intent else { return Ok(()) };
    let store = &platform.store;
    let Some(intent) = store.intent(id).await? else { return Ok(()) };
    if intent.state == IntentState::Failed {
        store.forget_intent(&intent).await?;
        return Ok(());
    }
    let now = platform.now();
    if intent.state == IntentState::Planned {
        // The call is only sent after `calling` is written, and this write keeps it from being.
        if let Verdict::Fail(reason) = intent.verdict_when_unlisted(now)
            && store.fail_intent(&intent, now, reason, None).await?
        {
            store.forget_intent(&intent).await?;
            return Ok(());
        }
    } else if let Verdict::Unknown(reason) = intent.verdict_when_unlisted(now) {
        store.step_intent(&intent, IntentState::Unknown, now, Some(reason.to_owned())).await?;
        buy::look_again(platform, &intent).await;
    }
    Err(in_progress("an earlier purchase for this line is not resolved yet", 10))
}
