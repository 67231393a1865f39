//! For how long is kept what nobody needs any more.

use std::time::Duration;

use crate::core::Core;
use crate::store::{Forget, StoreError};

/// For how long operators are shown messages that were given up, and is remembered who was written to.
const KEEP: Duration = Duration::from_hours(30 * 24);

/// For how long is kept what became of sessions: longer than anybody who follows it is away.
const KEEP_EVENTS: Duration = Duration::from_hours(24);

impl Core {
    /// Forgets what is of no more use, and gives up messages that are. May take long; others have their turn meanwhile.
    ///
    /// # Errors
    /// [`StoreError`]; what is left is forgotten the next time.
    pub async fn forget_old(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let audit = now.minus(self.settings.audit_keep);
        self.store.forget(&Forget { now, old: now.minus(KEEP), events: now.minus(KEEP_EVENTS), audit }).await
    }
}
