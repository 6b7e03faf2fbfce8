//! `tepui sim --trace`: heads of real traces through whole clusters, and what is said of them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn data(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    folder.join(name).to_str().unwrap().into()
}

fn sim(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tepui"));
    command.arg("sim").args(args).output().unwrap()
}

fn json(args: &[&str]) -> Value {
    let output = sim(&[args, &["-o", "json"]].concat());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stderr, b"");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Everything of a figure but how long it took, which is never the same.
fn timeless(figures: &Value) -> Value {
    let mut figures = figures.clone();
    for policy in figures["policies"].as_array_mut().unwrap() {
        let policy = policy.as_object_mut().unwrap();
        policy.remove("wall_seconds");
        policy.remove("speed");
    }
    figures
}

#[test]
fn tasks_with_devices_are_replayed_and_policies_compared() {
    let (tasks, nodes) = (data("openb_tasks.csv"), data("openb_nodes.csv"));
    let args = ["--trace", &tasks, "--nodes", &nodes, "--compress", "50000"];
    let args = [&args[..], &["--policy", "drf,best-fit,drf", "--for", "20m"]].concat();
    let figures = json(&args);
    assert_eq!(
        (&figures["jobs"], &figures["tasks"]),
        (&400.into(), &400.into())
    );
    let policies = figures["policies"].as_array().unwrap();
    let names: Vec<&str> = policies
        .iter()
        .map(|p| p["policy"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["drf", "best-fit"]);
    for policy in policies {
        let started = policy["waiting"]["tasks"].as_u64().unwrap();
        let left = policy["tasks_left"].as_u64().unwrap();
        assert_eq!(started + left, 400);
        assert!(started > 100, "{started}");
        assert_eq!(policy["tasks_started_again"], 0);
        let used = policy["utilisation"]["gpu_milli"]["most"].as_f64().unwrap();
        assert!((0.1..=1.0).contains(&used), "{used}");
        let p50 = policy["waiting"]["p50_seconds"].as_f64().unwrap();
        let p99 = policy["waiting"]["p99_seconds"].as_f64().unwrap();
        assert!(p50 <= p99 && p99 < 1_200.0, "{p50} {p99}");
        let users = policy["users"].as_array().unwrap();
        let user = |name: &str| users.iter().any(|user| user["user"] == name);
        assert!(user("LS") && user("BE"));
        let samples = policy["samples"].as_array().unwrap();
        assert!(samples.len() > 50);
        assert!(
            samples
                .iter()
                .all(|sample| sample["dominant_shares"]["LS"].is_number())
        );
    }
    assert_eq!(timeless(&json(&args)), timeless(&figures), "the same seed");
}

#[test]
fn jobs_that_only_move_bytes_get_maps_and_reducers() {
    let trace = data("fb.tsv");
    let machines = ["--agents", "20", "--resources", "cpus:8;mem:16384"];
    let output = sim(&[&["--trace", &trace][..], &machines].concat());
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("machines 20, jobs "), "{first}");
    for part in [
        "POLICY",
        "CPUS USED",
        "MEM LOST",
        "GAP",
        "UNFAIR",
        "APART",
        "drf",
        "user-4",
        "SHARE",
        "UNTIL",
        "WAITING",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_fits_is_drawn_without_fonts_of_ours() {
    let (tasks, nodes) = (data("openb_tasks.csv"), data("openb_nodes.csv"));
    let dir = tempfile::tempdir().unwrap();
    let plot = dir.path().join("packing.svg");
    let args = ["--trace", &tasks, "--nodes", &nodes, "--inflate"];
    let args = [&args[..], &["--plot", plot.to_str().unwrap()]].concat();
    let figures = json(&args);
    let policy = &figures["policies"][0];
    assert!(policy["tasks_left"].as_u64().unwrap() > 0, "all of it fits");
    assert!(policy["packing_loss"]["cpus"].as_f64().unwrap() > 0.0);
    let gap = &policy["dominant_share_gap"];
    assert!(gap["most"].as_f64() >= gap["mean"].as_f64() && gap["mean"].is_f64());
    let largest = policy["largest_task_share"].as_f64().unwrap();
    assert!(largest > 0.0 && gap["most"].as_f64().unwrap() <= largest);
    assert_eq!(policy["unfair_starts"], 0.0);
    // Devices of some models are gone for good, and who wants them is behind.
    assert!(policy["dominant_shares_apart"].as_f64().unwrap() > largest);
    let svg = std::fs::read_to_string(&plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for part in [
        "<polyline",
        "gpu_milli in use",
        "gpu_milli lost to packing",
        "tasks that wait",
        "mean, p50, p99",
        "<rect",
        "dominant shares under drf",
        "Burstable",
    ] {
        assert!(svg.contains(part), "{part}");
    }
}

#[test]
fn what_is_no_trace_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.tsv");
    std::fs::write(&file, "job0\t1\t1\t2\t3\t4\njob1\tsoon\t1\t2\t3\t4\n").unwrap();
    let path = file.to_str().unwrap();
    let refused = |args: &[&str], expected: &str| {
        let output = sim(args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(expected), "{text}");
    };
    refused(&["--trace", path], "line 2, column 2: \"soon\"");
    refused(&["--trace", "/does/not/exist"], "--trace");
    let tasks = data("openb_tasks.csv");
    refused(&["--trace", &tasks, "--nodes", &tasks], "line 1, column 1");
    refused(&["--trace", &tasks, "--policy", "fastest"], "best-fit");
    refused(&["--nodes", &tasks], "--trace");
    refused(&["--trace", &tasks, "--seeds", "1..2"], "--seeds");
}
