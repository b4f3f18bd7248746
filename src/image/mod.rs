//! The guest's image on Linux: built from Debian's packages and Claude Code's npm package, kept with digests.
//!
//! An image is a directory: kernel, initramfs, the base system and Claude Code on read-only disks of their own, and an
//! empty scratch disk. Two images share what is equal in them by hard links.

pub mod age;
pub mod apple;
pub mod build;
mod claude;
mod initramfs;
mod kernel;
mod packed;
mod progress;
mod recipe;
mod rootfs;
mod scratch;
mod sources;
mod stamp;
pub mod store;
mod tools;

pub use build::{Request, build};
pub use scratch::{allow_large_files, make_volume};
pub use store::{Image, Manifest};
