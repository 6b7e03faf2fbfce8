//! The streams that peers open at an agent: output that they read, further processes that they ask
//! for, programs that they attach to, what containers use. Here they are told apart.
//!
//! Used by the agent's node. Deliberately not here: who may do what.

use std::sync::Arc;

use tepui_core::protocol::agent::Read;
use tepui_core::protocol::enter::{Opening, Wanted};
use tepui_isolation::Enterer;
use tepui_transport::enter::opening;
use tepui_transport::streams::IncomingStream;

use crate::attaching::Attaching;
use crate::entering::Entering;
use crate::growth::Growths;
use crate::output::{self, Copied, Following};
use crate::sandboxes::{Opened, Refusal, Sandboxes};
use crate::using::Using;

/// Returns what takes each stream on.
pub(crate) fn serve_streams(
    sandboxes: Arc<Sandboxes>,
    enterer: Enterer,
    using: Arc<Using>,
) -> Arc<dyn Fn(IncomingStream) + Send + Sync> {
    let growths = Arc::new(Growths::default());
    let entering = Arc::new(Entering::new(Arc::clone(&sandboxes), enterer.clone()));
    let attaching = Attaching::new(Arc::clone(&sandboxes), Arc::clone(&growths), enterer);
    let attaching = Arc::new(attaching);
    Arc::new(move |stream| {
        let (sandboxes, growths) = (Arc::clone(&sandboxes), Arc::clone(&growths));
        let (entering, attaching) = (Arc::clone(&entering), Arc::clone(&attaching));
        let using = Arc::clone(&using);
        tokio::spawn(async move {
            let beside = (&entering, &attaching, &*using);
            if let Err(error) = serve(sandboxes, &growths, beside, stream).await {
                tracing::debug!(%error, "a stream was not served to its end");
            }
        });
    })
}

async fn serve(
    sandboxes: Arc<Sandboxes>,
    growths: &Arc<Growths>,
    (entering, attaching, using): (&Arc<Entering>, &Arc<Attaching>, &Using),
    stream: IncomingStream,
) -> anyhow::Result<()> {
    match opening(&stream) {
        None => {}
        Some(Ok(Opening::Containers(Wanted::Enter(wanted)))) => {
            return entering.serve(stream, *wanted).await;
        }
        Some(Ok(Opening::Containers(Wanted::Attach(wanted)))) => {
            return attaching.serve(stream, wanted).await;
        }
        Some(Ok(Opening::Containers(Wanted::Usage))) => return using.serve(stream).await,
        Some(Err(error)) => return Ok(stream.refuse(&error.to_string()).await?),
    }
    let read: Read = match stream.request() {
        Ok(read) => read,
        Err(error) => return Ok(stream.refuse(&error.to_string()).await?),
    };
    let info = Arc::clone(stream.info());
    let opening = move || sandboxes.serve(&info.principal, &read);
    let opened = match tokio::task::spawn_blocking(opening).await? {
        Ok(opened) => opened,
        Err(Refusal::Final(reason) | Refusal::Denied(reason)) => {
            return Ok(stream.refuse(&reason).await?);
        }
        Err(Refusal::NotNow(reason)) => return Ok(stream.put_off(&reason).await?),
    };
    let mut writer = stream.grant().await?;
    let Opened {
        kept,
        file,
        position,
        until,
        place,
    } = opened;
    let from = Following::begin((kept, file, position), until, growths).await?;
    let copied = output::copy(from, &mut writer).await?;
    drop(place);
    match copied {
        Copied::All(_) => writer.finish().await?,
        Copied::ReaderGone(bytes) => tracing::debug!(bytes, "the reader left early"),
    }
    Ok(())
}
