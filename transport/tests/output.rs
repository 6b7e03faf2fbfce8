//! Readers of task output against an agent that has little room.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

#[allow(dead_code, reason = "each test binary uses a part of this module")]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Certificates, NodeOptions, bind};
use tepui_core::auth::PeerRole;
use tepui_core::ids::{FrameworkId, TaskId};
use tepui_core::protocol::agent::{OutputFile, Read};
use tepui_transport::output::OutputClient;
use tepui_transport::streams::IncomingStream;
use tepui_transport::target::Target;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

fn read(task: usize) -> Read {
    Read {
        framework: FrameworkId::new("f").unwrap(),
        task: TaskId::new(&task.to_string()).unwrap(),
        file: OutputFile::Stdout,
        offset: 0,
        follow: true,
    }
}

/// Runs an agent that serves streams so, and a client of it.
async fn with_agent<F: Future<Output = ()>>(
    serve: impl Fn(IncomingStream) + Send + Sync + 'static,
    test: impl FnOnce(OutputClient) -> F,
) {
    let certificates = Certificates::new();
    let mut agent = NodeOptions::new(PeerRole::Agent, "a").accepting(&[PeerRole::Framework]);
    agent.streams = Some(Arc::new(serve));
    let (agent, _events) = agent.build();
    let endpoint = bind(&agent, &certificates.credentials(PeerRole::Agent, "a"));
    let target = Target {
        master: "nowhere:1".into(),
        tls_dir: certificates.issue(PeerRole::Framework, "f"),
    };
    let address = endpoint.local_address().unwrap().to_string();
    test(OutputClient::connect(&target, &address).await.unwrap()).await;
}

#[tokio::test]
async fn a_reader_that_is_put_off_comes_back() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let serve = move |stream: IncomingStream| {
        let before = count.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            if before < 3 {
                stream.put_off("too many readers").await.unwrap();
                return;
            }
            let mut writer = stream.grant().await.unwrap();
            writer.write_all(b"hello").await.unwrap();
            writer.finish().await.unwrap();
        });
    };
    with_agent(serve, async |client| {
        let mut output = client.read(&read(1)).await.unwrap();
        assert_eq!(output.chunk().await.unwrap(), Some(b"hello".to_vec()));
        assert_eq!(output.chunk().await.unwrap(), None);
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    })
    .await;
}

#[tokio::test]
async fn all_of_many_files_are_read_at_once() {
    const FILES: usize = 600;
    let go_on = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&go_on);
    let serve = move |stream: IncomingStream| {
        let waiting = Arc::clone(&waiting);
        tokio::spawn(async move {
            let mut writer = stream.grant().await.unwrap();
            writer.write_all(b"begun").await.unwrap();
            drop(waiting.acquire().await.unwrap());
            writer.finish().await.unwrap();
        });
    };
    with_agent(serve, async |client| {
        let mut outputs = Vec::new();
        for task in 0..FILES {
            let mut output = client.read(&read(task)).await.unwrap();
            // None of those before it has ended.
            assert_eq!(output.chunk().await.unwrap(), Some(b"begun".to_vec()));
            outputs.push(output);
        }
        go_on.add_permits(FILES);
        for mut output in outputs {
            assert_eq!(output.chunk().await.unwrap(), None);
        }
    })
    .await;
}
