//! What is written in `config.toml`, and what it means.

use super::*;
use crate::host::tests::host;
use crate::plan::network::Mode;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The settings of a `config.toml`.
pub(crate) fn settings(text: &str) -> Settings {
    toml::from_str::<File>(text).expect("parses").resolve(&host(), &|e| e).expect("makes sense")
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let mut host = host();
    let file = |text: &str| toml::from_str::<File>(text).expect("parses");
    assert_eq!(File::default().resolve(&host, &|e| e).expect("defaults").limits, Limits { cpus: None, memory: 4096 });
    let text = "memory = '2G'\ncpus = 3\n[network]\nallow_hosts = ['127.0.0.1:80']";
    let settings = file(text).resolve(&host, &|e| e).expect("file");
    assert_eq!(settings.limits, Limits { cpus: Some(3), memory: 2048 });
    assert_eq!(settings.network.allow_hosts.len(), 1);
    assert_eq!(settings.network.mode, Mode::Open, "open unless somebody says so");
    host.env.insert("VMCLAUDE_MEMORY".into(), "1G".into());
    assert_eq!(file(text).resolve(&host, &|e| e).expect("both").limits.memory, 1024);
    for bad in [&b"1Z"[..], b"1G\xff", b""] {
        host.env.insert("VMCLAUDE_MEMORY".into(), OsStr::from_bytes(bad).into());
        assert!(file(text).resolve(&host, &|e| e).is_err(), "{bad:?}");
    }
}

#[test]
fn values_that_never_mean_anything_are_the_files_fault() {
    let wrong = |failure: Failure| failure.because("of the file");
    for bad in [
        "memory = '100T'",
        "cpus = 0",
        "qemu = 'qemu'",
        "[network]\nallow = ['*']",
        "[network]\nallow_hosts = ['127.0.0.1:0']",
        "[ports]\nforward = [0]",
        "[protect]\npaths = ['/x']",
        "[env]\npass = ['A=1']",
        "[env]\npass = ['']",
        "[env]\npass = ['A B']",
        "[projects.shop]\nhome = 'shared'",
        "[projects.'~/shop']\nhome = 'shared'",
    ] {
        let failure = toml::from_str::<File>(bad).expect("parses").resolve(&host(), &wrong).expect_err(bad);
        assert_eq!(failure.because.last().map(String::as_str), Some("of the file"), "{bad}");
    }
}

#[test]
fn what_a_vm_may_reach_is_understood_or_refused() {
    let read = |text: &str| toml::from_str::<File>(text).ok().and_then(|file| file.resolve(&host(), &|e| e).ok());
    let text = "[network]\nmode = 'allowlist'\nallow = ['a.example', '*.b.example:22']\nallow_local = ['git.corp']";
    let network = read(text).expect("understood").network;
    assert_eq!(network.to_string(), "only a.example:443, *.b.example:22, and inside git.corp");
    for bad in ["mode = 'closed'", "allow = ['a b']", "allow_local = ['0.0.0.0/0']", "mode = ''"] {
        assert!(read(&format!("[network]\n{bad}")).is_none(), "{bad}");
    }
    let empty = read("[network]\nmode = 'allowlist'").expect("understood").network;
    assert_eq!(empty.to_string(), "nothing that is not listed, and nothing is");
}

#[test]
fn what_is_protected_is_understood_or_refused() {
    let read = |text: &str| toml::from_str::<File>(text).ok().and_then(|file| file.resolve(&host(), &|e| e).ok());
    assert_eq!(read("").expect("defaults").protect, protect::Protect::default());
    let protect = read("[protect]\nlevel = 'strict'\npaths = ['deploy.sh', 'ci/']").expect("understood").protect;
    assert_eq!(protect.level, protect::Level::Strict);
    assert_eq!(protect.paths, [PathBuf::from("deploy.sh"), "ci".into()]);
    for bad in ["level = 'most'", "paths = ['/etc']", "paths = ['../x']", "paths = ['']", "path = ['x']"] {
        assert!(read(&format!("[protect]\n{bad}")).is_none(), "{bad}");
    }
}

#[test]
fn what_is_said_of_one_project_counts_for_it_alone() {
    let text = "auth = 'host'\n[projects.'/p']\nhome = 'shared'\nauth = 'guest'\nssh_agent = true";
    let of = |root: &str| settings(text).of_project(Path::new(root), None);
    assert_eq!((of("/p").home, of("/p").auth, of("/p").ssh_agent), (Home::Shared, Auth::Guest, true));
    assert_eq!((of("/p/q").home, of("/p/q").auth, of("/p/q").ssh_agent), (Home::Project, Auth::Host, false));
    for bad in ["[projects.'/p']\nmode = 1", "ssh_agent = true", "auth = 'nowhere'", "home = 'none'"] {
        assert!(toml::from_str::<File>(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_is_said_of_a_project_is_said_of_its_directory_by_whatever_way() {
    let dir = tempfile::tempdir().expect("tempdir");
    let root = dir.path().canonicalize().expect("real");
    std::fs::create_dir_all(root.join("var/home/shop")).expect("mkdir");
    std::os::unix::fs::symlink("var/home", root.join("home")).expect("ln");
    let key = |path: &str| format!("[projects.{:?}]\nauth = 'host'\n", root.join(path));
    let of = |text: &str, at: &str, was: Option<&str>| {
        settings(text).of_project(&root.join(at), was.map(|was| root.join(was)).as_deref()).auth
    };
    assert_eq!(of(&key("home/shop"), "var/home/shop", None), Auth::Host, "a link on the way");
    assert_eq!(of(&key("home/gone"), "var/home/gone", None), Auth::Host, "what is not there now");
    assert_eq!(of(&key("home/was"), "var/home/shop", Some("var/home/was")), Auth::Host, "moved");
    assert_eq!(of(&key("home/was"), "var/home/shop", None), Auth::Guest);
    let both = key("home/was") + &key("home/shop").replace("host", "guest");
    assert_eq!(of(&both, "var/home/shop", Some("var/home/was")), Auth::Guest, "where it is now, and not where it was");
    let twice = key("home/shop") + &key("var/home/shop");
    let failure = toml::from_str::<File>(&twice).expect("parses").resolve(&host(), &|e| e).expect_err("one directory");
    assert!(failure.what.ends_with("are one directory"), "{failure}");
    let typed = settings(&key("home/shop")).projects.into_values().next().expect("a project").typed;
    assert_eq!(typed, root.join("home/shop"), "as it was written");
}

#[test]
fn unknown_keys_are_refused() {
    for text in ["memry = '2G'", "[network]\nallow = 1", "[network]\nmodes = 1", "[image]\npackage = []", "memory = 4"]
    {
        assert!(toml::from_str::<File>(text).is_err(), "{text}");
    }
}
