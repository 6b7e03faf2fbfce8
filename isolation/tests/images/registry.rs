//! A real registry on loopback, and how images get into it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::build::Built;

const PATIENCE: Duration = Duration::from_secs(30);

/// Ends with the test.
pub(crate) struct Registry {
    child: Child,
    dir: tempfile::TempDir,
    pub(crate) host: String,
}

impl Registry {
    /// Starts one, with more in its configuration; `None` if it is not installed.
    pub(crate) fn start(more: impl Fn(&Path) -> String) -> Option<Self> {
        let is_here = Command::new("docker-registry")
            .arg("--version")
            .output()
            .is_ok();
        if !is_here {
            crate::common::skipped("docker-registry is not installed");
            return None;
        }
        // The port is free now, and may be another's when it is taken.
        (0..5).find_map(|_| Self::try_start(&more))
    }

    fn try_start(more: &impl Fn(&Path) -> String) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let host = port.local_addr().unwrap().to_string();
        drop(port);
        let config = dir.path().join("config.yml");
        let storage = dir.path().join("storage");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {host}\n{}",
            storage.display(),
            more(dir.path()),
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let doomed = || Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?);
        // SAFETY: the closure makes one call of the kernel. It ends with the thread of its test.
        unsafe { command.pre_exec(doomed) };
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&host).is_err() {
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(Instant::now() < deadline, "the registry does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self { child, dir, host })
    }

    pub(crate) fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.host)
    }

    /// Pushes an image over HTTP.
    pub(crate) fn push(&self, built: &Built, repository: &str, tag: &str, auth: Option<&str>) {
        for (digest, blob) in &built.blobs {
            let url = format!("http://{}/v2/{repository}/blobs/uploads/", self.host);
            let begun = send("POST", &url, "", b"", auth);
            let place = begun.headers()["location"].to_str().unwrap().to_owned();
            let separator = if place.contains('?') { '&' } else { '?' };
            let url = format!("{place}{separator}digest={digest}");
            let done = send("PUT", &url, "application/octet-stream", blob, auth);
            assert_eq!(done.status(), 201, "{digest}");
        }
        self.tag(&built.manifest, built.media_type, repository, tag, auth);
    }

    /// Pushes a manifest or an index.
    pub(crate) fn tag(
        &self,
        document: &[u8],
        media_type: &str,
        repository: &str,
        tag: &str,
        auth: Option<&str>,
    ) {
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", self.host);
        let done = send("PUT", &url, media_type, document, auth);
        assert_eq!(done.status(), 201, "{repository}:{tag}");
    }

    /// Where the registry keeps a blob.
    pub(crate) fn blob(&self, digest: &str) -> std::path::PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let below = format!(
            "storage/docker/registry/v2/blobs/sha256/{}/{hex}/data",
            &hex[..2]
        );
        self.dir.path().join(below)
    }

    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.end();
    }
}

fn send(
    method: &str,
    url: &str,
    media_type: &str,
    body: &[u8],
    auth: Option<&str>,
) -> ureq::http::Response<ureq::Body> {
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    if !media_type.is_empty() {
        request = request.header("content-type", media_type);
    }
    if let Some(auth) = auth {
        request = request.header("authorization", auth);
    }
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build();
    let agent = ureq::Agent::new_with_config(config);
    agent.run(request.body(body).unwrap()).unwrap()
}
