//! Images on disk, whole and not.

use super::*;

fn built() -> (tempfile::TempDir, Dirs) {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let (state, data, config, cache) = (at("s"), at("d"), at("c"), at("k"));
    let dirs = Dirs { state, data, config, cache, guest_home: at("g") };
    let dir = dirs.images().join("0001");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("vmlinux"), "kernel").unwrap();
    let text = |s: &str| s.to_owned();
    let manifest = Manifest {
        format: FORMAT,
        id: text("0001"),
        created: 1,
        arch: text("amd64"),
        base_key: text("k"),
        kernel: text("6.1"),
        node: text("v24"),
        claude: text("2.1.330"),
        claude_integrity: text("sha512-"),
        wire: vmclaude_init::wire::proto::VERSION,
        supervisor: text("s"),
        packages: None,
        files: BTreeMap::from([(text("vmlinux"), Stamp::of(&dir.join("vmlinux")).unwrap())]),
    };
    write(&dir, &manifest).unwrap();
    set_current(&dirs, "0001").unwrap();
    (home, dirs)
}

#[test]
fn a_manifest_is_read_as_it_was_written_and_nothing_else_is() {
    let (_home, dirs) = built();
    let image = current(&dirs).unwrap();
    assert_eq!((image.manifest.id.as_str(), image.manifest.created), ("0001", 1));
    let path = image.dir.join(MANIFEST);
    let text = std::fs::read_to_string(&path).unwrap().replace("\"format\": 1", "\"format\": 99");
    std::fs::write(&path, text).unwrap();
    assert!(current(&dirs).unwrap_err().because[0].contains("another vmclaude"));
    std::fs::write(&path, "{").unwrap();
    assert_eq!(current(&dirs).unwrap_err().next.as_deref(), Some(BUILD));
}

#[test]
fn a_damaged_file_is_found_and_a_copied_one_is_not_read_twice() {
    let (_home, dirs) = built();
    let kernel = current(&dirs).unwrap().kernel();
    std::fs::write(&kernel, "kernel").unwrap();
    let image = current(&dirs).unwrap();
    assert!(!image.verify(image.manifest.files.keys()).unwrap(), "the copy's stamp was recorded");
    std::fs::write(&kernel, "kernal").unwrap();
    let failure = current(&dirs).unwrap_err();
    assert_eq!(failure.what, "the image is damaged");
    assert_eq!(failure.next.as_deref(), Some(BUILD));
    std::fs::write(&kernel, "short").unwrap();
    assert!(current(&dirs).unwrap_err().because[0].ends_with("5 bytes instead of 6"));
}

#[test]
fn without_an_image_the_next_command_is_build() {
    let (_home, dirs) = built();
    remove(&dirs, "0001").unwrap();
    let failure = current(&dirs).unwrap_err();
    assert_eq!((failure.what.as_str(), failure.next.as_deref()), ("there is no image", Some(BUILD)));
    assert!(remove(&dirs, "../0001").is_err());
    assert!(list(&dirs).unwrap().0.is_empty());
}

#[test]
fn what_cannot_be_read_has_a_name_and_can_be_removed() {
    let (_home, dirs) = built();
    for name in ["0002", "0003", "0004", ".build", "lost+found"] {
        std::fs::create_dir(dirs.images().join(name)).unwrap();
    }
    std::fs::write(dirs.images().join("0003").join(MANIFEST), "{").unwrap();
    std::fs::create_dir(dirs.images().join("0004").join(MANIFEST)).unwrap();
    std::fs::write(dirs.images().join("apple.json"), "{}").unwrap();
    assert_eq!(names(&dirs).unwrap(), ["0001", "0002", "0003", "0004"]);
    assert_eq!(list(&dirs).unwrap().0.len(), 1);
    for name in ["0002", "0003", "0004"] {
        remove(&dirs, name).unwrap();
    }
    assert!(
        [".build", "lost+found", "current", "apple.json", "", ".", "../images/0001"]
            .iter()
            .all(|id| remove(&dirs, id).is_err())
    );
    assert_eq!(
        (names(&dirs).unwrap(), current(&dirs).unwrap().manifest.id),
        (vec!["0001".to_owned()], "0001".to_owned())
    );
    set_current(&dirs, "0001").unwrap();
    std::fs::write(dirs.images().join("0001").join(MANIFEST), "{").unwrap();
    remove(&dirs, "0001").unwrap();
    assert_eq!(current(&dirs).unwrap_err().what, "there is no image");
}
