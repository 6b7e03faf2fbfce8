//! Other runtimes, with the same program in the same root filesystem: as one runs them by hand,
//! with the configuration that they write themselves.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// A runtime and a bundle for it.
pub(super) struct Runtime {
    name: &'static str,
    dir: tempfile::TempDir,
    next: u32,
}

impl Runtime {
    /// Has the runtime write a configuration, and changes what it must in it.
    pub(super) fn new(name: &'static str, root: PathBuf) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let bundle = dir.path().join("bundle");
        fs::create_dir(&bundle)?;
        let mut command = Command::new(name);
        let output = command.arg("spec").current_dir(&bundle).output();
        let output = output.context("it is not installed")?;
        ensure!(output.status.success(), "{}", said(&output.stderr));
        let path = bundle.join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
        config["process"]["args"] = serde_json::json!(["/true"]);
        config["process"]["terminal"] = false.into();
        config["root"]["path"] = root.to_str().context("a path that is no text")?.into();
        // What they would raise the machine's own limits by is refused on some machines.
        config["process"]["rlimits"] = serde_json::json!([]);
        fs::write(&path, serde_json::to_vec(&config)?)?;
        let mut runtime = Self { name, dir, next: 0 };
        runtime.run()?;
        Ok(runtime)
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Runs one container to its end.
    pub(super) fn run(&mut self) -> anyhow::Result<Duration> {
        self.next += 1;
        let id = format!("tepui-bench-{}-{}", std::process::id(), self.next);
        let mut command = Command::new(self.name);
        command.arg("--root").arg(self.dir.path().join("state"));
        command.arg("run").arg("--bundle");
        command.arg(self.dir.path().join("bundle")).arg(id);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped());
        let begun = Instant::now();
        let output = command.spawn()?.wait_with_output()?;
        let took = begun.elapsed();
        ensure!(output.status.success(), "{}", said(&output.stderr));
        Ok(took)
    }
}

fn said(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim().to_owned()
}
