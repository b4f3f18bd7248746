//! Traces for whoever looks for a fault: `VMCLAUDE_LOG=debug` (or a filter such as `vmclaude::session=trace`).

use crate::host::Host;
use tracing_subscriber::EnvFilter;

/// Starts tracing to stderr when the variable asks for it.
pub fn start(host: &Host) {
    if let Some(filter) = host.var("VMCLAUDE_LOG").and_then(|text| EnvFilter::try_new(text).ok()) {
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    }
}
