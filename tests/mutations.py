#!/usr/bin/env python3
"""Takes each countermeasure out of a copy of the sources and runs the test that should notice. Every one must turn red. It needs
builds of its own, so this is no part of a usual run. Usage: tests/mutations.py [LETTER...]"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "mutations"

# What is taken out: a build that it can share with others, a file, a text in it, what stands there instead, and the test that
# must notice. Two that the same test notices, or that disturb each other's tests, are in different builds.
LIST = [
    ("A", "src/plan/request.rs", "VARIABLES.contains(&&*upper)", "false", "no_variable_that_is_a_key_or_steers_programs"),
    ("B", "src/plan/request.rs", "FAMILIES.iter().any(|f| upper.starts_with(f))", "false", "no_variable_that_is_a_key_or_steers_programs"),
    ("C", "src/plan/request.rs", "ENDINGS.iter().any(|e| upper.ends_with(e) || upper == e[1..])", "false", "no_variable_that_is_a_key_or_steers_programs"),
    ("A", "src/plan/request.rs", "#[serde(deny_unknown_fields, default)]\nstruct LimitText", "#[serde(default)]\nstruct LimitText", "what_is_no_such_file_is_refused"),
    ("B", "src/plan/request.rs", "#[serde(deny_unknown_fields, default)]\nstruct File", "#[serde(default)]\nstruct File", "no_key_of_the_users_own_settings_exists_here"),
    ("A", "src/plan/request.rs", "TAKEN.iter().any(", "[\"/none\"].iter().any(", "no_place_in_the_guest_that_is_its_own"),
    ("A", "src/plan/request.rs", "if local(&name) || !name.contains('.')", "if name.is_empty()", "no_address_and_no_name_of_this_machine"),
    ("A", "src/plan/approval.rs", "        field(asker.file);\n", "", "a_digest_is_of_exactly_this"),
    ("B", "src/plan/approval.rs", "        field(asker.identity.as_bytes());\n", "", "a_digest_is_of_exactly_this"),
    ("C", "src/plan/approval.rs", "            field(identity.as_bytes());\n", "", "a_digest_is_of_exactly_this"),
    ("D", "src/plan/approval.rs", "            hash.update((bytes.len() as u64).to_be_bytes());\n", "", "a_digest_is_of_exactly_this"),
    ("A", "src/plan/approval.rs", "self.limits.memory.min(limit.memory.unwrap_or(u64::MAX))", "limit.memory.unwrap_or(self.limits.memory)", "limits_only_tighten"),
    ("B", "src/plan/network.rs", ".filter(|n| self.allow.iter().any(|a| n.lies_in(a)))", "", "limits_only_tighten"),
    ("C", "src/plan/network.rs", "self.mode.max(mode.unwrap_or_default())", "mode.unwrap_or_default()", "limits_only_tighten"),
    ("D", "src/plan/approval.rs", "self.protect.level.max(", "(", "limits_only_tighten"),
    ("A", "src/tripwire/beneath.rs", ".union(OFlag::O_NOFOLLOW)", "", "nothing_beneath_leads_out_through_a_link"),
    ("B", "src/tripwire/beneath.rs", 'if part == b"." || part == b".."', "if false", "nothing_beneath_leads_out_through_a_link"),
    ("A", "src/tripwire/found.rs", "contents && self.kind", "self.kind", "what_is_new_changed_and_gone_is_found_and_adds_up"),
    ("B", "src/tripwire/found.rs", "&& self.mode == other.mode", "", "what_is_new_changed_and_gone_is_found_and_adds_up"),
    ("A", "src/tripwire/walk.rs", "self.found.names >= self.bounds.names", "false", "a_walk_ends_within_its_bounds_and_says_so"),
    ("B", "src/tripwire/walk.rs", "self.words.len() > self.bounds.depth", "false", "a_walk_ends_within_its_bounds_and_says_so"),
    ("B", "src/tripwire/walk.rs", "stat.st_mode & 0o6000 != 0", "false", "what_is_listed_is_found_wherever_it_lies"),
    ("A", "src/tripwire/classes.rs", '(".envrc", "direnv, on cd"),', '(".envrx", "direnv, on cd"),', "what_runs_unasked_is_known_at_any_depth_and_in_any_case"),
    ("B", "src/tripwire/index.rs", 'b".git" | ', "", "names_that_no_honest_index_has_are_found"),
    ("C", "shim/src/clean.rs", "!c.is_control()", "true", "nothing_but_ordinary_characters_is_left"),
    ("D", "shim/src/clean.rs", "'\\u{2028}'..='\\u{202e}'", "'\\u{2028}'..='\\u{2029}'", "nothing_but_ordinary_characters_is_left"),
    ("B", "src/report/changes.rs", "vmclaude_shim::clean(line)", "line", "a_difference_moves_no_cursor"),
    ("A", "src/share/rules.rs", "name if name.contains(&b'/') => Err(errno(libc::EINVAL)),", "", "names_that_are_not_one_component_are_refused_by_every_operation"),
    ("A", "src/share/rules.rs", "libc::S_ISUID | libc::S_ISGID", "0", "set_id_bits_stay_off_files_and_set_group_id_stays_on_directories"),
]


def build(letter: str) -> dict[int, str]:
    """Takes out what shares this build, and says of each whether its test noticed."""
    mine = {n: entry for n, entry in enumerate(LIST, 1) if entry[0] == letter}
    texts, verdicts = {}, {}
    for number, (_, file, old, new, _) in mine.items():
        text = texts.setdefault(file, (ROOT / file).read_text())
        if old not in text:
            verdicts[number] = "stale"
        texts[file] = text.replace(old, new)
    for file, text in texts.items():
        (WORK / "src" / file).write_text(text)
    env = dict(os.environ, CARGO_TARGET_DIR=str(WORK / "target"), VMCLAUDE_TESTS_BUILT="1")
    tests = " | ".join(f"test({entry[4]})" for entry in mine.values())
    command = ["cargo", "nextest", "run", "--release", "--color", "never", "--workspace", "--lib", "--no-fail-fast", "-E", tests]
    with open(WORK / f"log.{letter}", "w") as log:
        subprocess.run(command, cwd=WORK / "src", env=env, stdout=log, stderr=log)
    said = (WORK / f"log.{letter}").read_text()
    for number, (*_, test) in mine.items():
        failed = re.search(rf"^\s+FAIL .*{test}$", said, re.M)
        passed = re.search(rf"^\s+PASS .*{test}$", said, re.M)
        verdicts.setdefault(number, "killed" if failed else "SURVIVED" if passed else "stale")
    for file in texts:
        shutil.copy(ROOT / file, WORK / "src" / file)
    return verdicts


def main() -> int:
    (WORK / "src").mkdir(parents=True, exist_ok=True)
    ignore = shutil.ignore_patterns("target", ".git")
    shutil.copytree(ROOT, WORK / "src", ignore=ignore, dirs_exist_ok=True, symlinks=True)
    counts = {"killed": 0, "SURVIVED": 0, "stale": 0}
    for letter in sys.argv[1:] or sorted({entry[0] for entry in LIST}):
        for number, verdict in sorted(build(letter).items()):
            counts[verdict] += 1
            _, file, old, *_ = LIST[number - 1]
            print(f"{verdict:<9} {number:>3}  {file}: {old.strip().splitlines()[0]}", flush=True)
    print(", ".join(f"{count} {word.lower()}" for word, count in counts.items()))
    return int(counts["killed"] != sum(counts.values()))


if __name__ == "__main__":
    sys.exit(main())
