use super::{FILE, parse};
use crate::exit::REFUSED;

/// Parses, or says why not.
fn why(text: &str) -> Option<String> {
    parse(text.as_bytes()).err().map(|failure| {
        assert_eq!(failure.code, REFUSED, "{text}");
        assert!(failure.what.contains(FILE) && failure.next.is_some(), "{failure}");
        failure.because.join(": ")
    })
}

#[test]
fn what_a_project_may_say() {
    let text = "[limit]\ncpus = 2\nmemory = '2G'\nnetwork = 'allowlist'\nallow = ['a.example', '*.b.example:22']\n\
                [request]\nmounts = [{ host = '~/data', guest = '/mnt/data', writable = true }]\n\
                env = ['EDITOR', 'RUST_LOG']\npackages = ['golang', 'g++-12']\nnetwork = ['x.example:8443']\n";
    let wishes = parse(text.as_bytes()).expect("parses");
    assert_eq!((wishes.limit.cpus, wishes.limit.memory), (Some(2), Some(2048)));
    assert!(wishes.request.mounts[0].writable && wishes.request.env.len() == 2);
    assert!(parse(b"").expect("empty").request.is_empty());
}

#[test]
fn what_is_no_such_file_is_refused() {
    for text in [
        "x = 1",
        "[limits]\ncpus = 1",
        "[limit]\ncpu = 1",
        "[limit]\ncpus = 0",
        "[limit]\nmemory = '1'",
        "[limit]\nnetwork = 'closed'",
        "[limit]\nallow = ['a b']",
        "[request]\nmount = []",
        "[Request]\nenv = []",
        "[request]\nENV = []",
        "request.envs = []",
        "[request]\nenv = 'EDITOR'",
        "[request]\nenv = []\nenv = []",
        "[request]\nenv = []\n[request]\npackages = []",
        "include = 'other.toml'",
        "[request]\nmounts = [{ host = '/a', guest = '/mnt/a', mode = 'rw' }]",
        "\u{feff}[limit]",
        "a\0",
        "[request]\nmounts = [{ host = '/a' }]",
        "[request]\npackages = ['Bad Name']",
        "[request]\npackages = ['-o']",
    ] {
        assert!(why(text).is_some(), "{text}");
    }
    assert!(parse(b"[limit]\n# \xff").is_err(), "not UTF-8");
    assert!(parse(format!("a = {}", "[".repeat(30_000)).as_bytes()).is_err(), "deep");
}

/// Keys that would decide about trust, or about what only the user's own settings may say; each in four spellings.
#[test]
fn no_key_of_the_users_own_settings_exists_here() {
    let keys = [
        "trust",
        "trusted",
        "approve",
        "approved",
        "auto_approve",
        "yes",
        "hooks",
        "host_command",
        "command",
        "qemu",
        "image",
        "registry",
        "backend",
        "engine",
        "wire",
        "warm_start",
        "auth",
        "secrets",
        "api_key",
        "ca",
        "proxy",
        "upstream_proxy",
        "allow_local",
        "allow_hosts",
        "protect_off",
        "git",
        "tripwire",
        "sudo",
        "privileged",
        "capabilities",
        "nested",
        "home",
        "share_home",
        "log",
        "logs",
        "update",
        "extends",
        "inherit_env",
        "pass_all",
        "ssh_agent",
    ];
    for key in keys {
        for text in [
            format!("{key} = true"),
            format!("[limit]\n{key} = 'x'"),
            format!("[request]\n{key} = ['x']"),
            format!("request.{key}.x = 1"),
            format!("[{}]\nx = 1", key.to_uppercase()),
            format!("\"{key}\" = 1"),
        ] {
            assert!(why(&text).is_some_and(|w| w.contains("unknown field")), "{text}: {:?}", why(&text));
        }
    }
}

#[test]
fn no_variable_that_is_a_key_or_steers_programs() {
    for name in [
        "GITHUB_TOKEN",
        "gh_token",
        "TOKEN",
        "MY_KEY",
        "my_key",
        "KEY",
        "A_SECRET_B",
        "DB_PASSWORD",
        "db_passwd",
        "SSH_AUTH_SOCK",
        "ssh_auth_sock",
        "LD_PRELOAD",
        "ld_preload",
        "DYLD_INSERT_LIBRARIES",
        "HTTP_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "NODE_OPTIONS",
        "PATH",
        "Path",
        "HOME",
        "BASH_ENV",
        "VMCLAUDE_MEMORY",
        "AWS_PROFILE",
        "GIT_SSH_COMMAND",
        "ANTHROPIC_BASE_URL",
        "CLAUDE_CONFIG_DIR",
        "DOCKER_HOST",
        "KUBECONFIG",
        "BASH_FUNC_ls",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "NPM_AUTH",
    ] {
        assert!(why(&format!("[request]\nenv = ['{name}']")).is_some_and(|w| w.contains("no project may")), "{name}");
    }
    for name in ["*", "", "A B", "A=B", "1A", "A*", "FOO_*", "Ä", "A\\nB", "a-b"] {
        assert!(why(&format!("[request]\nenv = [\"{name}\"]")).is_some(), "{name:?}");
    }
    for name in ["EDITOR", "RUST_LOG", "MONKEYS", "KEYBOARD", "PATHS"] {
        assert_eq!(why(&format!("[request]\nenv = ['{name}']")), None, "{name}");
    }
}

#[test]
fn no_address_and_no_name_of_this_machine() {
    for text in [
        "127.0.0.1",
        "127.0.0.1:80",
        "[::1]:80",
        "10.0.0.1",
        "192.168.1.1:443",
        "169.254.169.254",
        "localhost",
        "LOCALHOST:80",
        "x.localhost",
        "printer.local",
        "metadata.google.internal",
        "router",
        "*.lan",
        "*.local:80",
        "1.2.3.4",
        "0x7f.1",
        "2130706433",
        "localhost.",
        "[::ffff:127.0.0.1]:1",
    ] {
        assert!(why(&format!("[request]\nnetwork = ['{text}']")).is_some(), "{text}");
    }
    assert_eq!(why("[request]\nnetwork = ['a.example', '*.b.example:22']"), None);
}

#[test]
fn no_more_than_a_person_reads() {
    let network = |n: usize| (0..n).map(|i| format!("'n{i}.example'")).collect::<Vec<_>>().join(", ");
    let mount = "{ host = '/a', guest = '/mnt/a', writable = true }, ";
    let with = |mounts: usize, names: usize| {
        why(&format!("[request]\nmounts = [{}]\nnetwork = [{}]", mount.repeat(mounts), network(names)))
    };
    assert_eq!([with(1, 63), with(16, 0)], [None, None]);
    assert!(with(1, 64).is_some_and(|why| why.contains("65 things")));
    assert!(with(17, 0).is_some_and(|why| why.contains("17 mounts")));
    let long = |host: usize, guest: usize| {
        let (host, guest) = ("a".repeat(host), "b".repeat(guest));
        why(&format!("[request]\nmounts = [{{ host = '/{host}', guest = '/{guest}' }}]"))
    };
    assert_eq!(long(254, 254), None);
    assert!(long(255, 1).is_some() && long(1, 255).is_some());
    assert!(why(&format!("[request]\nenv = ['{}']", "A".repeat(101))).is_some());
}

#[test]
fn no_place_in_the_guest_that_is_its_own() {
    for guest in [
        "/",
        "/workspace",
        "/workspace/x",
        "/home",
        "/home/claude",
        "/home/claude/.ssh",
        "/proc",
        "/etc/sudoers.d",
        "/usr/bin",
        "/bin",
        "/opt",
        "/opt/claude/bin",
        "/dev/x",
        "/run",
        "mnt/x",
        "/mnt/../etc",
        "/mnt/./x",
        "/mnt//x",
        "/mnt/x/",
        "",
        "/mnt/a\\nb",
        "/mnt/d, read only",
        "/mnt/a b",
        "/mnt/a,b",
        "/mnt/\u{a0}",
        "/mnt/ä",
        "/sys",
    ] {
        let text = format!("[request]\nmounts = [{{ host = '/a', guest = \"{guest}\" }}]");
        assert!(why(&text).is_some(), "{guest:?}");
    }
    for host in [
        "data",
        "./data",
        "../x",
        "",
        "~",
        "~you/x",
        "$HOME/x",
        "${HOME}/x",
        "${PROJECT}",
        "${PROJECT}/${HOME}",
        "/a\\u001b",
    ] {
        let text = format!("[request]\nmounts = [{{ host = \"{host}\", guest = '/mnt/a' }}]");
        assert!(why(&text).is_some(), "{host:?}");
    }
}
