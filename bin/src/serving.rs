//! The streams that peers open at an agent: output that they read, further processes that they ask
//! for. Here they are told apart.
//!
//! Used by the agent's node. Deliberately not here: who may do what.

use std::sync::Arc;

use tepui_core::protocol::agent::Read;
use tepui_core::protocol::enter::Opening;
use tepui_transport::enter::opening;
use tepui_transport::streams::IncomingStream;

use crate::entering::Entering;
use crate::growth::Growths;
use crate::output::{self, Copied};
use crate::sandboxes::{Refusal, Sandboxes};
use crate::using::Using;

/// Returns what takes each stream on.
pub(crate) fn serve_streams(
    sandboxes: Arc<Sandboxes>,
    entering: Arc<Entering>,
    using: Arc<Using>,
) -> Arc<dyn Fn(IncomingStream) + Send + Sync> {
    let growths = Arc::new(Growths::default());
    Arc::new(move |stream| {
        let (sandboxes, growths) = (Arc::clone(&sandboxes), Arc::clone(&growths));
        let (entering, using) = (Arc::clone(&entering), Arc::clone(&using));
        tokio::spawn(async move {
            if let Err(error) = serve(sandboxes, &growths, (&entering, &using), stream).await {
                tracing::debug!(%error, "a stream was not served to its end");
            }
        });
    })
}

async fn serve(
    sandboxes: Arc<Sandboxes>,
    growths: &Growths,
    (entering, using): (&Arc<Entering>, &Using),
    stream: IncomingStream,
) -> anyhow::Result<()> {
    match opening(&stream) {
        None => {}
        Some(Ok(Opening::Enter(wanted))) => return entering.serve(stream, *wanted).await,
        Some(Ok(Opening::Usage)) => return using.serve(stream).await,
        Some(Err(error)) => return Ok(stream.refuse(&error.to_string()).await?),
    }
    let read: Read = match stream.request() {
        Ok(read) => read,
        Err(error) => return Ok(stream.refuse(&error.to_string()).await?),
    };
    let (offset, info) = (read.offset, Arc::clone(stream.info()));
    let opening = move || sandboxes.serve(&info.principal, &read);
    let opened = match tokio::task::spawn_blocking(opening).await? {
        Ok(opened) => opened,
        Err(Refusal::Final(reason) | Refusal::Denied(reason)) => {
            return Ok(stream.refuse(&reason).await?);
        }
        Err(Refusal::NotNow(reason)) => return Ok(stream.put_off(&reason).await?),
    };
    let mut writer = stream.grant().await?;
    let copied = output::copy(opened.file, offset, opened.until, growths, &mut writer).await?;
    drop(opened.place);
    match copied {
        Copied::All(_) => writer.finish().await?,
        Copied::ReaderGone(bytes) => tracing::debug!(bytes, "the reader left early"),
    }
    Ok(())
}
