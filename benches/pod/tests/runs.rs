//! Whole runs, short ones: what they write, what they leave behind when they are killed, and
//! whether `compare` sees a slowdown and nothing else. They need root and the tools that
//! `tools/packages` installs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use vrouter_bench::cases::Test;
use vrouter_bench::results::Results;
use vrouter_lab::names::Netns;
use vrouter_lab::process::{in_namespaces, wait_until};
use vrouter_lab::{lifecycle, netns};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vrouter-bench");

fn bench(arguments: &str, out: &Path) -> Command {
    lifecycle::require_root().unwrap();
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments.split_whitespace())
        .arg("--force")
        .arg("--out")
        .arg(out)
        .stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

#[track_caller]
fn measured(arguments: &str, out: &Path) -> Results {
    let output = bench(arguments, out).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", said(&output));
    Results::read(out).unwrap()
}

/// Opens the report as a phone and as a desktop would, and asks the page itself what it drew.
#[track_caller]
fn assert_opens(report: &Path) {
    let text = fs::read_to_string(report).unwrap();
    let probe = "<script>addEventListener('load', () => {\
        const drawn = [...document.querySelectorAll('figure rect, figure polyline')].filter(e => {\
          const box = e.getBoundingClientRect(), style = getComputedStyle(e);\
          return (box.width > 0 || box.height > 0) && (style.fill + style.stroke).includes('rgb');\
        }).length;\
        const page = document.documentElement;\
        document.title = `drawn=${drawn} charts=${document.querySelectorAll('figure svg').length} \
        empty=${document.querySelectorAll('figure svg:empty').length} \
        over=${page.scrollWidth - page.clientWidth} \
        rows=${document.querySelectorAll('#ratios tbody tr').length}`;\
        });</script></main>";
    let probed = report.with_file_name("probed.html");
    fs::write(&probed, text.replacen("</main>", probe, 1)).unwrap();
    for size in ["390,844", "1280,1024"] {
        let profile = tempfile::tempdir().unwrap();
        let output = Command::new("timeout")
            .args([
                "60",
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
            ])
            .args([
                "--disable-dev-shm-usage",
                "--enable-logging=stderr",
                "--dump-dom",
            ])
            .arg(format!("--window-size={size}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("file://{}", probed.display()))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (dom, log) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        assert!(output.status.success(), "chromium: {log}");
        assert!(!log.contains("CONSOLE"), "{log}");
        let title = dom
            .split_once("<title>drawn=")
            .and_then(|(_, rest)| rest.split_once("</title>"))
            .map(|(title, _)| format!("drawn={title}"))
            .unwrap_or_else(|| panic!("the page did not load: {log}\n{dom}"));
        let figure = |name: &str| -> i64 {
            let rest = title.split_once(&format!("{name}=")).unwrap().1;
            rest.split(' ').next().unwrap().parse().unwrap()
        };
        assert!(figure("charts") >= 10, "{title}");
        assert!(figure("drawn") >= 2 * figure("charts"), "{title}");
        assert_eq!((figure("empty"), figure("over")), (0, 0), "{title}");
        assert!(figure("rows") > 0, "{title}");
    }
    fs::remove_file(probed).unwrap();
}

#[test]
#[ignore = "needs root"]
fn a_run_measures_everybody_and_its_report_opens() {
    let out = tempfile::tempdir().unwrap();
    let flags = "run --rounds 1 --settle 0 --seconds 1 --paths pod-pod-same,pod-pod-cross \
                 --encap vxlan,ipip --tests ping,tcp,udp-pps,rr,ab,new-conns";
    let results = measured(flags, out.path());
    assert!(results.complete);
    // Three subjects on one node, two over VXLAN, ours alone over IPIP.
    assert_eq!(results.samples.len(), (3 + 2 + 1) * 6);
    for sample in &results.samples {
        assert!(!sample.metrics.is_empty(), "{sample:?}");
        assert!(
            sample.metrics.values().all(|value| *value > 0.0),
            "{sample:?}"
        );
        assert!(sample.cpu.machine > 0.0, "{sample:?}");
    }
    let ours = results.samples.iter().filter(|s| s.subject == "vrouter");
    assert!(ours.map(|s| s.cpu.forwarders).sum::<f64>() > 0.1);
    let [missing] = &results.unavailable[..] else {
        panic!("{:?}", results.unavailable)
    };
    assert_eq!((&*missing.subject, missing.failed), ("kernel", false));
    assert!(missing.conditions.contains("ipip") && missing.reason.contains("ipip device"));
    assert!(!results.ratios.is_empty() && results.ratios.iter().all(|r| r.reference == "kernel"));

    let schema = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/schema/results.schema.json"
    ));
    let schema = serde_json::from_str(&schema.unwrap()).unwrap();
    let text = fs::read_to_string(out.path().join("results.json")).unwrap();
    let written = serde_json::from_str(&text).unwrap();
    if let Err(error) = jsonschema::validate(&schema, &written) {
        panic!("{error} at {}", error.instance_path());
    }
    assert_opens(&out.path().join("report.html"));

    // Nothing is left to do, so nothing is built.
    let again = Instant::now();
    let resumed = measured(&format!("{flags} --resume"), out.path());
    assert_eq!(resumed.samples, results.samples);
    assert!(
        again.elapsed() < Duration::from_secs(6),
        "{:?}",
        again.elapsed()
    );
    let other = bench("run --rounds 2 --resume", out.path())
        .output()
        .unwrap();
    assert!(said(&other).contains("other options"), "{}", said(&other));
}

#[test]
#[ignore = "needs root"]
fn rounds_are_added_while_a_ratio_is_not_settled_and_a_resumed_run_adds_the_rest() {
    let out = tempfile::tempdir().unwrap();
    let flags = "run --backends tap-loop,direct --paths pod-pod-same --tests tcp,ping --rounds 1 \
                 --settle 0.001 --max-rounds 6 --seconds 1";
    let mut child = bench(flags, out.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let record = out.path().join("samples.jsonl");
    let third = || fs::read_to_string(&record).is_ok_and(|text| text.contains("\"round\":3,"));
    assert!(wait_until(Duration::from_secs(60), third));
    let pid = child.id().to_string();
    let kill = Command::new("kill").args(["-s", "INT", &pid]).status();
    assert!(kill.unwrap().success());
    assert_nothing_is_left(&mut child, "SIGINT in an added round");
    let before = Results::read(out.path()).unwrap();
    assert!(!before.complete);

    let resumed = measured(&format!("{flags} --resume"), out.path());
    assert!(resumed.complete);
    assert_eq!(&resumed.samples[..before.samples.len()], before.samples);
    let rounds = |test| -> Vec<usize> {
        let all = resumed.samples.iter().filter(|s| s.case.test == test);
        let ours = all.filter(|sample| sample.subject == "tap-loop");
        ours.map(|sample| sample.round).collect()
    };
    assert_eq!(rounds(Test::Tcp), [1, 2, 3, 4, 5, 6]);
    assert_eq!(rounds(Test::Ping), [1]);
    let asked: Vec<(Test, bool)> = resumed
        .ratios
        .iter()
        .filter_map(|ratio| Some((ratio.case.test, ratio.settled?)))
        .collect();
    assert_eq!(asked, [(Test::Tcp, false)]);
    let again = Instant::now();
    let same = measured(&format!("{flags} --resume"), out.path());
    assert_eq!(same.samples, resumed.samples);
    assert!(
        again.elapsed() < Duration::from_secs(6),
        "{:?}",
        again.elapsed()
    );
}

#[test]
#[ignore = "needs root"]
fn a_lab_that_does_not_come_up_fails_the_run_and_the_others_go_on() {
    let out = tempfile::tempdir().unwrap();
    let flags = "run --rounds 1 --seconds 1 --paths pod-pod-same --tests ping \
                 --backends vrouter,direct --vrouterd /bin/false";
    let output = bench(flags, out.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let results = Results::read(out.path()).unwrap();
    let [missing] = &results.unavailable[..] else {
        panic!("{:?}", results.unavailable)
    };
    assert!(
        missing.subject == "vrouter" && missing.failed,
        "{missing:?}"
    );
    let measured: Vec<&str> = results.samples.iter().map(|s| &*s.subject).collect();
    assert_eq!(measured, ["direct"]);
}

/// Namespaces, state directories and processes of a run's labs.
fn leftovers(pid: u32) -> Vec<String> {
    let prefix = format!("bench{pid}-");
    let mut found: Vec<String> = netns::names().unwrap();
    if let Ok(entries) = fs::read_dir("/run/vrouter-lab") {
        found.extend(
            entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned()),
        );
    }
    found.retain(|name| name.starts_with(&prefix));
    let commands = Command::new("ps")
        .args(["-eo", "stat=,args="])
        .output()
        .unwrap();
    let commands = String::from_utf8_lossy(&commands.stdout).into_owned();
    let alive = commands
        .lines()
        .filter(|line| !line.trim_start().starts_with('Z') && line.contains(&prefix));
    found.extend(alive.map(str::to_owned));
    found
}

#[track_caller]
fn assert_nothing_is_left(child: &mut Child, when: &str) {
    let pid = child.id();
    child.wait().unwrap();
    assert!(
        wait_until(Duration::from_secs(15), || leftovers(pid).is_empty()),
        "{when}: {:?}",
        leftovers(pid)
    );
}

#[test]
#[ignore = "needs root"]
fn however_a_run_ends_its_labs_end_too() {
    for (signal, milliseconds) in [
        ("KILL", 1050),
        ("KILL", 1500),
        ("KILL", 4500),
        ("INT", 4500),
    ] {
        let out = tempfile::tempdir().unwrap();
        let mut child = bench("run --quick --backends kernel,tap-loop,vrouter", out.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        let pid = child.id().to_string();
        let kill = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(kill.unwrap().success());
        assert_nothing_is_left(&mut child, &format!("SIG{signal} after {milliseconds} ms"));
        let names: Vec<PathBuf> = fs::read_dir(out.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(!names.iter().any(|path| path.is_dir()), "{names:?}");
    }
}

/// Two namespaces on one veth, deleted with the value.
struct Pair([Netns; 2]);

impl Pair {
    fn new() -> Self {
        lifecycle::require_root().unwrap();
        let name = |end: &str| Netns::named(format!("be{}-{end}", std::process::id()));
        let pair = Self([name("a"), name("b")]);
        netns::create(&pair.0).unwrap();
        let [a, b] = &pair.0;
        let lines = |address: &str| {
            ["link set lo up", "link set eth0 up"]
                .map(str::to_owned)
                .into_iter()
                .chain([format!("address add {address}/24 dev eth0")])
                .collect::<Vec<_>>()
        };
        let add = format!("link add eth0 type veth peer name eth0 netns {b}");
        netns::ip(a, &[add]).unwrap();
        netns::ip(a, &lines("192.0.2.1")).unwrap();
        netns::ip(b, &lines("192.0.2.2")).unwrap();
        pair
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        netns::delete(&self.0).unwrap();
    }
}

#[test]
#[ignore = "needs root"]
fn places_of_others_are_measured_and_left_as_they_were() {
    let pair = Pair::new();
    let inodes: HashSet<u64> = pair.0.iter().filter_map(netns::inode).collect();
    let out = tempfile::tempdir().unwrap();
    let flags = format!(
        "--client-ns {} --server-ns {} --server-ip 192.0.2.2 --seconds 1",
        pair.0[0], pair.0[1]
    );
    let one = format!("run {flags} --rounds 1 --tests ping,udp-pps,ab");
    let results = measured(&one, out.path());
    assert_eq!(results.samples.len(), 3);
    assert_eq!(results.subjects, ["external"]);
    assert!(in_namespaces(&inodes).is_empty());

    let targets = out.path().join("targets.yaml");
    fs::write(
        &targets,
        format!(
            "targets:\n  - name: pair\n    client: [ip, netns, exec, {}]\n    \
             server: [ip, netns, exec, {}]\n    serverIp: 192.0.2.2\n    program: {PROGRAM}\n",
            pair.0[0], pair.0[1]
        ),
    )
    .unwrap();
    let from_file = format!(
        "run --targets {} --seconds 1 --rounds 1 --tests tcp,rr,ab",
        targets.display()
    );
    let output = bench(&from_file, out.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let results = Results::read(out.path()).unwrap();
    let failed: Vec<&str> = results
        .samples
        .iter()
        .filter_map(|sample| sample.error.as_deref())
        .collect();
    // The others went on.
    assert_eq!((results.samples.len(), failed.len()), (3, 1), "{failed:?}");
    assert!(failed[0].contains("no page"), "{failed:?}");

    let mut child = bench(&format!("run {flags} --tests tcp"), out.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    assert!(wait_until(Duration::from_secs(10), || in_namespaces(
        &inodes
    )
    .len()
        >= 3));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        wait_until(Duration::from_secs(5), || in_namespaces(&inodes).is_empty()),
        "{:?}",
        in_namespaces(&inodes)
    );
}

#[test]
#[ignore = "needs root"]
fn a_slowdown_is_told_from_noise() {
    let flags = "run --backends tap-loop,direct --paths pod-pod-same --encap none \
                 --tests udp-pps --rounds 4 --settle 0 --seconds 1";
    let [before, same, slow] = [0, 0, 30_000].map(|burden| {
        let out = tempfile::tempdir().unwrap();
        measured(&format!("{flags} --burden {burden}"), out.path());
        out
    });
    let compare = |old: &Path, new: &Path| {
        Command::new(PROGRAM)
            .arg("compare")
            .args([old, new])
            .output()
            .unwrap()
    };
    let quiet = compare(before.path(), same.path());
    assert_eq!(quiet.status.code(), Some(0), "{}", said(&quiet));
    let worse = compare(before.path(), slow.path());
    assert_eq!(worse.status.code(), Some(1), "{}", said(&worse));
    assert!(said(&worse).contains("WORSE"), "{}", said(&worse));
    let better = compare(slow.path(), before.path());
    assert_eq!(better.status.code(), Some(0), "{}", said(&better));
}
