//! A super-proxy in a bad mood: down, slow to dial, refusing.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;

use super::refusal::ProxyError;
use crate::lock;

/// Switches of the super-proxy; each holds until it is changed.
#[derive(Debug)]
pub struct GatewayControl {
    wanted_down: watch::Sender<bool>,
    /// What the listener's task has made true.
    is_down: watch::Sender<bool>,
    dial_delay: Mutex<Duration>,
    refusal: Mutex<Option<ProxyError>>,
}

impl Default for GatewayControl {
    fn default() -> Self {
        Self {
            wanted_down: watch::Sender::new(false),
            is_down: watch::Sender::new(false),
            dial_delay: Mutex::default(),
            refusal: Mutex::default(),
        }
    }
}

impl GatewayControl {
    /// Down: the listener closes (connections are refused) and live tunnels are cut. Up again: the
    /// same address listens. Returns once it is so.
    pub async fn set_down(&self, down: bool) {
        let mut is_down = self.is_down.subscribe();
        self.wanted_down.send_replace(down);
        // An error means that the listener's task is gone for good.
        let _ = is_down.wait_for(|is| *is == down).await;
    }

    /// How long the super-proxy waits before it dials a target.
    pub fn set_dial_delay(&self, delay: Duration) {
        *lock(&self.dial_delay) = delay;
    }

    /// Refuses every request that carries good credentials with this code of the vendor's
    /// catalogue (`client_10020` suspended, `client_10110` rate, `target_40020` 502, …); `None`
    /// ends it. False, and no change, if the code is not known here.
    pub fn refuse_with(&self, code: Option<&str>) -> bool {
        let refusal = code.map(ProxyError::by_code);
        if refusal == Some(None) {
            return false;
        }
        *lock(&self.refusal) = refusal.flatten();
        true
    }

    pub(super) fn dial_delay(&self) -> Duration {
        *lock(&self.dial_delay)
    }

    pub(super) fn refusal(&self) -> Option<ProxyError> {
        *lock(&self.refusal)
    }

    pub(super) async fn until_wanted(&self, down: bool) {
        let mut wanted = self.wanted_down.subscribe();
        // The sender lives in `self`: this cannot fail while it is awaited.
        let _ = wanted.wait_for(|w| *w == down).await;
    }

    pub(super) fn now_is(&self, down: bool) {
        self.is_down.send_replace(down);
    }
}
