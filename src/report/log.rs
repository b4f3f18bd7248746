//! Traces for whoever looks for a fault: `VMCLAUDE_LOG=debug` (or a filter such as `vmclaude::session=trace`).

use crate::host::Host;
use tracing_subscriber::EnvFilter;

/// Starts tracing to stderr when the variable asks for it.
pub fn start(host: &Host) {
    if let Some(filter) = host.var("VMCLAUDE_LOG").and_then(|text| EnvFilter::try_new(text).ok()) {
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Clean).try_init();
    }
}

/// Stderr, for lines that may hold a guest's words.
struct Clean;

impl std::io::Write for Clean {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = vmclaude_shim::clean::clean_lines(&String::from_utf8_lossy(bytes));
        std::io::stderr().write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
