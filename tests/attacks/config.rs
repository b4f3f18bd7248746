//! A project's own file: whatever it asks for that no project may have, and whatever pretends to be an approval. The control
//! of each: something harmless of the same kind is granted.

use crate::table::Table;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use vmclaude::enrollment::Project;
use vmclaude::enrollment::trust::{Asking, approve, packages};
use vmclaude::error::Result;
use vmclaude::host::Host;

const CLASS: &str = "project file";

/// A home and a project of their own.
pub(crate) struct Place {
    pub(crate) root: PathBuf,
    pub(crate) project: PathBuf,
    host: Host,
    _dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path().canonicalize().expect("real");
        let (project, home) = (root.join("project"), root.join("home"));
        for dir in [&project, &home] {
            fs::create_dir(dir).expect("mkdir");
            fs::set_permissions(dir, PermissionsExt::from_mode(0o700)).expect("chmod");
        }
        let mut host = Host::capture().expect("facts");
        host.dirs.state = home.join(".local/state/vmclaude");
        host.dirs.data = home.join(".local/share/vmclaude");
        host.dirs.config = home.join(".config/vmclaude");
        host.dirs.cache = home.join(".cache/vmclaude");
        host.dirs.guest_home = home.join(".vm-claude");
        host.home = home;
        host.env.insert(OsString::from("EDITOR"), OsString::from("ed"));
        Place { root, project, host, _dir: dir }
    }

    /// Writes the project's file.
    pub(crate) fn file(&self, text: &str) {
        fs::write(self.project.join(".vmclaude.toml"), text).expect("write");
    }

    /// Makes a directory beside the project.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let dir = self.root.join(name);
        fs::create_dir_all(&dir).expect("mkdir");
        dir
    }
}

/// What the project asks for, as every run reads it.
pub(crate) fn asking(place: &Place) -> Result<Option<Asking>> {
    let root = place.project.clone();
    let open = fs::File::open(&root).expect("open");
    Asking::read(&place.host, &Project { root, rest: PathBuf::new(), enrolled: false, moved_from: None }, &open)
}

/// Whether what the text asks for could be approved.
fn grantable(place: &Place, text: &str) -> bool {
    place.file(text);
    matches!(asking(place), Ok(Some(Asking { now: Ok(_), .. })))
}

fn mount(host: &Path, guest: &str) -> String {
    format!("[request]\nmounts = [{{ host = \"{}\", guest = \"{guest}\" }}]\n", host.display())
}

pub(crate) fn run(table: &mut Table) {
    let place = Place::new();
    let data = place.dir("data");
    let control = grantable(&place, &mount(&data, "/mnt/d"));
    mounts(table, &place, control);
    let guests = [
        "/",
        "/workspace",
        "/home/claude",
        "/etc/sudoers.d",
        "/usr/bin",
        "/proc",
        "/opt/claude",
        "/var/lib/vmclaude/login",
        "/mnt/d, read only",
    ];
    let writable = |text: &str| text.replace("guest =", "writable = true, guest =");
    table.note(
        CLASS,
        "a writable mount of programs",
        grantable(&place, &writable(&mount(Path::new("/usr/bin"), "/mnt/d"))),
        grantable(&place, &writable(&mount(&data, "/mnt/d"))),
    );
    for guest in guests {
        table.note(
            CLASS,
            format!("a mount over the guest's {guest}"),
            grantable(&place, &mount(&data, guest)),
            control,
        );
    }
    let control = grantable(&place, "[request]\nenv = ['EDITOR']\n");
    for name in [
        "GH_TOKEN",
        "API_KEY",
        "DB_PASSWORD",
        "MY_SECRET",
        "SSH_AUTH_SOCK",
        "LD_PRELOAD",
        "HTTPS_PROXY",
        "NODE_OPTIONS",
        "PATH",
        "BASH_ENV",
        "GIT_SSH_COMMAND",
        "ANTHROPIC_BASE_URL",
        "CLAUDE_CONFIG_DIR",
        "VMCLAUDE_MEMORY",
        "AWS_PROFILE",
        "DOCKER_HOST",
        "*",
    ] {
        table.note(
            CLASS,
            format!("the variable {name}"),
            grantable(&place, &format!("[request]\nenv = ['{name}']\n")),
            control,
        );
    }
    let control = grantable(&place, "[request]\nnetwork = ['a.example']\n");
    for name in [
        "127.0.0.1:80",
        "[::1]:80",
        "192.168.1.1",
        "169.254.169.254",
        "localhost",
        "printer.local",
        "metadata.google.internal",
    ] {
        table.note(
            CLASS,
            format!("the destination {name}"),
            grantable(&place, &format!("[request]\nnetwork = ['{name}']\n")),
            control,
        );
    }
    let control = grantable(&place, "[request]\nports = ['5173']\n");
    table.note(CLASS, "a port of the system's", grantable(&place, "[request]\nports = ['22']\n"), control);
    let control = grantable(&place, "[request]\npackages = ['golang']\n");
    table.note(
        CLASS,
        "an option for apt as a package",
        grantable(&place, "[request]\npackages = ['-oDir::Etc=/x']\n"),
        control,
    );
    for (name, what) in [("sudo-", "a package to remove"), ("zlib1.", "a pattern for apt"), ("git/sid", "a release")] {
        let text = format!("[request]\npackages = ['{name}']\n");
        table.note(CLASS, format!("{what} as a package"), grantable(&place, &text), control);
    }
    for key in [
        "trust",
        "approved",
        "hooks",
        "qemu",
        "image",
        "engine",
        "auth",
        "allow_hosts",
        "allow_local",
        "sudo",
        "home",
        "clipboard",
        "tripwire",
        "git",
        "log",
        "update",
        "extends",
        "secrets",
        "ca",
        "warm_start",
    ] {
        let any = [format!("{key} = true"), format!("[limit]\n{key} = 'x'"), format!("[request]\n{key} = ['x']")];
        table.note(CLASS, format!("the key {key}"), any.iter().any(|text| grantable(&place, text)), control);
    }
    forms(table, &place);
    approvals(table, &place);
    image(table);
    limits(table);
}

fn mounts(table: &mut Table, place: &Place, control: bool) {
    let home = place.host.home.clone();
    for dir in [
        ".ssh",
        ".gnupg",
        ".aws",
        ".azure",
        ".kube",
        ".docker",
        ".config/gh",
        ".config/gcloud",
        ".claude",
        ".local/state/vmclaude/run",
        ".vm-claude/login",
    ] {
        fs::create_dir_all(home.join(dir)).expect("mkdir");
    }
    fs::create_dir_all(place.project.join(".git/hooks")).expect("mkdir");
    let link = place.root.join("looks-fine");
    symlink(home.join(".ssh"), &link).expect("ln");
    let bind = place.dir("a/b");
    let mut targets: Vec<(String, PathBuf)> =
        [".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".config/gh", ".config/gcloud", ".claude"]
            .map(|dir| (format!("a mount of ~/{dir}"), home.join(dir)))
            .to_vec();
    targets.extend([
        ("a mount of the home".to_owned(), home.clone()),
        ("a mount of what is above the home".to_owned(), place.root.clone()),
        ("a mount of the file system".to_owned(), "/".into()),
        ("a mount of vmclaude's state".to_owned(), place.host.dirs.state.join("run")),
        ("a mount of the common login".to_owned(), place.host.dirs.guest_home.join("login")),
        ("a mount of /etc".to_owned(), "/etc".into()),
        ("a mount of /usr".to_owned(), "/usr".into()),
        ("a mount of programs".to_owned(), "/usr/bin".into()),
        ("a mount of programs by their link".to_owned(), "/bin".into()),
        ("a mount of libraries".to_owned(), "/usr/lib".into()),
        ("a mount of libraries by their link".to_owned(), "/lib".into()),
        ("a mount of the administrator's programs".to_owned(), "/sbin".into()),
        ("a mount of what the administrator installed".to_owned(), "/usr/local".into()),
        ("a mount of /opt".to_owned(), "/opt".into()),
        ("a mount of /var".to_owned(), "/var".into()),
        ("a mount of the system's caches".to_owned(), "/var/cache".into()),
        ("a mount of the system's logs".to_owned(), "/var/log".into()),
        ("a mount of the system's spools".to_owned(), "/var/spool".into()),
        ("a mount of /proc".to_owned(), "/proc/self".into()),
        ("a mount of /dev".to_owned(), "/dev/shm".into()),
        ("a mount of /run".to_owned(), "/run".into()),
        ("a mount of the project's git directory".to_owned(), place.project.join(".git")),
        ("a mount of the project itself".to_owned(), place.project.clone()),
        ("a mount by a link to credentials".to_owned(), link),
        ("a mount of a file".to_owned(), "/etc/hostname".into()),
        ("a mount of what is not there".to_owned(), bind.join("no")),
        ("a mount by a way up".to_owned(), place.project.join("../home/.ssh")),
    ]);
    for (name, dir) in targets {
        table.note(CLASS, name, grantable(place, &mount(&dir, "/mnt/d")), control);
    }
}

/// The file itself is not what it should be.
fn forms(table: &mut Table, place: &Place) {
    let file = place.project.join(".vmclaude.toml");
    let harmless = "[request]\nenv = ['EDITOR']\n";
    let control = grantable(place, harmless);
    let elsewhere = place.root.join("elsewhere");
    fs::write(&elsewhere, harmless).expect("write");
    let mut form = |name: &str, make: &dyn Fn()| {
        fs::remove_file(&file).expect("rm");
        make();
        table.note(CLASS, name, matches!(asking(place), Ok(Some(_))), control);
    };
    form("a link as the file", &|| symlink(&elsewhere, &file).expect("ln"));
    form("a pipe as the file", &|| nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo"));
    form("a socket as the file", &|| drop(std::os::unix::net::UnixListener::bind(&file).expect("bind")));
    form("a huge file", &|| fs::write(&file, "#".repeat(70_000)).expect("write"));
    form("a file of deep nesting", &|| fs::write(&file, format!("a = {}", "[".repeat(60_000))).expect("write"));
    form("a key twice", &|| fs::write(&file, format!("{harmless}env = ['PAGER']\n")).expect("write"));
    form("a file that is no text", &|| fs::write(&file, b"[request]\n# \xff\xfe\n").expect("write"));
    form("a file with a zero byte", &|| fs::write(&file, format!("{harmless}#\0")).expect("write"));
}

/// What was approved is not what is asked for now.
fn approvals(table: &mut Table, place: &Place) {
    let data = place.dir("granted");
    let text = mount(&data, "/mnt/d") + "env = ['EDITOR']\n";
    place.file(&text);
    let (resolved, digest) = asking(place).expect("read").expect("a file").now.expect("resolved");
    let granted = || asking(place).ok().flatten().is_some_and(|asked| asked.granted().is_some());
    assert!(!granted(), "nobody has approved it");
    approve(&place.host, &place.project, &resolved, &digest).expect("approve");
    let control = granted();
    let mut note = |name: &str, granted: bool| table.note(CLASS, name, granted, control);
    let mut other = |name: &str, text: &str| {
        place.file(text);
        note(name, granted());
    };
    other("a space more than was approved", &format!("{text} "));
    other("other ends of lines than were approved", &text.replace('\n', "\r\n"));
    other("another variable than was approved", &text.replace("EDITOR", "PAGER"));
    other("writing where reading was approved", &text.replace("guest =", "writable = true, guest ="));
    place.file(&text);
    fs::rename(&data, place.root.join("was")).expect("mv");
    fs::create_dir(&data).expect("mkdir");
    note("another directory at the approved path", granted());
    fs::remove_dir(&data).expect("rm");
    symlink(&place.host.home, &data).expect("ln");
    note("a link at the approved path", granted());
    fs::remove_file(&data).expect("rm");
    fs::rename(place.root.join("was"), &data).expect("mv");
    assert!(granted(), "the same again");
    let copy = Place {
        project: place.dir("copy"),
        root: place.root.clone(),
        host: place.host.clone(),
        _dir: tempfile::tempdir().expect("tempdir"),
    };
    copy.file(&text);
    note("a copy of an approved project", asking(&copy).ok().flatten().is_some_and(|asked| asked.granted().is_some()));
    // An approval that somebody else could have written is none.
    let records = place.host.dirs.state.join("approvals");
    let record = fs::read_dir(&records).expect("list").flatten().next().expect("a record").path();
    fs::set_permissions(&record, PermissionsExt::from_mode(0o666)).expect("chmod");
    note("an approval that others can write", granted());
    fs::set_permissions(&record, PermissionsExt::from_mode(0o600)).expect("chmod");
    let json = fs::read(&record).expect("read");
    fs::remove_file(&record).expect("rm");
    fs::write(place.root.join("record"), &json).expect("write");
    symlink(place.root.join("record"), &record).expect("ln");
    note("an approval behind a link", granted());
    fs::remove_file(&record).expect("rm");
    note("an approval that was taken back", granted());
}

/// Packages in the image of all, approved for what is no more.
fn image(table: &mut Table) {
    let place = Place::new();
    let text = "[request]\npackages = ['golang']\n";
    place.file(text);
    let (resolved, digest) = asking(&place).expect("read").expect("a file").now.expect("resolved");
    approve(&place.host, &place.project, &resolved, &digest).expect("approve");
    let there = || packages(&place.host) == ["golang"];
    let control = there();
    let file = place.project.join(".vmclaude.toml");
    let was = place.root.join("was");
    let mut note = |name: &str| table.note(CLASS, name, !packages(&place.host).is_empty(), control);
    place.file(&text.replace("golang", "netcat"));
    note("a package of a file that is another by now");
    fs::remove_file(&file).expect("rm");
    note("a package of a file that is gone");
    place.file(text);
    assert!(there(), "the same again");
    fs::rename(&place.project, &was).expect("mv");
    note("a package of a directory that is gone");
    fs::create_dir(&place.project).expect("mkdir");
    place.file(text);
    note("a package of another directory at its path");
    fs::remove_dir_all(&place.project).expect("rm");
    symlink(&was, &place.project).expect("ln");
    note("a package of a link at its path");
}

/// Limits that would widen.
fn limits(table: &mut Table) {
    use vmclaude::plan::request::parse;
    let place = Place::new();
    let mut settings = vmclaude::settings::load(&place.host).expect("settings");
    settings.network.mode = vmclaude::plan::network::Mode::None;
    settings.limits.memory = 1024;
    settings.limits.cpus = Some(1);
    settings.protect.level = vmclaude::plan::protect::Level::Strict;
    let with = |text: &str| settings.clone().tightened(&parse(text.as_bytes()).expect("parses").limit);
    let less = with("[limit]\nmemory = '600M'\n").limits.memory == 600;
    table.note(
        CLASS,
        "a limit that opens the network",
        with("[limit]\nnetwork = 'open'\n").network != settings.network,
        less,
    );
    table.note(
        CLASS,
        "a limit that lists a name",
        with("[limit]\nallow = ['a.example']\n").network.mode != settings.network.mode,
        less,
    );
    table.note(CLASS, "a limit that adds memory", with("[limit]\nmemory = '8G'\n").limits.memory > 1024, less);
    table.note(CLASS, "a limit that adds processors", with("[limit]\ncpus = 64\n").limits.cpus != Some(1), less);
    table.note(
        CLASS,
        "a limit that protects less",
        with("[limit]\nprotect = 'none'\n").protect != settings.protect,
        less,
    );
}
