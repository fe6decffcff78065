//! The loaded programs and their maps.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{ProgramError, SchedClassifier};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::time::ClockId;
use vrouter_dataplane::id::InterfaceId;

use crate::error::OffloadError;
use crate::flow::{
    ADMITTED, Counted, ENTRY, EarlierFlow, FlowEntry, FlowKey, GRANT, GRANT_KEY, Grant, KEY,
    Target, entry_bytes, grant_key_bytes, key_bytes, parse_counted, parse_entry, parse_key,
};
use crate::layout::{Outcome, UNDERLAY, Underlay, Words};
use crate::links::{self, Attachment};
use crate::numbers::Numbers;
use crate::place::Place;

const OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/offload.bpf.o"));
/// The directory of maps that have this layout.
const MAPS: &str = concat!("maps-", env!("VROUTER_OFFLOAD_LAYOUT"));
/// How pins of links at the underlay begin; those at our own interfaces are an index alone.
const AT_UNDERLAY: &str = "underlay-";

/// The programs in the kernel. Dropping it leaves all that is attached at work; see
/// [`Offload::detach_all`].
pub struct Offload {
    directory: PathBuf,
    ebpf: Ebpf,
    /// Flows that grants admitted.
    admissions: RingBuf<MapData>,
    /// The workloads' interfaces, as the maps have them.
    numbers: Numbers,
    attachment: Attachment,
}

impl std::fmt::Debug for Offload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offload")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl Offload {
    /// Loads programs and maps; maps that an earlier process pinned below `directory` are adopted
    /// with their flows. What comes from a workload waits until it is attached again: the earlier
    /// process's numbers mean other interfaces here.
    ///
    /// # Errors
    /// The kernel does not have what this needs, or does not let us. The message says which.
    pub fn open(directory: &Path, attachment: Attachment) -> Result<Self, OffloadError> {
        // The nearest directory that is there says what will be made below it.
        let there = directory.ancestors().find(|path| path.exists());
        let kind = there.map(|path| statfs(path).map(|kind| kind.filesystem_type()));
        if kind != Some(Ok(BPF_FS_MAGIC)) {
            return Err(OffloadError::NoBpffs(directory.to_owned()));
        }
        let maps = directory.join(MAPS);
        for path in [&maps, &directory.join("links")] {
            fs::create_dir_all(path).map_err(|source| OffloadError::Directory {
                path: path.clone(),
                source,
            })?;
        }
        let mut ebpf = EbpfLoader::new()
            .default_map_pin_directory(&maps)
            .load(OBJECT)?;
        let admissions = ebpf.take_map("admissions");
        let admissions = admissions.ok_or_else(missing("admissions"))?;
        let admissions = admissions.try_into().map_err(map("admissions"))?;
        let mut offload = Self {
            directory: directory.to_owned(),
            ebpf,
            admissions,
            numbers: Numbers::default(),
            attachment,
        };
        for place in Place::ALL {
            let loaded = offload.program(place)?.load();
            loaded.map_err(|source| OffloadError::Program {
                program: place.program(),
                source,
            })?;
        }
        offload.forget_numbers()?;
        offload.remove_other_layouts();
        Ok(offload)
    }

    /// Has the frames of a workload, whose host end is the interface `ifindex` of the calling
    /// thread's namespace, go to user space as those of interface `id`, and user space's frames to it.
    ///
    /// `has_peer`: it is a veth whose other end is the workload's.
    ///
    /// # Errors
    /// The interface is gone, or the kernel refuses.
    pub fn attach_workload(
        &mut self,
        ifindex: u32,
        id: InterfaceId,
        has_peer: bool,
    ) -> Result<(), OffloadError> {
        // An interface that had the number, or another number of this interface.
        self.forget(ifindex)?;
        let words = [ifindex, has_peer.into()];
        self.interfaces()?
            .insert(id.0, words, 0)
            .map_err(map("interfaces"))?;
        self.numbers()?
            .insert(ifindex, id.0, 0)
            .map_err(map("numbers"))?;
        self.numbers.by_index.insert(ifindex, id);
        self.numbers.interfaces.insert(id, (ifindex, has_peer));
        self.attach(Place::Workload, ("", ifindex))
    }

    /// Leaves a workload's interface alone from now on, and forgets its flows.
    ///
    /// # Errors
    /// The kernel refuses. That the interface is gone already is no error.
    pub fn detach_workload(&mut self, ifindex: u32) -> Result<(), OffloadError> {
        links::detach(
            &Place::ALL.map(Place::program),
            ("", ifindex),
            &self.links(),
        )?;
        self.forget(ifindex)?;
        // Another interface may get the index.
        self.retain(|from, out| from != ifindex && out != Some(ifindex))
    }

    /// Says what of the underlay is ours, and watches one of its interfaces, or none.
    ///
    /// # Errors
    /// The interface is gone, or the kernel refuses.
    pub fn attach_underlay(
        &mut self,
        ifindex: Option<u32>,
        ours: &Underlay,
    ) -> Result<(), OffloadError> {
        let data = self.ebpf.map_mut("underlay");
        let data = data.ok_or_else(missing("underlay"))?;
        let mut underlay: Array<_, [u8; UNDERLAY]> = data.try_into().map_err(map("underlay"))?;
        underlay.set(0, ours.bytes(), 0).map_err(map("underlay"))?;
        let links = self.links();
        for other in links::attached(AT_UNDERLAY, &links) {
            if Some(other) != ifindex {
                links::detach(
                    &Place::ALL.map(Place::program),
                    (AT_UNDERLAY, other),
                    &links,
                )?;
            }
        }
        match ifindex {
            Some(ifindex) => self.attach(Place::Underlay, (AT_UNDERLAY, ifindex)),
            None => Ok(()),
        }
    }

    /// Names the TAP by which frames reach user space and come from it.
    ///
    /// # Errors
    /// The interface is gone, or the kernel refuses.
    pub fn attach_router(&mut self, ifindex: u32) -> Result<(), OffloadError> {
        let mut settings = self.settings()?;
        let [generation, _] = settings.get(&0, 0).map_err(map("settings"))?;
        settings
            .set(0, [generation, ifindex], 0)
            .map_err(map("settings"))?;
        self.attach(Place::Router, ("", ifindex))
    }

    /// Watches what the host's stack sends by the TUN to workloads.
    ///
    /// # Errors
    /// The interface is gone, or the kernel refuses.
    pub fn attach_host(&mut self, ifindex: u32) -> Result<(), OffloadError> {
        self.attach(Place::Host, ("", ifindex))
    }

    /// The generation of the tables whose flows are believed, which an earlier process may have set.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn generation(&mut self) -> Result<u32, OffloadError> {
        let [generation, _] = self.settings()?.get(&0, 0).map_err(map("settings"))?;
        Ok(generation)
    }

    /// Has flows of every other generation go to user space, from their next packet on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_generation(&mut self, generation: u32) -> Result<(), OffloadError> {
        let mut settings = self.settings()?;
        let [_, router] = settings.get(&0, 0).map_err(map("settings"))?;
        settings
            .set(0, [generation, router], 0)
            .map_err(map("settings"))
    }

    /// Has the kernel send a flow's packets on from now on. What it counted of an earlier entry of
    /// this flow is lost: [`Self::remove`] it first.
    ///
    /// # Errors
    /// An interface is not attached, the map is full, or the kernel refuses: the flow stays in user
    /// space.
    pub fn insert(&mut self, key: &FlowKey, entry: &FlowEntry) -> Result<(), OffloadError> {
        let (key, entry) = self.bytes(key, entry)?;
        self.flows()?.insert(key, entry, 0).map_err(map("flows"))
    }

    fn bytes(
        &mut self,
        key: &FlowKey,
        entry: &FlowEntry,
    ) -> Result<([u8; KEY], [u8; ENTRY]), OffloadError> {
        let from = self.numbers.arrival(key.interface)?;
        let workload = match entry.target {
            Target::Workload { out, .. } => self.numbers.of(out)?,
            Target::Host { .. } | Target::Node { .. } => (0, false),
        };
        let key = key_bytes(key, from).ok_or(OffloadError::TwoFamilies)?;
        Ok((key, entry_bytes(entry, workload)))
    }

    /// Has the kernel begin connections by itself, as long as this process says that it is
    /// [alive](Self::say_alive). They are to be asked for by [`Self::admitted`].
    ///
    /// # Errors
    /// An interface is not attached, or the kernel refuses: user space decides on each.
    pub fn grant(&mut self, grant: &Grant) -> Result<(), OffloadError> {
        let reply_from = self.numbers.arrival(grant.reply_interface)?;
        let (key, forward) = self.bytes(&grant.key, &grant.forward)?;
        let reply_key = FlowKey {
            interface: grant.reply_interface,
            ..grant.key
        };
        let (_, reply) = self.bytes(&reply_key, &grant.reply)?;
        let mut value = [0; GRANT];
        value[..ENTRY].copy_from_slice(&forward);
        value[ENTRY..2 * ENTRY].copy_from_slice(&reply);
        value[2 * ENTRY..2 * ENTRY + 4].copy_from_slice(&reply_from.to_ne_bytes());
        let data = self.ebpf.map_mut("grants").ok_or_else(missing("grants"))?;
        let mut grants: HashMap<_, [u8; GRANT_KEY], [u8; GRANT]> =
            data.try_into().map_err(map("grants"))?;
        grants
            .insert(grant_key_bytes(&key), value, 0)
            .map_err(map("grants"))
    }

    /// Says that this process is there to be told of what grants admit; each 10 ms.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn say_alive(&mut self) -> Result<(), OffloadError> {
        let data = self.ebpf.map_mut("alive").ok_or_else(missing("alive"))?;
        let mut alive: Array<_, u64> = data.try_into().map_err(map("alive"))?;
        let now = u64::try_from(since_boot().as_nanos()).unwrap_or(u64::MAX);
        alive.set(0, now, 0).map_err(map("alive"))
    }

    /// The next flow that a grant admitted, and the generation of the tables that decided.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn admitted(&mut self) -> Result<Option<(FlowKey, u32)>, OffloadError> {
        loop {
            let Some(item) = self.admissions.next() else {
                return Ok(None);
            };
            let Some(bytes) = item.first_chunk::<ADMITTED>().copied() else {
                continue;
            };
            drop(item);
            let mut key = [0; KEY];
            key.copy_from_slice(&bytes[..KEY]);
            let mut generation = [0; 4];
            generation.copy_from_slice(&bytes[KEY..]);
            let (from, key) = parse_key(&key);
            // The interface may be gone already.
            if let Some(interface) = self.numbers.at(from) {
                let key = FlowKey { interface, ..key };
                return Ok(Some((key, u32::from_ne_bytes(generation))));
            }
        }
    }

    /// Has a flow's packets go to user space again; what the kernel counted, if it had the flow.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove(&mut self, key: &FlowKey) -> Result<Option<Counted>, OffloadError> {
        let counted = self.counted(key)?;
        if counted.is_some()
            && let Ok(from) = self.numbers.arrival(key.interface)
            && let Some(key) = key_bytes(key, from)
        {
            self.flows()?.remove(&key).map_err(map("flows"))?;
        }
        Ok(counted)
    }

    /// Counts of a flow, if the kernel has it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn counted(&mut self, key: &FlowKey) -> Result<Option<Counted>, OffloadError> {
        let Ok(from) = self.numbers.arrival(key.interface) else {
            return Ok(None);
        };
        let key = key_bytes(key, from).ok_or(OffloadError::TwoFamilies)?;
        match self.flows()?.get(&key, 0) {
            Ok(entry) => Ok(Some(parse_counted(&entry))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(map("flows")(error)),
        }
    }

    /// All flows between interfaces that are attached, an earlier process's too. Those of other
    /// interfaces are forgotten.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn adopt(&mut self) -> Result<Vec<EarlierFlow>, OffloadError> {
        let numbers = self.numbers.clone();
        let number = |ifindex| numbers.at(ifindex);
        self.retain(|from, out| {
            number(from).is_some() && out.is_none_or(|out| number(out).is_some())
        })?;
        let flows: Result<Vec<_>, _> = self.flows()?.iter().collect();
        let read = |(key, entry)| {
            let (from, key) = parse_key(&key);
            let (generation, out, original) = parse_entry(&entry);
            let interface = number(from)?;
            Some(EarlierFlow {
                key: FlowKey { interface, ..key },
                generation,
                to: out.and_then(number),
                original,
            })
        };
        let flows = flows.map_err(map("flows"))?;
        Ok(flows.into_iter().filter_map(read).collect())
    }

    /// A program, to be run on frames that are not there.
    ///
    /// # Errors
    /// It is not loaded.
    pub fn loaded(&self, place: Place) -> Result<&SchedClassifier, OffloadError> {
        let name = place.program();
        let program = self.ebpf.program(name);
        let program = program.ok_or(ProgramError::NotLoaded);
        program
            .and_then(TryInto::try_into)
            .map_err(|source| OffloadError::Program {
                program: name,
                source,
            })
    }

    /// Packets by what the programs did with them, since the maps were made.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn outcomes(&self) -> Result<Vec<(Outcome, u64)>, OffloadError> {
        let data = self.ebpf.map("outcomes").ok_or_else(missing("outcomes"))?;
        let counts = PerCpuArray::<_, u64>::try_from(data).map_err(map("outcomes"))?;
        let count = |outcome: Outcome| {
            let by_cpu = counts.get(&(outcome as u32), 0).map_err(map("outcomes"))?;
            Ok((outcome, by_cpu.iter().sum()))
        };
        Outcome::ALL.into_iter().map(count).collect()
    }

    /// The numbers of our own interfaces that have a program of those pinned below `directory`.
    pub fn attached(directory: &Path) -> Vec<u32> {
        links::attached("", &directory.join("links"))
    }

    /// Takes every trace of the programs away that is pinned below `directory`.
    ///
    /// # Errors
    /// A pin cannot be removed.
    pub fn detach_all(directory: &Path) -> Result<(), OffloadError> {
        let links = directory.join("links");
        for prefix in ["", AT_UNDERLAY] {
            for ifindex in links::attached(prefix, &links) {
                links::detach(&Place::ALL.map(Place::program), (prefix, ifindex), &links)?;
            }
        }
        match fs::remove_dir_all(directory) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(OffloadError::Directory {
                    path: directory.to_owned(),
                    source,
                })
            }
            _ => Ok(()),
        }
    }

    fn attach(&mut self, place: Place, pin: (&str, u32)) -> Result<(), OffloadError> {
        let directory = self.links();
        let at = (self.attachment, place.direction());
        let program = self.program(place)?;
        links::attach(program, place.program(), pin, &directory, at)
    }

    fn forget(&mut self, ifindex: u32) -> Result<(), OffloadError> {
        if let Some(number) = self.numbers.by_index.remove(&ifindex) {
            // The number may be another interface's by now.
            let holder = self.numbers.interfaces.get(&number);
            if holder.is_some_and(|(holder, _)| *holder == ifindex) {
                self.numbers.interfaces.remove(&number);
                let _ = self.interfaces()?.remove(&number.0);
            }
            let _ = self.numbers()?.remove(&ifindex);
        }
        Ok(())
    }

    /// Forgets the flows that `keep` refuses, by the indices of the workloads' interfaces they come in and
    /// leave by.
    fn retain(&mut self, keep: impl Fn(u32, Option<u32>) -> bool) -> Result<(), OffloadError> {
        let mut flows = self.flows()?;
        let refused = flows.iter().filter_map(|flow| match flow {
            Ok((key, entry)) => {
                let (_, out, _) = parse_entry(&entry);
                (!keep(parse_key(&key).0, out)).then_some(Ok(key))
            }
            Err(error) => Some(Err(error)),
        });
        let refused: Result<Vec<_>, _> = refused.collect();
        for key in refused.map_err(map("flows"))? {
            match flows.remove(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(map("flows")(error)),
            }
        }
        Ok(())
    }

    fn links(&self) -> PathBuf {
        self.directory.join("links")
    }

    fn forget_numbers(&mut self) -> Result<(), OffloadError> {
        let mut numbers = self.numbers()?;
        let known: Result<Vec<_>, _> = numbers.keys().collect();
        for ifindex in known.map_err(map("numbers"))? {
            numbers.remove(&ifindex).map_err(map("numbers"))?;
        }
        let mut interfaces = self.interfaces()?;
        let known: Result<Vec<_>, _> = interfaces.keys().collect();
        for number in known.map_err(map("interfaces"))? {
            interfaces.remove(&number).map_err(map("interfaces"))?;
        }
        Ok(())
    }

    fn remove_other_layouts(&self) {
        let entries = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("maps-") && name != MAPS {
                tracing::warn!(maps = %entry.path().display(), "maps of another version are replaced");
                if let Err(error) = fs::remove_dir_all(entry.path()) {
                    tracing::warn!(maps = %entry.path().display(), %error, "maps stay behind");
                }
            }
        }
    }

    fn program(&mut self, place: Place) -> Result<&mut SchedClassifier, OffloadError> {
        let name = place.program();
        let program = self.ebpf.program_mut(name);
        let program = program.ok_or(ProgramError::NotLoaded);
        program
            .and_then(TryInto::try_into)
            .map_err(|source| OffloadError::Program {
                program: name,
                source,
            })
    }

    fn flows(&mut self) -> Result<HashMap<&mut MapData, [u8; KEY], [u8; ENTRY]>, OffloadError> {
        let data = self.ebpf.map_mut("flows");
        let data = data.ok_or_else(missing("flows"))?;
        data.try_into().map_err(map("flows"))
    }

    fn settings(&mut self) -> Result<Array<&mut MapData, Words>, OffloadError> {
        let data = self.ebpf.map_mut("settings");
        let data = data.ok_or_else(missing("settings"))?;
        data.try_into().map_err(map("settings"))
    }

    fn interfaces(&mut self) -> Result<HashMap<&mut MapData, u16, Words>, OffloadError> {
        let data = self.ebpf.map_mut("interfaces");
        let data = data.ok_or_else(missing("interfaces"))?;
        data.try_into().map_err(map("interfaces"))
    }

    fn numbers(&mut self) -> Result<HashMap<&mut MapData, u32, u16>, OffloadError> {
        let data = self.ebpf.map_mut("numbers");
        let data = data.ok_or_else(missing("numbers"))?;
        data.try_into().map_err(map("numbers"))
    }
}

/// The clock by which the kernel notes a flow's last packet.
pub fn since_boot() -> Duration {
    // Linux has this clock since 2.6.32.
    ClockId::CLOCK_MONOTONIC_COARSE
        .now()
        .map_or(Duration::ZERO, Into::into)
}

fn map(map: &'static str) -> impl Fn(MapError) -> OffloadError {
    move |source| OffloadError::Map { map, source }
}

fn missing(name: &'static str) -> impl Fn() -> OffloadError {
    move || map(name)(MapError::InvalidName { name: name.into() })
}
