//! The share: ways to files of the host that were not given, and to rights that nobody has.

use crate::guest::Attack;
use crate::support::World;

const CLASS: &str = "share";

pub(crate) fn attacks(world: &World) -> Vec<Attack> {
    let new = |name, script: &str| Attack::new(CLASS, name, script);
    let secret = world.path("out/secret").to_str().expect("text").replace('\'', r"'\''");
    let reads = |path: &str| format!("grep -q 'of the host' {path}");
    let raw = |call: &str| format!("python3 -c 'import ctypes,sys\nl=ctypes.CDLL(None)\nsys.exit({call} != 0)'");
    // What the guest's own root may do: it is root.
    let root = "[ $(id -u) = 0 ]";
    vec![
        new("the directory above, read", &reads("../out/secret")),
        new("the directory above, written", "echo evil > ../out/new && [ -e ../out/new ]").control("echo x > ./new && rm new"),
        new("a link to a file of the host, followed", &format!("ln -sfn '{secret}' l1; {}", reads("l1"))),
        new("a link upwards, followed", &format!("ln -sfn ../out/secret l2; {}", reads("l2"))),
        new("a hard link to a file of the host", &format!("rm -f l3; ln '{secret}' l3 && {}", reads("l3"))),
        new("a file of the host, moved in", &format!("mv '{secret}' m1 && {}; r=$?; mv m1 '{secret}'; exit $r", reads("m1"))),
        new("the root of the first process", &reads(&format!("/proc/self/root'{secret}'"))),
        new("a raw rename upwards", &raw("l.rename(b\"a\", b\"../out/a\") or l.rename(b\"../out/a\", b\"a\")")).control(raw("l.rename(b\"a\", b\"a2\") or l.rename(b\"a2\", b\"a\")")),
        new("a program that runs with its owner's rights", "cp /bin/true s1 && chmod 4755 s1 && [ -u s1 ]"),
        new("a program that runs with its group's rights", "cp /bin/true s2 && chmod 2755 s2 && [ -g s2 ]"),
        new("a program made with such rights", "python3 -c 'import os; os.close(os.open(\"s3\", os.O_CREAT|os.O_WRONLY, 0o4755))'; chmod u+s s3; [ -u s3 ]"),
        new("a character device", "rm -f d1; mknod d1 c 1 3 && [ -c d1 ]").control("mknod /tmp/d1 c 1 3; [ -c /tmp/d1 ]"),
        new("a block device", "rm -f d2; mknod d2 b 8 0 && [ -b d2 ]").control("mknod /tmp/d2 b 8 0; [ -b /tmp/d2 ]"),
        new("a whiteout", "mkdir -p w; touch w/x; python3 -c 'import ctypes,sys; l=ctypes.CDLL(None); sys.exit(l.renameat2(-100,b\"w/x\",-100,b\"w/y\",4) != 0)' && [ -c w/x ]")
            .control(format!("{root} && mknod /dev/shm/w c 0 0; [ -c /dev/shm/w ]")),
        new("a file of somebody else", "touch o && chown 12345 o && [ $(stat -c %u o) = 12345 ]").control("touch /tmp/o && chown 12345 /tmp/o && [ $(stat -c %u /tmp/o) = 12345 ]"),
        new("a capability of a file", "cp /bin/true c1 && python3 -c 'import os; os.setxattr(\"c1\", \"security.capability\", bytes.fromhex(\"0100000200040000000000000000000000000000\"))' && python3 -c 'import os; os.getxattr(\"c1\", \"security.capability\")'")
            .control("cp /bin/true /tmp/c1 && python3 -c 'import os; os.setxattr(\"/tmp/c1\", \"security.capability\", bytes.fromhex(\"0100000200040000000000000000000000000000\"))'"),
        new("what is read-only, written", "echo evil > /var/lib/vmclaude/shared/evil").control("echo x > /var/lib/vmclaude/login/x; rm /var/lib/vmclaude/login/x"),
        new("what is read-only, mounted for writing", "mount -o remount,bind,rw /var/lib/vmclaude/shared; echo evil > /var/lib/vmclaude/shared/evil")
            .control("mount -o remount,bind,rw /var/lib/vmclaude/shared"),
        new("what is read-only, through a mount without it", "mkdir -p /mnt/again && mount -t virtiofs vmclaude /mnt/again; [ -d /mnt/again/shared ] && echo evil > /mnt/again/shared/evil")
            .control("ls /var/lib/vmclaude/shared"),
        new("the host's root through the share's root", "mkdir -p /mnt/again; mount -t virtiofs vmclaude /mnt/again; ls /mnt/again/etc/passwd").control("ls /workspace/a"),
        new("another project's home", "ls -d /home/claude/../../../projects /var/lib/vmclaude/projects /mnt/again/projects 2>/dev/null | grep -q .").control("ls -d /var/lib/vmclaude/login"),
        new("the base system's disk, written", "dd if=/dev/zero of=/dev/vda bs=512 count=1 conv=fsync").control("dd if=/dev/vda of=/dev/null bs=512 count=1"),
        new("Claude's disk, written", "dd if=/dev/zero of=/dev/vdb bs=512 count=1 conv=fsync").control("dd if=/dev/vdb of=/dev/null bs=512 count=1"),
        new("a network card", "ls -d /sys/class/net/*/device").control("ls /sys/class/net | grep -q lo"),
    ]
}
