#!/usr/bin/env python3
"""Takes each countermeasure out of a copy of the sources and runs the test that should notice. Every one must turn red. It needs
builds of its own, so this is no part of a usual run; a usual run asks whether every text is still there.
Usage: tests/mutations.py [LETTER...] | --check"""
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
    ("A", "src/plan/request/variables.rs", "VARIABLES.contains(&&*upper)", "false", "no_variable_that_is_a_key_or_steers_programs"),
    ("B", "src/plan/request/variables.rs", "FAMILIES.iter().any(|f| upper.starts_with(f))", "false", "no_variable_that_is_a_key_or_steers_programs"),
    ("C", "src/plan/request/variables.rs", "ENDINGS.iter().any(|e| upper.ends_with(e) || upper == e[1..])", "false", "no_variable_that_is_a_key_or_steers_programs"),
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
    ("A", "src/plan/approval.rs", "limit.clipboard == Some(Clipboard::Deny)", "limit.clipboard.is_none()", "limits_only_tighten"),
    ("A", "src/tripwire/beneath.rs", ".union(OFlag::O_NOFOLLOW)", "", "nothing_beneath_leads_out_through_a_link"),
    ("B", "src/tripwire/beneath.rs", 'if part == b"." || part == b".."', "if false", "nothing_beneath_leads_out_through_a_link"),
    ("A", "src/tripwire/found.rs", "contents && self.kind", "self.kind", "what_is_new_changed_and_gone_is_found_and_adds_up"),
    ("B", "src/tripwire/found.rs", "&& self.mode == other.mode", "", "what_is_new_changed_and_gone_is_found_and_adds_up"),
    ("A", "src/tripwire/walk.rs", "self.found.names >= self.bounds.names", "false", "a_walk_ends_within_its_bounds_and_says_so"),
    ("B", "src/tripwire/walk.rs", "self.words.len() > self.bounds.depth", "false", "a_walk_ends_within_its_bounds_and_says_so"),
    ("B", "src/tripwire/walk.rs", "stat.st_mode & 0o6000 != 0", "false", "what_is_listed_is_found_wherever_it_lies"),
    ("A", "src/tripwire/classes.rs", '(".envrc", "direnv, on cd"),', '(".envrx", "direnv, on cd"),', "what_runs_unasked_is_known_at_any_depth_and_in_any_case"),
    ("B", "src/tripwire/index.rs", 'b".git" | ', "", "names_that_no_honest_index_has_are_found"),
    ("A", "src/tripwire/mod.rs", "let _alone = store.first_walk();", "", "a_first_walk_begins_when_the_one_before_it_is_over"),
    ("B", "src/tripwire/store.rs", "Some(before) => found.push((before, note)),", "Some(before) => {\n                    self.remove(&note);\n                    found.push((before, note));\n                }", "a_start_that_is_killed_leaves_the_killed_session_to_the_next"),
    ("C", "shim/src/clean.rs", "!c.is_control()", "true", "nothing_but_ordinary_characters_is_left"),
    ("D", "shim/src/clean.rs", "'\\u{2028}'..='\\u{202e}'", "'\\u{2028}'..='\\u{2029}'", "nothing_but_ordinary_characters_is_left"),
    ("B", "src/report/changes.rs", "vmclaude_shim::clean(line)", "line", "a_difference_moves_no_cursor"),
    ("A", "src/share/rules.rs", "name if name.contains(&b'/') => Err(errno(libc::EINVAL)),", "", "names_that_are_not_one_component_are_refused_by_every_operation"),
    ("A", "src/share/rules.rs", "libc::S_ISUID | libc::S_ISGID", "0", "set_id_bits_stay_off_files_and_set_group_id_stays_on_directories"),
    ("E", "src/share/guard.rs", "self.change(inode)?;\n        if valid.contains", "if valid.contains", "a_read_only_tag_and_the_root_are_never_changed"),
    ("F", "src/share/guard.rs", "self.change(inode)?;\n        self.inner.write(", "self.inner.write(", "a_read_only_tag_and_the_root_are_never_changed"),
    ("G", "src/share/guard.rs", "self.change(inode)?;\n        self.inner.setxattr(", "self.inner.setxattr(", "a_read_only_tag_and_the_root_are_never_changed"),
    ("H", "src/share/guard.rs", "self.change(inode)?;\n        self.inner.removexattr(", "self.inner.removexattr(", "a_read_only_tag_and_the_root_are_never_changed"),
    ("I", "src/share/guard.rs", "self.change(inode)?;\n        self.inner.fallocate(", "self.inner.fallocate(", "a_read_only_tag_and_the_root_are_never_changed"),
    ("J", "src/share/guard.rs", "self.change(to)?;\n", "", "a_read_only_tag_and_the_root_are_never_changed"),
    ("K", "src/share/guard.rs", "self.take(ctx, old, name)?;\n", "", "every_attack_on_a_protected_path_fails_and_succeeds_on_one_that_is_not"),
    ("L", "src/share/guard.rs", "self.take(ctx, new, to)?;\n", "", "every_attack_on_a_protected_path_fails_and_succeeds_on_one_that_is_not"),
    ("M", "src/share/guard.rs", "self.change(inode)?;\n        self.make(parent, name)?;", "self.make(parent, name)?;", "nothing_moves_between_tags_of_different_kinds"),
    ("N", "src/share/guard.rs", "let new = flags | libc::O_EXCL.cast_unsigned();", "let new = flags;", "a_second_name_is_no_way_around"),
    ("O", "src/share/guard.rs", "rules::mode(mode, false), rdev, umask", "mode, rdev, umask", "set_id_bits_stay_off_files_and_set_group_id_stays_on_directories"),
    ("P", "src/share/guard/checks.rs", "        if changes {\n            self.change(inode)?;\n        }\n", "", "every_attack_on_a_protected_path_fails_and_succeeds_on_one_that_is_not"),
    ("S", "src/plan/protect.rs", "Git::Beside(path, exact) => vec![(path.clone(), *exact)],", "Git::Beside(..) => vec![],", "what_git_executes_is_protected_wherever_git_keeps_it"),
    ("T", "src/plan/protect.rs", "Git::Pointer(path) | Git::Unseen(path) | Git::Named(path) => vec![(path.clone(), false)]", "Git::Pointer(path) => vec![(path.clone(), false)],\n        Git::Unseen(_) | Git::Named(_) => vec![]", "what_git_executes_is_protected_wherever_git_keeps_it"),
    ("S", "src/enrollment/git.rs", "self.found.push(Git::Unseen(dir.to_path_buf()));", "", "what_a_guest_fills_up_is_protected_as_a_whole_and_hides_nothing_else"),
    ("T", "src/git/named.rs", r"|include\.path|", "|", "hooks_and_configuration_that_are_named_in_the_project_are_found"),
    ("Q", "src/share/guard/checks.rs", "if stays { Err", "if false { Err", "a_second_name_is_no_way_around"),
    ("R", "src/share/nodes.rs", "if access == Access::ReadOnly {", "if false {", "a_file_in_both_kinds_of_tag_is_read_only_in_either_order"),
    ("S", "src/share/nodes.rs", "if node.lookups == 0 && !node.pinned {", "if node.lookups == 0 {", "forgetting_more_than_was_looked_up_takes_nothing_from_others"),
    ("T", "src/share/nodes.rs", "is_some_and(|node| node.access == Access::Writable)", "is_none_or(|node| node.access == Access::Writable)", "what_the_guest_forgot_it_cannot_change"),
    ("U", "src/share/nodes.rs", "matches!(meaning, Some(None | Some(Meaning::Way(_))))", "meaning.is_some()", "every_attack_on_a_protected_path_fails_and_succeeds_on_one_that_is_not"),
    ("E", "src/plan/folded.rs", ".flat_map(char::to_lowercase)", "", "spellings_of_one_name_are_one_name"),
    ("F", "src/plan/folded.rs", "text.trim_end_matches(['.', ' '])", "text", "spellings_of_one_name_are_one_name"),
    ("G", "src/plan/folded.rs", ".filter(|c| !ignored(c))", "", "spellings_of_one_name_are_one_name"),
    ("H", "src/share/rules.rs", "0 | libc::S_IFREG |", "0 | libc::S_IFCHR | libc::S_IFREG |", "no_device_nodes_and_no_whiteouts"),
    ("I", "src/share/rules.rs", "if flags & !(libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE) == 0", "if flags < 99", "no_device_nodes_and_no_whiteouts"),
    ("J", "src/share/rules.rs", 'b"" | b"." | b".." =>', 'b"" =>', "names_that_are_not_one_component_are_refused_by_every_operation"),
    ("K", "src/share/rules.rs", "libc::O_CREAT | libc::O_PATH | UNNAMED", "libc::O_PATH | UNNAMED", "opens_neither_make_files_nor_name_them_only"),
    ("L", "src/share/rules.rs", " || flags & libc::O_TRUNC != 0", "", "a_read_only_tag_and_the_root_are_never_changed"),
    ("E", "src/net/policy.rs", '    ([169, 254, 0, 0], 16, "link-local or cloud metadata"),\n', "", "the_ipv4_blocks_leave_exactly_the_public_intervals"),
    ("F", "src/net/policy.rs", '    ([192, 168, 0, 0], 16, "a private network"),\n', "", "the_ipv4_blocks_leave_exactly_the_public_intervals"),
    ("G", "src/net/policy.rs", "([100, 64, 0, 0], 10,", "([100, 64, 0, 0], 11,", "the_ipv4_blocks_leave_exactly_the_public_intervals"),
    ("H", "src/net/policy.rs", "=> [v4(high, low), None], // NAT64", "=> [None, None],", "the_hosts_own_addresses_are_refused_in_every_form"),
    ("I", "src/net/policy.rs", "=> [v4(high, low), None],               // 6to4", "=> [None, None],", "ipv6_beside_the_public_internet_is_refused"),
    ("J", "src/net/policy.rs", "[v4(high, low), v4(!c, !d)], // Teredo", "[v4(high, low), None], // Teredo", "a_teredo_address_is_judged_by_its_server_and_its_client"),
    ("K", "src/net/policy.rs", "0 | 0x200, 0x5efe, high, low] => [v4(high, low), None]", "0 | 0x200, 0x5efe, _, _] => [None, None]", "ipv6_beside_the_public_internet_is_refused"),
    ("L", "src/net/policy.rs", "special.or_else(|| here.knows(face))", "special", "the_hosts_own_addresses_are_refused_in_every_form"),
    ("M", "src/net/policy.rs", 'known.or((!global).then_some("not a public address"))', "known", "ipv6_beside_the_public_internet_is_refused"),
    ("N", "src/net/policy.rs", " && a.port() == port", "", "an_exception_is_one_socket_address"),
    ("O", "src/net/policy.rs", " || v4.is_loopback()", "", "settings_open_networks_but_never_this_machine"),
    ("P", "src/net/policy.rs", "!near && !METADATA.contains(&addr)", "!near", "settings_open_networks_but_never_this_machine"),
    ("Q", "src/net/policy.rs", " || embedded(v6).iter().any(Option::is_some)", "", "settings_open_networks_but_never_this_machine"),
    ("R", "src/net/policy.rs", "near().then_some(NETWORK)", "near().then_some(NETWORK).filter(|_| false)", "the_hosts_neighbours_are_refused_in_every_form_and_nobody_else_is"),
    ("S", "src/net/own.rs", "(bits >= shortest).then(||", "(bits <= all).then(||", "a_network_is_what_the_mask_says_and_never_half_the_world"),
    ("T", "src/net/own.rs", "bits.unwrap_or(all).min(LINK)", "bits.unwrap_or(all)", "a_network_is_what_the_mask_says_and_never_half_the_world"),
    ("E", "src/net/tls.rs", "HIDDEN_HELLO => return None,", "HIDDEN_HELLO => {}", "what_hides_its_name_is_nameless_and_what_is_no_tls_is_plain"),
    ("F", "src/net/tls.rs", "            SERVER_NAME if name.is_some() => return None,\n", "", "what_hides_its_name_is_nameless_and_what_is_no_tls_is_plain"),
    ("G", "src/net/tls.rs", " && content.0.is_empty();", ";", "what_hides_its_name_is_nameless_and_what_is_no_tls_is_plain"),
    ("H", "src/net/tls.rs", "kind == 0 && list.0.is_empty()", "kind == 0", "what_hides_its_name_is_nameless_and_what_is_no_tls_is_plain"),
    ("I", "src/net/tls.rs", " && name.0.iter().all(fine)", "", "what_hides_its_name_is_nameless_and_what_is_no_tls_is_plain"),
    ("J", "src/net/tls.rs", "if length == 0 {", "if false {", "what_hides_its_name_is_nameless_and_what_is_no_tls_is_plain"),
    ("K", "src/net/tls.rs", "Some(self.names.contains(&name))", "Some(!name.is_empty())", "only_the_named_server_hears_anything"),
    ("L", "src/net/tls.rs", "Hello::Plain => Some(self.plain)", "Hello::Plain => Some(true)", "only_the_named_server_hears_anything"),
    ("M", "src/net/tls.rs", "Hello::Nameless => Some(false)", "Hello::Nameless => Some(true)", "only_the_named_server_hears_anything"),
    ("N", "src/net/tls.rs", "length < LONGEST && bytes.len() < 2 * LONGEST", "length < LONGEST", "patience_has_an_end_in_small_pieces_too"),
    ("O", "src/net/tls.rs", "length < LONGEST && bytes.len() < 2 * LONGEST", "bytes.len() < 2 * LONGEST", "what_hides_its_name_is_nameless_and_what_is_no_tls_is_plain"),
    ("E", "src/net/dial.rs", "Verdict::Deny(_) if opened(target, addr.ip(), &here, policy) =>", "Verdict::Deny(_) if addr.ip().is_ipv4() =>", "no_setting_opens_this_machine"),
    ("F", "src/net/dial.rs", "        Target::Name(text, _) if !is_name(text) => Err(Dialled::NoSuchName),\n", "", "what_is_no_name_never_reaches_the_resolver"),
    ("G", "src/net/dial.rs", "policy.pending.attempt(timeout(OVERALL, attempt)).await;", "Some(timeout(OVERALL, attempt).await);", "dials_that_hang_give_way"),
    ("H", "src/net/dial.rs", "Mode::Allowlist if itself || local => Ok(None)", "Mode::Allowlist => Ok(None)", "what_the_list_does_not_name_is_not_even_looked_up"),
    ("I", "src/net/dial.rs", "let listed = listed(target, &names, policy)?;", "let listed = listed(target, &names, policy).unwrap_or(None);", "what_the_list_does_not_name_is_not_even_looked_up"),
    ("J", "src/net/dial.rs", "    may_be_opened(addr)\n        && ", "    ", "no_setting_opens_this_machine"),
    ("K", "src/net/dial.rs", "        && !here.addresses.contains(&addr)\n", "", "no_setting_opens_this_machine"),
    ("L", "src/net/dial.rs", "if stayed_here(tcp.local_addr(), addr)\n", "if addr.port() == 0\n", "a_connection_that_stayed_on_this_machine_is_ended"),
    ("U", "src/net/dial.rs", "        (_, Some(denial)) => Err(forbidden(denial, policy)),\n", "        (may, Some(denial)) if may.is_empty() => Err(forbidden(denial, policy)),\n", "a_name_goes_to_the_hosts_proxy_only_if_each_of_its_addresses_may_be_dialled"),
    ("V", "src/net/dial.rs", "judge_each(asked, &resolve(asked, policy).await?, policy)", "Ok(())", "a_name_goes_to_the_hosts_proxy_only_if_each_of_its_addresses_may_be_dialled"),
    ("M", "src/net/denials.rs", "denied.len() < DENIALS && ", "", "each_refused_destination_is_noted_once_and_only_so_many"),
    ("N", "src/net/names.rs", "while table.order.len() > ADDRESSES", "while table.order.len() > 99 * ADDRESSES", "the_table_knows_the_latest_names_and_does_not_grow"),
    ("O", "src/net/resolver.rs", "    if !may_ask(&asked, policy) {", "    if false {", "what_is_not_listed_is_not_even_asked_for"),
    ("P", "src/net/resolver.rs", "if policy.network.mode != Mode::Open && dns::BINDINGS", "if false && dns::BINDINGS", "what_is_not_listed_is_not_even_asked_for"),
    ("R", "src/net/resolver.rs", "policy.questions.attempt(forward(asked, servers, whole)).await;", "Some(forward(asked, servers, whole).await);", "questions_that_nobody_answers_hold_so_many_sockets_and_keep_nobody_waiting"),
    ("S", "src/net/resolver.rs", "        sleep_until(patience).await;\n", "", "questions_that_nobody_answers_hold_so_many_sockets_and_keep_nobody_waiting"),
    ("Q", "src/net/dns.rs", "u16_at(&answer, 0)? == id && ", "", "addresses_become_records_of_the_right_family"),
    ("R", "src/net/agent.rs", "let (REQUEST_IDENTITIES | SIGN_REQUEST) = request[4] else", "let 0..=255 = request[4] else", "only_the_two_requests_reach_the_agent_and_signatures_are_noted"),
    ("W", "src/plan/auth.rs", ".filter(|(name, _)| is_secret(name))", "", "a_header_is_secret_if_its_name_says_so"),
    ("X", "src/plan/auth.rs", "secrets.filter(|secret| secret.len() >= SHORTEST)", "secrets", "headers_of_the_users_own_change_no_answer_unless_they_are_secret"),
    ("E", "src/net/api.rs", '    "authorization",\n', "", "the_key_is_added_and_what_the_guest_sends_for_one_is_dropped"),
    ("F", "src/net/api.rs", '    "cookie",\n', "", "the_key_is_added_and_what_the_guest_sends_for_one_is_dropped"),
    ("G", "src/net/api.rs", '    "upgrade",\n', "", "the_key_is_added_and_what_the_guest_sends_for_one_is_dropped"),
    ("H", "src/net/api.rs", '    "te",\n', "", "the_key_is_added_and_what_the_guest_sends_for_one_is_dropped"),
    ("I", "src/net/api.rs", '    "forwarded",\n', "", "the_key_is_added_and_what_the_guest_sends_for_one_is_dropped"),
    ("J", "src/net/api.rs", '    "x-original-url",\n', "", "no_attack_on_the_key_succeeds_and_each_does_without_the_parser"),
    ("K", "src/net/api.rs", '    "x-http-method-override",\n', "", "no_attack_on_the_key_succeeds_and_each_does_without_the_parser"),
    ("L", "src/net/api.rs", " && !named.iter().any(|n| n == name.as_str())", "", "the_key_is_added_and_what_the_guest_sends_for_one_is_dropped"),
    ("M", "src/net/api.rs", "let mut headers = cleaned(headers);", "let mut headers = headers.clone();", "the_key_is_added_and_what_the_guest_sends_for_one_is_dropped"),
    ("N", "src/net/api.rs", "uri.authority().is_some() || odd || !query", "odd || !query", "only_the_paths_that_claude_code_needs_are_let_through"),
    ("O", "src/net/api.rs", 'let led = path.contains("..") || path.contains("//") || path.contains("/.");', 'let led = path.contains("//");', "only_the_paths_that_claude_code_needs_are_let_through"),
    ("P", "src/net/api.rs", "!path.bytes().all(plain)", "!path.bytes().all(|c| c > 0)", "no_attack_on_the_key_succeeds_and_each_does_without_the_parser"),
    ("Q", "src/net/api.rs", ".is_some_and(|id| !id.contains('/'))", ".is_some()", "only_the_paths_that_claude_code_needs_are_let_through"),
    ("R", "src/net/api.rs", "odd || !query {", "odd {", "only_the_paths_that_claude_code_needs_are_let_through"),
    ("S", "src/net/api.rs", '"/v1/messages" | "/v1/messages/count_tokens" => *method == Method::POST,', '"/v1/messages" | "/v1/messages/count_tokens" => true,', "only_the_paths_that_claude_code_needs_are_let_through"),
    ("T", "src/net/api.rs", "echoes(value))", "value.is_empty())", "the_key_is_added_and_what_the_guest_sends_for_one_is_dropped"),
    ("U", "src/net/api.rs", '.chain(["set-cookie"])', '.chain(["x-none"])', "the_key_is_added_and_what_the_guest_sends_for_one_is_dropped"),
    ("V", "src/net/api.rs", "            value.set_sensitive(true);\n", "", "the_key_is_in_no_words_about_a_request"),
    ("E", "shim/src/decide.rs", "(Some(_), _) => return Verdict::Refuse(Refusal::Replaced { root: path.clone() }),", "(Some(_), _) => continue,", "same_path_other_identity_is_refused"),
    ("F", "shim/src/decide.rs", "Err(error) => return Verdict::Refuse(Refusal::Unknown { path: path.clone(), error: error.clone() }),", "Err(_) => continue,", "other_path_unknown_identity_is_refused_because_it_may_be_a_moved_tree"),
    ("G", "shim/src/decide.rs", "matches!(lower.get(upper.len()), None | Some(b'/'))", "true", "prefixes_are_by_components_in_both_directions"),
    ("H", "shim/src/decide.rs", "&& !matches!(in_tree(registry, logical), Verdict::Host { .. })", "&& false", "a_link_out_of_a_tree_is_refused_and_one_into_a_tree_is_the_vm"),
    ("I", "shim/src/decide.rs", "else { return Verdict::Refuse(Refusal::NoDirectory) }", "else { return Verdict::Host { below: None } }", "a_deleted_directory_is_refused_if_anything_is_enrolled"),
    ("J", "shim/src/decide.rs", ".filter(|id| id.is_distinctive())", "", "a_weak_identity_is_only_good_at_its_own_path"),
    ("K", "shim/src/decide.rs", "(None, Some(old)) => Some(old.clone()),", "(None, Some(_)) => continue,", "other_path_same_identity_is_the_vm_where_it_is_now"),
    ("L", "shim/src/decide.rs", "for ((path, identity), known) in chain.levels.iter().zip(&found.levels) {", "for ((path, identity), known) in chain.levels.iter().zip(&found.levels).rev() {", "the_nearest_tree_wins_whatever_the_order_of_the_lines"),
    ("M", "shim/src/registry.rs", "if meta.mode() & 0o022 != 0 {", "if meta.mode() & 0o002 != 0 {", "a_registry_that_others_may_write_or_that_is_a_link_is_not_trusted"),
    ("N", "shim/src/registry.rs", "libc::O_NOFOLLOW | libc::O_NONBLOCK", "libc::O_NONBLOCK", "a_registry_that_others_may_write_or_that_is_a_link_is_not_trusted"),
    ("O", "shim/src/registry.rs", '[LOCK, "shims", "where", "wrapper"].iter().any(', "[LOCK].iter().any(", "only_a_state_that_never_was_is_no_registry"),
    ("E", "shim/src/find.rs", "if !dir.is_absolute() {", "if false {", "relative_and_empty_entries_directories_and_plain_files_do_not_count"),
    ("F", "shim/src/find.rs", "if !is_executable(&file) {", "if false {", "relative_and_empty_entries_directories_and_plain_files_do_not_count"),
    ("G", "shim/src/find.rs", ".filter(std::fs::Metadata::is_file)", "", "relative_and_empty_entries_directories_and_plain_files_do_not_count"),
    ("H", "shim/src/find.rs", "is_shims(&dir) || is_shims(&real_dir) || ", "is_shims(&dir) || ", "never_ourselves_by_place_inode_or_copy"),
    ("I", "shim/src/find.rs", "is_shims(&dir) || is_shims(&real_dir) || ", "is_shims(&real_dir) || ", "never_ourselves_by_place_inode_or_copy"),
    ("J", "shim/src/find.rs", " || enrolled(search.registry, &dir) {", " {", "never_from_inside_a_tree_even_through_a_link"),
    ("K", "shim/src/find.rs", "if real_dir != dir && enrolled(search.registry, &real_dir) {", "if false {", "never_from_inside_a_tree_even_through_a_link"),
    ("L", "shim/src/find.rs", "!ours.contains(id) && !tried", "!tried", "never_ourselves_by_place_inode_or_copy"),
    ("M", "shim/src/find.rs", " || up.join(registry::FILE).exists()", "", "never_ourselves_by_place_inode_or_copy"),
    ("N", "shim/src/find.rs", 'up.file_name() == Some(OsStr::new("vmclaude")) || ', "", "never_ourselves_by_place_inode_or_copy"),
    ("E", "src/screen/mod.rs", "matches!(byte as u8, ENQ | ESC)", "matches!(byte as u8, ESC)", "what_types_into_the_shell_does_not_pass"),
    ("F", "src/screen/mod.rs", "(b'P' | b'X' | b'^' | b'_', 1)", "(b'X' | b'^' | b'_', 1)", "what_types_into_the_shell_does_not_pass"),
    ("G", "src/screen/mod.rs", "0xa0.. => out.push(byte),", "0x80.. => out.push(byte),", "what_types_into_the_shell_does_not_pass"),
    ("H", "src/screen/mod.rs", "if whole.is_none_or(char::is_control) {", "if whole.is_none() {", "what_types_into_the_shell_does_not_pass"),
    ("I", "src/screen/mod.rs", "if self.held.len() <= most {", "if most > 0 {", "memory_is_bounded"),
    ("J", "src/screen/sequence.rs", 'b"14" | b"16"', 'b"14" | b"21" | b"16"', "what_types_into_the_shell_does_not_pass"),
    ("K", "src/screen/sequence.rs", "number.is_some_and(|n| MODES.contains(&n))", "number.is_some()", "what_types_into_the_shell_does_not_pass"),
    ("L", "src/screen/sequence.rs", "matches!(b, b'0'..=b'9' | b';' | b':')", "matches!(b, b'0'..=b'?')", "what_types_into_the_shell_does_not_pass"),
    ("M", "src/screen/sequence.rs", 'b"6789=>DEHMNOcno|}~\\\\".contains(last)', 'b"6789=>DEHMNOcno|}~\\\\Zk".contains(last)', "what_types_into_the_shell_does_not_pass"),
    ("N", "src/screen/command.rs", "(false, _) => Verdict::Dropped", "(false, _) => Verdict::Passes", "a_copy_follows_the_configuration_and_reading_never_passes"),
    ("O", "src/screen/command.rs", "(true, Clipboard::Deny) => Verdict::Denied", "(true, Clipboard::Deny) => Verdict::Passes", "a_copy_follows_the_configuration_and_reading_never_passes"),
    ("P", "src/screen/command.rs", "schemes.iter().any(|s| target.starts_with(s))", "!schemes.is_empty()", "what_types_into_the_shell_does_not_pass"),
    ("Q", "src/screen/command.rs", " && !text.starts_with(|c: char| c.is_ascii_digit())", "", "what_types_into_the_shell_does_not_pass"),
    ("R", "src/screen/command.rs", "text.len() <= 64 && text.bytes()", "text.len() <= 64 || text.bytes()", "what_types_into_the_shell_does_not_pass"),
    ("S", "src/screen/command.rs", "if text.chars().any(char::is_control) {", "if text.is_empty() {", "what_types_into_the_shell_does_not_pass"),
    ("T", "src/screen/command.rs", '["title", "body"].contains(&value)', "!value.is_empty()", "what_types_into_the_shell_does_not_pass"),
]

# The shim's tests of the decision, the search and the registry: they are fast, and no part of its library.
SHIM = ["--test", "decide", "--test", "find", "--test", "registry"]


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
    command = ["cargo", "nextest", "run", "--release", "--color", "never", "--workspace", "--lib", *SHIM, "--no-fail-fast", "-E", tests]
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


def check() -> int:
    """Whether every countermeasure can still be taken out."""
    gone = [entry for entry in LIST if entry[2] not in (ROOT / entry[1]).read_text()]
    for _, file, old, *_ in gone:
        print(f"tests/mutations.py: {file} has no such text any more: {old.strip().splitlines()[0]}", file=sys.stderr)
    return int(bool(gone))


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        return check()
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
