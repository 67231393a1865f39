//! Master keys, rotated by nodes whose clocks do not agree.

use std::sync::Arc;

use account::{MasterKey, RotateError, Store, SystemRng};
use sql::{Limits, SqlStore};
use tempfile::TempDir;

use crate::session_life::ANY_NUMBER;
use crate::world::ByHand;

/// The order of former keys is that of their rotations: the first one is the first for good.
#[tokio::test]
async fn keys_are_in_the_order_of_their_rotation() {
    let folder = TempDir::new().unwrap();
    let store = SqlStore::sqlite(&folder.path().join("hearthgate.db"), Limits::default()).await.unwrap();
    let world = ByHand::new(&store, ANY_NUMBER);
    let mut rotated = vec![store.key_fingerprint(&world.core.key_in_force().await.unwrap()).await.unwrap()];
    // Set back, at the same moment, and on again.
    for now in [5_000, 1_000, 1_000, 5_001, 9_000] {
        world.at(now);
        let next = Arc::new(MasterKey::draw(&SystemRng));
        world.core.rotate_key(Arc::clone(&next)).await.unwrap();
        rotated.push(next.fingerprint());
        let again = world.core.rotate_key(next).await;
        assert!(matches!(again, Err(RotateError::Used(_))), "one that was in force before never is again: {again:?}");
    }
    let kept = store.keys().await.unwrap();
    let former: Vec<_> = kept.former.iter().map(|key| key.fingerprint.clone()).chain(kept.current).collect();
    assert_eq!(former, rotated);
    let times: Vec<_> = kept.former.iter().map(|key| key.retired_at.0).collect();
    assert_eq!(times, [5_000, 5_001, 5_002, 5_003, 9_000]);
}
