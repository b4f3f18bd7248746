//! Services that are too old, skewed, down, without a kernel, hanging, or not as they should be.

use crate::support::{Limited, World, apple};
use crate::{assert_works, world};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[track_caller]
fn refused(world: &World, how: &Value, words: &[&str]) {
    apple::behave(world, how);
    let begun = Instant::now();
    world.in_vm(&["true"]).assert_failure(125, words);
    assert!(begun.elapsed() < Duration::from_secs(100), "it took {:?}", begun.elapsed());
    assert!(apple::containers(world).is_empty());
}

#[test]
fn what_is_too_old_down_or_hangs_is_said_with_what_to_type() {
    let world = world();
    let start = "container system start";
    refused(&world, &json!({ "client": "0.12.3" }), &["0.12.3 is too old"]);
    refused(&world, &json!({ "running": false, "starts": false }), &["service does not start", "container system"]);
    refused(&world, &json!({ "running": false, "kernel": false }), &["no kernel", start, "--enable-kernel-install"]);
    refused(&world, &json!({ "hang": ["image inspect"] }), &["did not end within", start]);
    std::fs::remove_file(apple::service(&world).join("images.json")).expect("rm");
    refused(&world, &json!({}), &["no image", "vmclaude image build"]);
}

/// The service of 1.4 answers in another shape; one that is down is started; one that was restarted loses its machines.
#[test]
fn a_service_is_started_and_its_restart_is_survived() {
    let world = world();
    apple::behave(&world, &json!({ "running": false, "client": "1.4.1", "server": "1.4.1" }));
    assert_works(&world);
    let status = world.vmclaude(&["status", "--json"]).done();
    assert!(status.out().contains("container 1.4.1") && status.out().contains("service runs"), "{status:?}");
    apple::behave(&world, &json!({ "server": "1.2.1" }));
    let status = world.vmclaude(&["status"]).done();
    assert!(status.out().contains("the service that runs is 1.2.1"), "{status:?}");
    let mut live = world.start("touch ready; sleep 600");
    let stopped = world.command(apple::program(&world)).args(["system", "stop"]).done();
    assert_eq!(stopped.code(), Some(0), "{stopped:?}");
    live.end().assert_failure(125, &["the virtual machine was lost"]);
    // Nobody could be asked whether the container is gone, so it stayed on record, and the next run sees to it.
    assert_works(&world);
}

/// #2148 in another dress: the system drops a directory without a word.
#[test]
fn a_directory_that_the_system_dropped_is_noticed() {
    let world = world();
    refused(&world, &json!({ "drop_mount": "/workspace" }), &["did not mount /workspace"]);
}

#[test]
fn a_socket_that_is_not_relayed_is_a_clear_failure() {
    let world = world();
    refused(&world, &json!({ "relay": false }), &["virtual machine"]);
}
