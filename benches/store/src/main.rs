//! A node on a large cluster: an etcd is started and filled with nodes, blocks and endpoints in
//! Calico's layout, then watched as a node does. Printed: the time to the first complete state and
//! to the desired state made of it, the memory of this process at its peak, the processor time of
//! a quiet while, and how long a change takes to arrive.
//!
//! `store-bench --nodes 1000 --endpoints 100000`
//!
//! On two cores with other work beside: synced in 4.0 s, 326 MiB at the peak (131
//! before: what filled the etcd), 0.00 % in the quiet while, a change in 0.3 ms.

#![forbid(unsafe_code)]

use std::error::Error;
use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use etcd_client::{Client, Txn, TxnOp};
use vrouter_api::{Kind, Resource, parse};
use vrouter_core::desired::desired;
use vrouter_core::resources::Resources;
use vrouter_datastore::{Connection, Event};

const ROOT: &str = "/calico/resources/v3/projectcalico.org";

/// A node's costs on a large etcd.
#[derive(Parser)]
struct Arguments {
    /// Nodes in the cluster.
    #[arg(long, default_value_t = 1000)]
    nodes: usize,
    /// Workload endpoints, spread over the nodes.
    #[arg(long, default_value_t = 100_000)]
    endpoints: usize,
    /// Seconds of the quiet while.
    #[arg(long, default_value_t = 10)]
    quiet: u64,
    /// The client port of the etcd it starts on the loopback; the next one is its peers'.
    #[arg(long, default_value_t = 23790)]
    port: u16,
}

/// An etcd that ends with the value.
struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        // It is our child: both can only fail when it ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir()?;
    let (client, peer) = (
        format!("http://127.0.0.1:{}", arguments.port),
        format!("http://127.0.0.1:{}", arguments.port + 1),
    );
    let child = Command::new("etcd")
        .arg("--data-dir")
        .arg(folder.path())
        .args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ])
        .args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ])
        .args(["--initial-cluster", &format!("default={peer}")])
        .args([
            "--logger",
            "zap",
            "--log-level",
            "error",
            "--unsafe-no-fsync",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let etcd = Etcd(child);
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(("127.0.0.1", arguments.port)).is_err() {
        if Instant::now() > until {
            return Err("etcd does not listen".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let mut filler = runtime.block_on(Client::connect([&client], None))?;
    let started = Instant::now();
    runtime.block_on(fill(&mut filler, &arguments))?;
    println!(
        "filled    {} nodes, {} endpoints in {:.1} s",
        arguments.nodes,
        arguments.endpoints,
        started.elapsed().as_secs_f64()
    );
    let before = resident("VmRSS")?;

    let endpoint = client.clone();
    let variable = |name: &str| (name == "ETCD_ENDPOINTS").then(|| endpoint.clone());
    let store = Connection::of_environment(&variable)?.open()?;
    let started = Instant::now();
    let kinds = Kind::ALL.iter().copied();
    let kinds: Vec<Kind> = kinds
        .filter(|kind| !matches!(kind, Kind::IpamBlock | Kind::IpamHandle))
        .collect();
    let watch = store.watch(&kinds)?;
    let mut resources = Resources::default();
    let mut count = 0;
    for event in watch.events() {
        match event {
            Event::Upsert(resource) => {
                count += 1;
                resources.upsert(resource);
            }
            event @ (Event::Fault { .. } | Event::Away { .. }) => {
                return Err(format!("{event:?}").into());
            }
            Event::Delete(_) | Event::Mended { .. } | Event::Notice(_) | Event::Back => {}
            Event::InSync => break,
        }
    }
    let synced = started.elapsed();
    let wanted = desired(&resources, "node-0");
    let made = started.elapsed();
    println!(
        "synced    {count} resources in {:.2} s; desired state with {} routes at {:.2} s",
        synced.as_secs_f64(),
        wanted.routes.len(),
        made.as_secs_f64()
    );
    println!(
        "memory    {} MiB at the peak, {} MiB now, {before} MiB before",
        resident("VmHWM")?,
        resident("VmRSS")?
    );

    let (busy, slept) = (processor()?, Duration::from_secs(arguments.quiet));
    std::thread::sleep(slept);
    let busy = processor()?.saturating_sub(busy);
    println!(
        "quiet     {:.3} s of processor in {} s: {:.2} %",
        busy.as_secs_f64(),
        slept.as_secs(),
        100.0 * busy.as_secs_f64() / slept.as_secs_f64().max(1.0)
    );

    let mut times = Vec::new();
    for round in 0..20 {
        let (path, value) = endpoint_value(&arguments, arguments.endpoints + round);
        let started = Instant::now();
        runtime.block_on(filler.put(path, value, None))?;
        loop {
            if let Event::Upsert(Resource::WorkloadEndpoint(_)) = watch.events().recv()? {
                times.push(started.elapsed());
                break;
            }
        }
    }
    times.sort();
    println!(
        "a change  arrives in {:.1} ms at the median, {:.1} ms at most",
        times[times.len() / 2].as_secs_f64() * 1e3,
        times[times.len() - 1].as_secs_f64() * 1e3
    );
    drop(watch);
    drop(etcd);
    Ok(())
}

async fn fill(client: &mut Client, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut all = vec![(
        format!("{ROOT}/ippools/default"),
        r#"{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"default","creationTimestamp":null},"spec":{"cidr":"10.0.0.0/8","vxlanMode":"Always","ipipMode":"Never","natOutgoing":true,"blockSize":24,"nodeSelector":"all()","allowedUses":["Workload","Tunnel"]}}"#.to_owned(),
    )];
    for node in 0..arguments.nodes {
        let (high, low) = (node / 250, node % 250 + 1);
        all.push((
            format!("{ROOT}/nodes/node-{node}"),
            format!(
                r#"{{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{{"name":"node-{node}","creationTimestamp":null}},"spec":{{"bgp":{{"ipv4Address":"172.16.{high}.{low}/16"}},"ipv4VXLANTunnelAddr":"10.{}.{}.0"}}}}"#,
                node / 256, node % 256
            ),
        ));
        all.push((
            format!(
                "/calico/ipam/v2/host/node-{node}/ipv4/block/10.{}.{}.0-24",
                node / 256,
                node % 256
            ),
            r#"{"state":"confirmed","deleted":false}"#.to_owned(),
        ));
    }
    all.extend((0..arguments.endpoints).map(|index| endpoint_value(arguments, index)));
    // What a client of ours cannot read would make the figures worthless.
    let parsed = parse(all[all.len() - 1].1.as_bytes(), "the last endpoint");
    if let Some(error) = parsed.errors.first() {
        return Err(error.to_string().into());
    }
    for part in all.chunks(100) {
        let operations: Vec<TxnOp> = part
            .iter()
            .map(|(path, value)| TxnOp::put(path.as_str(), value.as_str(), None))
            .collect();
        client.txn(Txn::new().and_then(operations)).await?;
    }
    Ok(())
}

/// As Calico writes an endpoint of a pod.
fn endpoint_value(arguments: &Arguments, index: usize) -> (String, String) {
    let node = index % arguments.nodes;
    let place = index / arguments.nodes + 1;
    let name = format!("node--{node}-k8s-pod--{index}-eth0");
    let address = format!("10.{}.{}.{}", node / 256, node % 256, place % 256);
    let value = format!(
        r#"{{"kind":"WorkloadEndpoint","apiVersion":"projectcalico.org/v3","metadata":{{"name":"{name}","namespace":"default","uid":"00000000-0000-4000-8000-{index:012}","creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"app":"app-{}","projectcalico.org/namespace":"default","projectcalico.org/orchestrator":"k8s","projectcalico.org/serviceaccount":"default"}}}},"spec":{{"orchestrator":"k8s","node":"node-{node}","containerID":"{index:064x}","pod":"pod-{index}","endpoint":"eth0","serviceAccountName":"default","ipNetworks":["{address}/32"],"profiles":["kns.default","ksa.default.default"],"interfaceName":"cali{index:011x}","mac":"ee:ee:ee:ee:ee:ee"}}}}"#,
        index % 100
    );
    (format!("{ROOT}/workloadendpoints/default/{name}"), value)
}

/// A line of this process's status, in MiB.
fn resident(name: &str) -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    let kilobytes: u64 = number.ok_or("no such line")?.parse()?;
    Ok(kilobytes >> 10)
}

/// The processor time of this process.
fn processor() -> Result<Duration, Box<dyn Error>> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    // utime and stime, in ticks of 10 ms.
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}
