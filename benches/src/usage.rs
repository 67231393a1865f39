//! What processes use of the machine.

use std::time::Instant;

use crate::Outcome;

/// How much time of processors a process has used, in seconds. Without a process, this one.
pub(crate) fn processors(process: Option<u32>) -> Outcome<f64> {
    let name = process.map_or_else(|| "self".to_owned(), |process| process.to_string());
    let stat = std::fs::read_to_string(format!("/proc/{name}/stat"))?;
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // User and system; Linux counts in hundredths of a second for whoever asks.
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

/// How much memory a process takes, in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub now: u64,
    pub peak: u64,
}

pub(crate) fn memory(process: u32) -> Outcome<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line in /proc")?;
        Outcome::Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    Ok(Memory { now: of("VmRSS:")?, peak: of("VmHWM:")? })
}

/// How many processors there are.
pub(crate) fn cores() -> Outcome<usize> {
    Ok(std::thread::available_parallelism()?.get())
}

/// The time of processors that passes, and how much of it a server and this process take.
pub(crate) struct Meter {
    begun: Instant,
    server: u32,
    used: (f64, f64),
}

/// Seconds of processors' time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    pub server: f64,
    pub sender: f64,
    /// What the sender left of the machine's: elsewhere, clients have machines of their own.
    pub left: f64,
}

impl Meter {
    pub fn start(server: u32) -> Outcome<Self> {
        Ok(Self { begun: Instant::now(), server, used: Self::read(server)? })
    }

    fn read(server: u32) -> Outcome<(f64, f64)> {
        Ok((processors(Some(server))?, processors(None)?))
    }

    pub fn used(&self) -> Outcome<Used> {
        let (server, sender) = Self::read(self.server)?;
        let (server, sender) = (server - self.used.0, sender - self.used.1);
        Ok(Used { server, sender, left: cores()? as f64 * self.begun.elapsed().as_secs_f64() - sender })
    }
}
