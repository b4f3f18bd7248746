//! In and out again, and what is ours.

use super::*;

const COMMAND: &str = "'/p/bin/vmclaude' guard --state '/s' || exit 2";

const FILES: [&str; 24] = [
    "{\"a\":1}",
    "{\n  \"a\": 1\n}\n",
    "{\n\t\"a\": [1,\n2],   \"b\" : 1.0e3,\n\n\t\"c\": \"\\u00e9 \\/\"\n}",
    "{\r\n  \"a\": 1\r\n}\r\n",
    "{\n  \"hooks\": {\n    \"Stop\": [\n      {\"hooks\": []}\n    ]\n  },\n  \"z\": null\n}\n",
    "{\n  \"hooks\": {\n    \"PreToolUse\": [\n      {\n        \"matcher\": \"Bash\",\n        \"hooks\": [\n          { \"type\": \"command\", \"command\": \"lint\" }\n        ]\n      }\n    ]\n  }\n}\n",
    "{\"hooks\":{\"PreToolUse\":[{\"matcher\":\"Bash\",\"hooks\":[{\"type\":\"command\",\"command\":\"lint\"}]}]},\"model\":\"opus\"}",
    "  {\"hooks\": {\"UserPromptSubmit\": [{\"hooks\": [{\"type\": \"command\", \"command\": \"vmclaude-notes\"}]}]}}  ",
    "{ \"permissions\": { \"allow\": [\"Bash(npm run *)\"] } }",
    "{\n    \"a\": 1,\n    \"b\": {}\n}",
    "{\n  \"big\": 12345678901234567890123,\n  \"twice\": 1,\n  \"twice\": 2\n}\n",
    "{\n  \"a\": 1\n\n}\n",
    // What is empty was there, and is not ours to take out.
    "{}",
    "{\"model\":\"opus\",\"hooks\":{}}",
    "{\"model\":\"opus\",\"hooks\": {}}\n",
    "{\"hooks\":{\"PreToolUse\":[]}}",
    "{\n  \"model\": \"opus\",\n  \"hooks\": {}\n}\n",
    "{\n  \"hooks\": {\n    \"PreToolUse\": []\n  },\n  \"model\": \"opus\"\n}\n",
    "{\n  \"hooks\": {\n    \"UserPromptSubmit\": [],\n    \"PreToolUse\": []\n  }\n}\n",
    "{\n  \"hooks\": {\n    \"UserPromptSubmit\": []\n  }\n}\n",
    "\n{\"hooks\": {\"PreToolUse\": [], \"Stop\": [], \"UserPromptSubmit\": []}}",
    "{\n  \"hooks\": { \"Stop\": [], \"PreToolUse\": [] }\n}\n",
    "{\"hooks\": { \"PreToolUse\": [\n  ] } , \"model\": \"opus\"}",
    "{\"hooks\":{\"PreToolUse\":[{\"hooks\":[{\"type\":\"command\",\"command\":\"/home/me/src/vmclaude/ci/check guard\"}]}]}}",
];

#[test]
fn in_and_out_again_gives_every_byte_back() {
    for text in FILES {
        assert_eq!(registered(text, COMMAND), Registered::No);
        let with = add(text, COMMAND).expect(text);
        assert_eq!(registered(&with, COMMAND), Registered::Yes, "{with}");
        assert_eq!(add(&with, COMMAND).expect("again"), with, "once is enough");
        assert_eq!(remove(&with).expect("out"), *text, "{with}");
    }
}

/// Settings in any layout, made of these choices.
struct Make(std::vec::IntoIter<u8>);

impl Make {
    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[usize::from(self.0.next().unwrap_or(0)) % of.len()]
    }

    fn gap(&mut self) -> &'static str {
        self.one(&["", " ", "\n", "\n  ", "\n    ", "\r\n"])
    }

    fn list(&mut self) -> String {
        match self.one(&["empty", "blank", "theirs"]) {
            "empty" => "[]".to_owned(),
            "blank" => format!("[{}]", self.gap()),
            _ => format!("[{}{{\"hooks\":[]}}{}]", self.gap(), self.gap()),
        }
    }

    /// Some of these members.
    fn object(&mut self, mut names: Vec<&str>, value: fn(&mut Make, &str) -> String) -> String {
        let (mut text, mut comma) = ("{".to_owned(), "");
        while !names.is_empty() && self.one(&["more", "more", "more", "end"]) == "more" {
            let name = self.one(&names);
            names.retain(|other| *other != name);
            let (gap, colon) = (self.gap(), self.one(&[": ", ":", " : ", ":\n"]));
            text += &format!("{comma}{gap}\"{name}\"{colon}{}", value(self, name));
            comma = self.one(&[",", " ,"]);
        }
        format!("{text}{}}}", self.gap())
    }

    fn settings(&mut self) -> String {
        let before = self.one(&["", "", "\n", "  ", "\t"]);
        let value = |make: &mut Make, name: &str| match name {
            "hooks" => make.object(vec!["UserPromptSubmit", "PreToolUse", "Stop"], |make, _| make.list()),
            _ => "1".to_owned(),
        };
        format!("{before}{}{}", self.object(vec!["hooks", "a", "b"], value), self.gap())
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_layout_comes_back_byte_for_byte(choices in proptest::collection::vec(0..60u8, 0..60)) {
        let text = Make(choices.into_iter()).settings();
        let with = add(&text, COMMAND).expect("settings");
        // As a file of ours would be, which goes as a whole.
        if with != add("", COMMAND).expect("new") {
            proptest::prop_assert_eq!(remove(&with).expect("out"), text, "{}", with);
        }
    }
}

#[test]
fn a_file_that_was_not_there_goes_away_again() {
    for nothing in ["", "\n"] {
        let with = add(nothing, COMMAND).expect("new");
        assert!(with.ends_with("}\n") && with.contains("\"matcher\": \"*\""), "{with}");
        assert_eq!(remove(&with).expect("out"), "");
    }
    // Changed since by somebody else: then it is theirs, and stays.
    let with = add("", COMMAND).expect("new");
    assert_eq!(remove(&with.replace("  ", "    ")).expect("out"), "{}\n");
}

#[test]
fn a_program_called_vmclaude_and_its_guard_are_ours_and_no_others() {
    for ours in [
        COMMAND,
        "vmclaude guard",
        "/a/vmclaude  guard;x",
        "sh -c 'vmclaude guard || exit 2'",
        "\"/a b/vmclaude\" guard",
    ] {
        assert!(is_ours(ours), "{ours}");
    }
    for other in [
        "/home/me/src/vmclaude/ci/check guard",
        "vmclaude-notes guard",
        "my-vmclaude guard",
        "vmclaude status; guard",
        "vmclaude guardian",
        "vmclaude guard/x",
        "vmclaudeguard",
    ] {
        assert!(!is_ours(other), "{other}");
    }
}

#[test]
fn a_group_that_a_person_made_stays() {
    let theirs = "{\"hooks\":{\"PreToolUse\":[{\"matcher\":\"Bash\",\"hooks\":[{\"type\":\"command\",\"command\":\"vmclaude guard\"}]}]}}";
    assert_eq!(remove(theirs).expect("out"), "{\"hooks\":{\"PreToolUse\":[{\"matcher\":\"Bash\",\"hooks\":[]}]}}");
}

#[test]
fn what_is_not_settings_is_not_touched() {
    for bad in [
        "nonsense",
        "[]",
        "3",
        "{\"hooks\": 3}",
        "{\"hooks\": {\"PreToolUse\": {}}}",
        "{\"a\": 1,}",
        "{ // no\n}",
        "{'a': 1}",
        "\u{feff}{}",
        "{\"hooks\": {}, \"hooks\": {}}",
    ] {
        let why = add(bad, COMMAND).expect_err(bad);
        assert!(!why.is_empty());
    }
}

#[test]
fn another_versions_hook_gives_way_and_other_hooks_of_the_group_stay() {
    let old = add("{}", "/old/vmclaude guard || exit 2").expect("old");
    assert_eq!(registered(&old, COMMAND), Registered::Otherwise);
    let new = add(&old, COMMAND).expect("new");
    assert_eq!(new.matches("guard").count(), 2, "{new}");
    let shared = "{\"hooks\":{\"PreToolUse\":[{\"hooks\":[{\"type\":\"command\",\"command\":\"sh -c 'vmclaude guard || exit 2'\"},{\"type\":\"command\",\"command\":\"lint\"}]}]}}";
    assert_eq!(registered(shared, COMMAND), Registered::Otherwise, "one event of two");
    let left = remove(shared).expect("out");
    assert!(left.contains("lint") && !left.contains("guard"), "{left}");
    serde_json::from_str::<Value>(&left).expect("still JSON");
}

#[test]
fn the_command_survives_any_path() {
    let words = command(Path::new("/a b/it's/vmclaude"), Path::new("/s")).expect("text");
    assert_eq!(words, r"'/a b/it'\''s/vmclaude' guard --state '/s' || exit 2");
    assert_eq!(registered(&add("{}", &words).expect("in"), &words), Registered::Yes);
}
