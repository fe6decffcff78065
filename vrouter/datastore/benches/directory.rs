//! How long a directory of many files takes: the first list, one edit, one regular scan.
//!
//! `cargo bench -p vrouter-datastore` or, for another number of files,
//! `cargo bench -p vrouter-datastore -- 1000`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use vrouter_datastore::{Datastore, Directory, Event, Watch};

const EDITS: u32 = 50;

fn endpoint(number: usize, label: &str) -> String {
    format!(
        "apiVersion: projectcalico.org/v3\nkind: WorkloadEndpoint\nmetadata:\n  namespace: \
         default\n  labels: {{app: {label}}}\n  annotations: {{vrouter.io/netns: \
         pod{number}}}\nspec:\n  node: node1\n  orchestrator: k8s\n  pod: pod{number}\n  \
         ipNetworks: [10.{}.{}.{}/32]\n  profiles: [kns.default]\n  interfaceName: \
         cali{number}\n",
        (number >> 16) & 255,
        (number >> 8) & 255,
        number & 255
    )
}

/// Waits for the end of a batch; how many resources it brought.
fn batch(watch: &Watch) -> usize {
    let mut upserts = 0;
    loop {
        match watch.events().recv().expect("the watch runs") {
            Event::Upsert(_) => upserts += 1,
            Event::InSync => return upserts,
            event @ (Event::Fault { .. } | Event::Away { .. }) => panic!("{event:?}"),
            Event::Delete(_) | Event::Mended { .. } | Event::Notice(_) | Event::Back => {}
        }
    }
}

fn edit(root: &Path, watch: &Watch, number: usize, label: &str) -> Duration {
    fs::write(root.join(format!("{number}.yaml")), endpoint(number, label)).expect("room on disk");
    let start = Instant::now();
    assert_eq!(batch(watch), 1);
    start.elapsed()
}

fn main() {
    let files = std::env::args()
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(10_000);
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let root = temporary.path();
    for number in 0..files {
        fs::write(root.join(format!("{number}.yaml")), endpoint(number, "web")).expect("room");
    }
    // So that the files count as settled: times on disk are coarse.
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    let directory = Directory::open(root).expect("it is there");
    let watch = directory
        .watch(vrouter_api::Kind::ALL)
        .expect("inotify works");
    assert_eq!(batch(&watch), files);
    println!("{files} files, first list: {:?}", start.elapsed());
    let mut times: Vec<Duration> = (0..EDITS)
        .map(|number| edit(root, &watch, number as usize, "db"))
        .collect();
    times.sort();
    println!(
        "one edit until in sync: median {:?}, longest {:?}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
    let start = Instant::now();
    let events = directory.load().expect("it is there");
    println!(
        "{} events of one load without watching: {:?}",
        events.len(),
        start.elapsed()
    );
}
