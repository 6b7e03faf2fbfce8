//! What an agent looks at now and then: how full its disks are.
//!
//! Deliberately not here: what single containers take.

use std::sync::Arc;
use std::time::Duration;

use tepui_core::agent::Input;
use tepui_isolation::image::Store;
use tepui_transport::inbox::Inbox;
use tokio::time::MissedTickBehavior;

use crate::sandboxes::Sandboxes;

/// How often the disk of the sandboxes is measured.
const DISK_WATCH: Duration = Duration::from_secs(60);

/// How often it is looked whether the disk of images is nearly full.
const IMAGE_WATCH: Duration = Duration::from_secs(3_600);

/// Says once a minute how full the disk of the sandboxes is (TL-20).
pub(crate) async fn disk(sandboxes: Arc<Sandboxes>, inbox: Inbox<Input>) {
    let mut ticks = tokio::time::interval(DISK_WATCH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let permille = match sandboxes.disk_used() {
            Ok(permille) => permille,
            Err(error) => {
                tracing::warn!(%error, "cannot tell how full the disk of the sandboxes is");
                continue;
            }
        };
        if inbox.send(Input::DiskUsed { permille }).await.is_err() {
            return;
        }
    }
}

/// Removes images that nobody has, once an hour, if their disk is about to be full (CT-69).
pub(crate) async fn images(images: Store, headroom: u8) {
    let mut ticks = tokio::time::interval(IMAGE_WATCH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let images = images.clone();
        let look = move || images.prune_if_short(f64::from(headroom) / 100.0, &[]);
        match tokio::task::spawn_blocking(look).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(swept))) => {
                let (images, layers) = (swept.images.len(), swept.layers);
                tracing::info!(
                    images,
                    layers,
                    "removed images, for their disk is nearly full"
                );
            }
            Ok(Err(error)) => tracing::warn!(%error, "cannot make room on the disk of images"),
            Err(error) => tracing::warn!(%error, "the disk of images was not looked at"),
        }
    }
}
