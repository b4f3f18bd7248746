//! The one decision: does `claude`, typed here, run in a VM, on the host, or not at all?
//!
//! Shared by the shim (the `claude` first on PATH) and by `vmclaude` itself, so that there is no second reader of the
//! registry with another opinion. Small on purpose: it stands between a person and every `claude` that they type.

pub mod add_dir;
pub mod bytes;
pub mod clean;
pub mod decide;
pub mod exec;
pub mod find;
pub mod identity;
pub mod refusal;
pub mod registry;

pub use clean::clean;
pub use decide::{Place, Tree, Verdict, decide};
pub use identity::Identity;
pub use refusal::Refusal;
pub use registry::Registry;
