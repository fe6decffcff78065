//! The real binary against a daemon in this process: every command in every format, compared
//! with `tests/golden/`. `UPDATE_GOLDEN=1 cargo test -p vrouterctl` writes them anew.

#![allow(clippy::unwrap_used)]

mod fake;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use fake::{Daemon, MANY};

fn ctl(socket: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vrouterctl"));
    command
        .env("VROUTER_CONTROL_SOCKET", socket)
        .env_remove("COLUMNS")
        .stdin(Stdio::null());
    command
}

fn run(daemon: &Daemon, line: &str) -> Output {
    ctl(&daemon.socket())
        .args(line.split_whitespace())
        .output()
        .unwrap()
}

/// Standard output of a command that must succeed without a word on standard error.
fn text(daemon: &Daemon, line: &str) -> String {
    let output = run(daemon, line);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{line}: {} {errors}",
        output.status
    );
    String::from_utf8(output.stdout).unwrap()
}

fn golden(name: &str, seen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, seen).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        seen == expected,
        "{name}: seen\n{seen}\nexpected\n{expected}"
    );
}

#[test]
fn every_command_in_every_format() {
    let daemon = Daemon::start();
    for (name, line) in [
        ("interfaces", "show interfaces"),
        (
            "interfaces-per-worker",
            "show interfaces default/pod1-1 --per-worker",
        ),
        ("routes", "show routes 10.0.0.0/8"),
        ("route-lookup", "show routes 10.65.1.3"),
        ("neighbors", "show neighbors"),
        ("tunnels", "show tunnels"),
        ("flows", "show flows"),
        ("policy", "show policy"),
        ("drops", "show drops"),
        ("drops-recent", "show drops --recent --all"),
        ("workers", "show workers"),
        ("version", "version"),
        ("resources", "show resources"),
        ("counters", "show counters"),
        ("counters-all", "show counters --all"),
        ("status", "status --bird-socket /nonexistent"),
        (
            "explain",
            "policy explain default/pod1-1 10.65.1.2 tcp/80 --source-port 1024",
        ),
        ("reload", "reload"),
    ] {
        for (format, extension) in [
            ("ps", "ps.txt"),
            ("wide", "wide.txt"),
            ("json", "json"),
            ("yaml", "yaml"),
        ] {
            let seen = text(&daemon, &format!("{line} -o {format}"));
            golden(&format!("{name}.{extension}"), &without_commit(&seen));
            if format == "json" {
                let _: serde_json::Value = serde_json::from_str(&seen).unwrap();
            }
            for line in seen.lines() {
                assert_eq!(line, line.trim_end(), "{name}: trailing blanks");
            }
        }
    }
}

/// The commit is another one in every build.
fn without_commit(text: &str) -> String {
    let other = |line: &&str| {
        let line = line.trim_start();
        ![
            "Git commit:",
            "\"commit\":",
            "\"date\":",
            "commit:",
            "date:",
        ]
        .iter()
        .any(|name| line.starts_with(name))
    };
    text.split_inclusive('\n').filter(other).collect()
}

#[test]
fn tables_fit_into_80_columns() {
    let daemon = Daemon::start();
    for line in [
        "show interfaces",
        "show routes",
        "show neighbors",
        "show tunnels",
        "show flows",
        "show workers",
        "show drops",
        "show counters",
        "version",
    ] {
        let output = run(&daemon, line);
        for row in String::from_utf8(output.stdout).unwrap().lines() {
            assert!(row.chars().count() <= 80, "{line}: {row}");
        }
    }
}

#[test]
fn drops_are_printed_a_line_each() {
    let daemon = Daemon::start();
    let all = text(&daemon, "drops");
    let lines: Vec<&str> = all.lines().collect();
    assert_eq!(
        lines,
        [
            "2026-09-30T23:59:59.999Z ip-truncated cali2b40a8b95f4 - - length 17",
            "2026-09-30T23:59:59.999Z policy-denied cali2b40a8b95f4 tcp \
             10.65.0.2:43210 > 10.65.1.2:23 length 60 cut: \
             egress security/security.no-telnet[0] Deny",
        ]
    );
    assert_eq!(
        text(&daemon, "drops --reason policy-denied")
            .lines()
            .count(),
        1
    );
    assert_eq!(text(&daemon, "drops --interface tunl0"), "");
    let json = text(&daemon, "drops -o json");
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["reason"], "ip-truncated");
    let refused = run(&daemon, "drops --reason policy");
    assert_eq!(refused.status.code(), Some(2));

    let mut follow = ctl(&daemon.socket())
        .args(["drops", "-f"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(1500));
    follow.kill().unwrap();
    let output = follow.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), all);
}

#[test]
fn aliases_and_places_of_options() {
    let daemon = Daemon::start();
    let interfaces = text(&daemon, "show interfaces -o json");
    for line in [
        "show if -o json",
        "-o json show interface",
        "show -o json intf",
    ] {
        assert_eq!(text(&daemon, line), interfaces, "{line}");
    }
    assert_eq!(text(&daemon, "show version"), text(&daemon, "version"));
    let by_name = text(&daemon, "show neigh cali2b40a8b95f4");
    assert_eq!(text(&daemon, "show neighbors default/pod1-1"), by_name);
    let socket = daemon.socket();
    let flag = ["--socket", &socket, "show", "r", "--limit=0"];
    assert!(
        ctl("/nonexistent")
            .args(flag)
            .output()
            .unwrap()
            .status
            .success()
    );
}

#[test]
fn filters_reach_the_daemon() {
    let daemon = Daemon::start();
    let rows = |line: &str| text(&daemon, line).lines().count() - 1;
    assert_eq!(rows("show routes --family 6"), 1);
    assert_eq!(rows("show routes 10.65.0.9/24"), 3);
    assert_eq!(rows("show flows --protocol tcp"), 1);
    assert_eq!(rows("show flows --protocol 47"), 1);
    assert_eq!(rows("show flows --port 53"), 1);
    assert_eq!(rows("show flows --address fd00:65::/64"), 1);
    assert_eq!(rows("show flows --address 10.65.1.2 --protocol icmp"), 1);
    assert_eq!(rows("show flows --endpoint default/other"), 0);
    assert_eq!(rows("show tunnels node3"), 1);
    let lookup = text(&daemon, "show routes 10.65.0.2");
    assert!(
        lookup.contains("10.65.0.2/32") && lookup.lines().count() == 2,
        "{lookup}"
    );
}

#[test]
fn pages_go_on_where_they_ended() {
    let daemon = Daemon::start();
    let output = run(&daemon, "show routes --limit 3");
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 4);
    let total = MANY + 7;
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        format!(
            "vrouterctl: 3 rows of {total}; go on with --after '3' or take all with --limit 0\n"
        )
    );
    let second = text(&daemon, "show routes --limit 2 --after 3 -o json");
    let second: serde_json::Value = serde_json::from_str(&second).unwrap();
    assert_eq!(second["items"][0]["prefix"], "10.65.0.2/32");
    assert_eq!(second["next"], "5");
    assert_eq!(second["total"], total);

    // More than the largest page: several requests, one list.
    let all = text(&daemon, "show routes --limit 0 -o json");
    let all: serde_json::Value = serde_json::from_str(&all).unwrap();
    let items = all["items"].as_array().unwrap();
    assert_eq!(items.len(), usize::try_from(total).unwrap());
    assert!(all.get("next").is_none());
    let mut prefixes: Vec<_> = items
        .iter()
        .map(|r| r["prefix"].as_str().unwrap())
        .collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    assert_eq!(prefixes.len(), items.len());
    let table = text(&daemon, "show routes --limit 0");
    assert_eq!(
        table
            .lines()
            .filter(|line| line.starts_with("PREFIX"))
            .count(),
        1
    );
    // Two next hops of one route: one line more.
    assert_eq!(table.lines().count(), 1 + items.len() + 1);
}

#[test]
fn errors_are_one_line_and_have_their_codes() {
    let daemon = Daemon::start();
    let gone = daemon.dir.path().join("gone.sock");
    let stale = daemon.dir.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let file = daemon.dir.path().join("file");
    fs::write(&file, "").unwrap();
    let socket = daemon.socket();
    for (socket, line, code, message) in [
        (
            gone.to_str().unwrap(),
            "show routes",
            1,
            format!(
                "cannot reach vrouterd at {}: No such file or directory: is it running?",
                gone.display()
            ),
        ),
        (
            stale.to_str().unwrap(),
            "show drops -o json",
            1,
            format!(
                "cannot reach vrouterd at {}: Connection refused: is it running?",
                stale.display()
            ),
        ),
        (
            file.to_str().unwrap(),
            "reload",
            1,
            format!(
                "cannot reach vrouterd at {}: Connection refused: is it running?",
                file.display()
            ),
        ),
        (
            &socket,
            "show interfaces default/nobody",
            1,
            "no interface or endpoint \"default/nobody\" (not_found)".to_owned(),
        ),
        (
            &socket,
            "show routes 2001:db8::1",
            1,
            "no route to 2001:db8::1 (not_found)".to_owned(),
        ),
        (
            &socket,
            "show routes --after nonsense",
            1,
            "after: no cursor of this list (bad_params)".to_owned(),
        ),
        (
            &socket,
            "policy explain default/nobody 10.0.0.1 tcp",
            1,
            "no endpoint \"default/nobody\" (not_found)".to_owned(),
        ),
        (
            &socket,
            "call show.routes {",
            2,
            "the parameters are not JSON".to_owned(),
        ),
    ] {
        let output = ctl(socket).args(line.split_whitespace()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{line}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{line}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(
            errors.starts_with(&format!("vrouterctl: {message}")),
            "{line}: {errors}"
        );
        assert_eq!(errors.lines().count(), 1, "{line}: {errors}");
    }
}

#[test]
fn a_wrong_command_line_is_code_2() {
    let daemon = Daemon::start();
    for line in [
        "",
        "show",
        "show everything",
        "show routes 10.0.0.0/40",
        "show routes --family 5",
        "show routes --limit x",
        "show flows --protocol tpc",
        "show flows --port 65536",
        "show interfaces -o xml",
        "show workers --watch 0",
        "policy explain a b icmp/999",
        "policy explain a b",
        "policy test file.yaml",
    ] {
        let output = run(&daemon, line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{line}"
        );
    }
    for line in ["--help", "show --help", "show flows --help", "--version"] {
        assert!(run(&daemon, line).status.success(), "{line}");
    }
}

#[test]
fn the_version_of_the_client_needs_no_daemon() {
    let output = ctl("/nonexistent/d.sock")
        .args(["version", "--client"])
        .output()
        .unwrap();
    let ours = format!("Client Version:    {}\n", env!("CARGO_PKG_VERSION"));
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(without_commit(&said), ours);
    assert!(said.contains("Git commit:        "), "{said}");
    let output = ctl("/nonexistent/d.sock")
        .args(["version"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(without_commit(&said), ours);
    assert!(!output.stderr.is_empty());
}

#[test]
fn shutdown_and_raw_calls() {
    let daemon = Daemon::start();
    let raw = text(&daemon, "call show.workers");
    let raw: serde_json::Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(raw[0]["poolSize"], 8192);
    let limited = text(&daemon, r#"call show.routes {"limit":1}"#);
    let limited: serde_json::Value = serde_json::from_str(&limited).unwrap();
    assert_eq!(limited["next"], "1");
    let unknown = run(&daemon, "call show.nothing");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        String::from_utf8(unknown.stderr)
            .unwrap()
            .contains("(unknown_method)")
    );

    assert!(!daemon.fake.stopped.load(Ordering::SeqCst));
    assert_eq!(text(&daemon, "shutdown"), "");
    assert!(daemon.fake.stopped.load(Ordering::SeqCst));
}

#[test]
fn a_closed_pipe_ends_in_silence() {
    let daemon = Daemon::start();
    for format in ["ps", "json", "yaml"] {
        let mut child = ctl(&daemon.socket())
            .args(["show", "routes", "--limit", "0", "-o", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        // The reader, and with it the pipe, is gone here.
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{format}");
        assert!(output.status.success(), "{format}: {}", output.status);
    }
}

#[test]
fn watching_goes_on_until_nobody_looks() {
    let daemon = Daemon::start();
    let mut child = ctl(&daemon.socket())
        .args(["show", "workers", "--watch", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let once = text(&daemon, "show workers");
    for _ in 0..2 {
        for expected in once.lines() {
            assert_eq!(lines.next().unwrap(), expected);
        }
        assert_eq!(lines.next().unwrap(), "");
    }
    drop(lines);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

/// What the binary says to a daemon that answers its requests with `answers`.
fn with_answers(command: &[&str], answers: Vec<Vec<u8>>) -> Output {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("d.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut requests = BufReader::new(stream.try_clone().unwrap());
        for answer in answers {
            requests.read_line(&mut String::new()).unwrap();
            // The client may have gone before it took everything.
            let _ = stream.write_all(&answer);
        }
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read(&mut [0; 1]);
    });
    let output = ctl(path.to_str().unwrap()).args(command).output().unwrap();
    server.join().unwrap();
    output
}

/// The same for one answer that must be an error.
fn with_answer(answer: Vec<u8>) -> (Option<i32>, String) {
    let output = with_answers(&["show", "workers"], vec![answer]);
    assert!(output.stdout.is_empty());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    (output.status.code(), errors)
}

#[test]
fn pages_without_rows_are_passed_and_pages_in_a_circle_are_not() {
    let page = |id: u32, next: &str| {
        format!("{{\"id\":{id},\"result\":{{\"items\":[],\"next\":{next}}}}}\n").into_bytes()
    };
    let passed = vec![page(1, "\"5\""), page(2, "\"9\""), page(3, "null")];
    let output = with_answers(&["show", "flows", "-o", "json"], passed);
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "{\n  \"items\": []\n}\n"
    );
    let circle = vec![page(1, "\"5\""), page(2, "\"5\"")];
    let output = with_answers(&["show", "flows", "-o", "json"], circle);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("leads to itself")
    );
}

#[test]
fn a_daemon_that_talks_nonsense_is_an_error() {
    for answer in [
        "",
        "garbage\n",
        "{}\n",
        "{\"id\":1}\n",
        "{\"id\":2,\"result\":[]}\n",
        "{\"id\":1,\"result\":{}}\n",
        "{\"id\":1,\"result\":[{\"id\":0}]}\n",
        "{\"id\":1,\"resu",
    ] {
        let (code, errors) = with_answer(answer.into());
        assert_eq!(code, Some(1), "{answer}");
        assert!(errors.contains("daemon"), "{answer}: {errors}");
    }
    let (code, errors) = with_answer(vec![b'x'; 65 << 20]);
    assert_eq!(
        (code, errors.contains("too long")),
        (Some(1), true),
        "{errors}"
    );
}

#[test]
fn a_silent_daemon_is_given_up() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("d.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let begin = std::time::Instant::now();
    let output = ctl(path.to_str().unwrap())
        .args(["show", "workers", "--timeout", "1"])
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "vrouterctl: the connection to the daemon broke: no answer came in time\n"
    );
}

#[test]
fn many_at_once() {
    let daemon = Daemon::start();
    let expected = text(&daemon, "show interfaces");
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(text(&daemon, "show interfaces"), expected));
        }
    });
}
