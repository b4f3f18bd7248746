//! Directories that are not any more where they were enrolled.

use crate::world::Home;
use std::os::unix::fs::symlink;

#[test]
fn the_list_tells_what_has_become_of_each() {
    let home = Home::new();
    for name in ["ok", "moved", "gone", "replaced"] {
        assert_eq!(home.run(&home.dir(name), &["enroll"]).code, 0);
    }
    std::fs::rename(home.root.join("moved"), home.root.join("new name")).expect("mv");
    std::fs::remove_dir(home.root.join("gone")).expect("rmdir");
    std::fs::rename(home.root.join("replaced"), home.dir("home").join("old")).expect("mv");
    home.dir("replaced");
    let answer: serde_json::Value = serde_json::from_str(&home.run(&home.root, &["list", "--json"]).out).expect("JSON");
    assert_eq!(answer["version"], 1);
    for tree in answer["trees"].as_array().expect("a list") {
        let path = tree["path"].as_str().expect("text");
        assert!(path.ends_with(tree["state"].as_str().expect("text")), "{tree}");
    }
    assert!(home.run(&home.root, &["list"]).out.contains("new name"));
    // Replaced: refused until somebody says which it is.
    let replaced = home.dir("replaced");
    assert_eq!(home.run(&replaced, &["where"]).code, 78);
    assert!(home.run(&replaced, &["enroll"]).err.contains("anew"));
    assert_eq!(home.run(&replaced, &["where"]).code, 0);
    // Moved: enrolling it where it is now forgets where it was.
    assert!(home.run(&home.root.join("new name"), &["enroll"]).err.contains("which was "));
    assert!(!home.run(&home.root, &["list"]).out.contains("/moved"));
}

#[test]
fn a_directory_that_gave_its_path_to_another_stays_enrolled_or_that_is_said() {
    let home = Home::new();
    let p = home.dir("p");
    assert_eq!(home.run(&p, &["enroll"]).code, 0);
    std::fs::rename(&p, home.root.join("p-old")).expect("mv");
    let old = home.root.join("p-old");
    home.dir("p");
    assert_eq!((home.run(&old, &["where"]).code, home.run(&p, &["where"]).code), (0, 78));
    let anew = home.run(&p, &["enroll"]);
    assert!(anew.code == 0 && anew.err.contains("/p-old, and stays enrolled"), "{}", anew.err);
    for dir in [&p, &old] {
        assert_eq!(home.run(dir, &["where"]).out, format!("{}\n", dir.display()));
    }
    // Out of sight.
    std::fs::rename(&p, home.dir("home").join("p")).expect("mv");
    home.dir("p");
    let anew = home.run(&p, &["enroll"]);
    assert!(anew.code == 0 && anew.err.contains("is not enrolled any more"), "{}", anew.err);
    // One that was enrolled where it is now needs no words.
    std::fs::rename(&p, home.root.join("p-third")).expect("mv");
    home.dir("p");
    assert_eq!(home.run(&home.root, &["enroll", "p-third"]).code, 0);
    let anew = home.run(&p, &["enroll"]);
    assert!(anew.code == 0 && !anew.err.contains("enrolled before is"), "{}", anew.err);
    // To unenroll the path takes the word back for the directory that is not there any more.
    let q = home.dir("q");
    assert_eq!(home.run(&q, &["enroll"]).code, 0);
    std::fs::rename(&q, home.root.join("q-old")).expect("mv");
    home.dir("q");
    let gone = home.run(&q, &["unenroll", "--yes"]);
    assert!(gone.code == 0 && gone.err.contains("nor is ") && gone.err.contains("/q-old"), "{}", gone.err);
}

#[test]
fn a_gone_directory_is_unenrolled_by_its_name() {
    let home = Home::new();
    let p = home.dir("p");
    assert_eq!(home.run(&p, &["enroll"]).code, 0);
    std::fs::remove_dir(&p).expect("rmdir");
    assert_eq!(home.run(&home.root, &["unenroll", "--yes", "p"]).code, 0);
}

/// Another name of a directory is no other place: what is said and written is where it really is.
#[test]
fn a_link_beside_a_directory_is_not_where_it_has_gone() {
    let home = Home::new();
    let p = home.dir("w/p");
    symlink("p", home.root.join("w/zz")).expect("ln");
    assert_eq!(home.run(&p, &["enroll"]).code, 0);
    let gone = home.run(&p, &["unenroll", "--yes"]);
    assert!(gone.code == 0 && !gone.err.contains("nor is "), "{}", gone.err);
    // It has gone somewhere else, and a link beside its old place leads there.
    assert_eq!(home.run(&p, &["enroll"]).code, 0);
    std::fs::rename(&p, home.dir("d").join("real")).expect("mv");
    std::fs::remove_file(home.root.join("w/zz")).expect("rm");
    symlink("../d/real", home.root.join("w/l")).expect("ln");
    let real = home.root.join("d/real").display().to_string();
    assert!(home.run(&home.root, &["list"]).out.contains(&format!("/w/p -> {real}\n")));
    home.dir("w/p");
    let anew = home.run(&p, &["enroll"]);
    assert!(anew.code == 0 && anew.err.contains(&format!("{real}, and stays enrolled")), "{}", anew.err);
    let listed = home.run(&home.root, &["list"]).out;
    assert!(listed.contains(&format!("ok          {real}\n")) && !listed.contains("/w/l"), "{listed}");
}
