//! From a plan to the processes that carry it out. Pure: nothing here starts or reads anything.

pub mod apple;
pub mod launch;
pub mod qemu;
pub mod share;
