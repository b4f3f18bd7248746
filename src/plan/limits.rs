//! How many processors and how much memory a VM gets.

use crate::error::{Failure, Result};

/// Processors and memory of one VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Virtual processors; `None`: as many as suit the accelerator.
    pub cpus: Option<u32>,
    /// Memory in MiB.
    pub memory: u64,
}

/// The least memory that a VM boots and runs Claude Code in, in MiB (192 MiB thrash, `docs/performance.md`).
pub const LEAST_MEMORY: u64 = 512;

impl Limits {
    /// 4 GiB or half of the host, whichever is less; processors by the accelerator.
    pub fn default_for(host_memory: u64) -> Limits {
        Limits { cpus: None, memory: ((host_memory / 2) >> 20).clamp(LEAST_MEMORY, 4096) }
    }

    /// Virtual processors under this accelerator: the wanted number, else as many as the host's cores, at most four with hardware help and
    /// two under emulation: each of those is a thread that needs a core of its own.
    pub fn cpus_for(&self, emulated: bool, cores: u32) -> u32 {
        self.cpus.unwrap_or(cores.clamp(1, if emulated { 2 } else { 4 }))
    }
}

/// Reads a size such as `512M`, `2G` or `4096M`, in MiB.
///
/// # Errors
/// Anything else, sizes under [`LEAST_MEMORY`] and sizes over 1 TiB; `name` says where it was written.
pub fn parse_memory(name: &str, text: &str) -> Result<u64> {
    let bad = |why: String| {
        Failure::usage(format!("{name} is not a memory size: {text:?}"))
            .because(why)
            .next(format!("{name}=4G   # or 512M, 4096M"))
    };
    let (digits, unit) = match text.strip_suffix(['M', 'm']) {
        Some(d) => (d, 1),
        None => match text.strip_suffix(['G', 'g']) {
            Some(d) => (d, 1024),
            None => return Err(bad("a number followed by M or G is expected".into())),
        },
    };
    let number: u64 = digits.parse().map_err(|_| bad("a number followed by M or G is expected".into()))?;
    match number.checked_mul(unit) {
        Some(mib) if mib < LEAST_MEMORY => Err(bad(format!("a VM needs at least {LEAST_MEMORY}M"))),
        Some(mib) if mib <= 1 << 20 => Ok(mib),
        _ => Err(bad("that is more than 1 TiB".into())),
    }
}

/// Reads a number of processors, 1 to 64.
///
/// # Errors
/// Anything else; `name` says where it was written.
pub fn parse_cpus(name: &str, text: &str) -> Result<u32> {
    match text.parse() {
        Ok(n @ 1..=64) => Ok(n),
        _ => Err(Failure::usage(format!("{name} is not a number of processors: {text:?}"))
            .because("a number from 1 to 64 is expected")
            .next(format!("{name}=2"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, mib) in [("512M", 512), ("2G", 2048), ("4096M", 4096), ("1g", 1024)] {
            assert_eq!(parse_memory("VMCLAUDE_MEMORY", text).expect(text), mib);
        }
        for text in ["1Z", "", "G", "-1G", "1.5G", "511M", "999999999999G", "0M", "18446744073709551615G", "2 G"] {
            let e = parse_memory("VMCLAUDE_MEMORY", text).expect_err(text);
            assert!(e.what.contains("VMCLAUDE_MEMORY") && e.next.is_some(), "{e}");
            assert_eq!(e.code, crate::exit::USAGE);
        }
    }

    #[test]
    fn processors() {
        assert_eq!(parse_cpus("VMCLAUDE_CPUS", "3").expect("3"), 3);
        for text in ["0", "65", "two", ""] {
            assert!(parse_cpus("VMCLAUDE_CPUS", text).is_err(), "{text}");
        }
        let default = Limits::default_for(24 << 30);
        assert_eq!(default.memory, 4096);
        let cpus = |emulated| [1, 2, 8].map(|cores| default.cpus_for(emulated, cores));
        assert_eq!((cpus(true), cpus(false)), ([1, 2, 2], [1, 2, 4]));
        assert_eq!(Limits::default_for(2 << 30).memory, 1024);
    }
}
