//! Copies whose share cannot be put back as the template had it: the kernel forgets its device and looks at the port again. What
//! stands in for QEMU makes them so.

use super::PLUGGED;
use super::world::World;
use std::fs;

/// Uses the project, and tells which interrupts the share's device has.
const USE: &str = "cat there; echo made here > made; mkdir dir; mv made dir; ls; \
                   device=$(basename /sys/bus/virtio/drivers/virtiofs/virtio*); sed -n \"s/.* $device-//p\" /proc/interrupts";

/// A world whose QEMU has its words changed before it gets them, and a template made by it.
fn world(change: &str) -> World {
    let world = World::new();
    let qemu = format!("#!/bin/bash\n{change}\nexec qemu-system-{} \"$@\"\n", std::env::consts::ARCH);
    world.qemu(&qemu);
    fs::write(world.path("p/there"), "was there\n").expect("write");
    world.make_template();
    world
}

/// A session in a copy, and then one with a volume beside the share. What the first printed about interrupts.
fn sessions_work(world: &World) -> Vec<String> {
    let (code, out, err) = world.output(USE);
    assert!(code == Some(0) && err.contains(PLUGGED), "not a copy: {err}");
    let lines: Vec<String> = out.lines().map(str::to_owned).collect();
    assert_eq!(lines[..3], ["was there", "dir", "there"], "{out}");
    assert_eq!(fs::read(world.path("p/dir/made")).expect("read"), b"made here\n");
    world.configure("[volumes]\nlocal = ['heavy']\n");
    let (code, out, err) =
        world.output("echo kept > heavy/f; cat there heavy/f; grep -c '^/dev/vdd /workspace/heavy ' /proc/mounts");
    assert!(err.contains(PLUGGED), "not a copy: {err}");
    assert_eq!((code, out.as_str()), (Some(0), "was there\nkept\n1\n"), "{err}");
    assert_eq!(world.templates().len(), 1, "no copy gave up the template");
    lines[3..].to_vec()
}

#[test]
fn a_device_that_is_not_what_it_was_is_found_anew() {
    // With a vector less than the template's, a queue's own is refused.
    let world = world("[[ \" $* \" != *' -incoming '* ]] || set -- \"$@\" -global vhost-user-fs-pci.vectors=2");
    let interrupts = sessions_work(&world);
    assert_eq!(interrupts, ["config", "virtqueues"], "the driver shares what there is");
    let told = world.console_lines("the share: ");
    assert!(told.len() == 2 && told.iter().all(|line| line.contains("is not what it was")), "{told:?}");
}

#[test]
fn a_device_whose_registers_cannot_be_had_is_found_anew() {
    let world = world("[[ \"$*\" != *vmclaude.template* ]] || set -- \"${@/ iomem=relaxed/}\"");
    assert_eq!(sessions_work(&world), ["config", "hiprio", "requests.0"]);
    // The template's supervisor told of it, and a copy of its kernel remembers.
    world.configure("sudo = true\n");
    let (code, out, err) = world.output("sudo dmesg | grep -o \"the share's registers: .*\"");
    assert!(code == Some(0) && out.contains("cannot map"), "{out}{err}");
}
