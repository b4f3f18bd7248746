//! What we cost: medians in microseconds, all in one run and interleaved, on a world of our own.
//! `cargo bench --bench route`
#![allow(clippy::print_stdout)]

#[allow(dead_code)]
#[path = "../shells/world.rs"]
mod world;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;
use vmclaude_shim::registry::{Entry, FILE, render};
use vmclaude_shim::{Identity, Registry};
use world::{VMCLAUDE, World};

const ROUNDS: usize = 20;
const RUNS: usize = 50;

/// Something to measure: its name and one go, in microseconds.
type Measure<'a> = (&'a str, Box<dyn Fn() -> f64 + 'a>);

fn main() {
    let (ten, many) = (World::new(), World::new());
    for (world, trees) in [(&ten, 10), (&many, 10_000)] {
        std::fs::copy("/bin/true", world.path("bin/claude")).expect("cp");
        std::fs::copy("/bin/true", world.path("lib/vmclaude")).expect("cp");
        enroll(world, trees);
    }
    processes(&ten, &many);
    shells(&ten);
}

/// Fills the registry with trees that exist nowhere, around the real one.
fn enroll(world: &World, trees: u64) {
    let mut entries = Registry::read(&world.state).expect("whole").expect("there").entries().expect("ours");
    let real = entries[0].identity;
    entries.extend((1..trees).map(|n| Entry {
        identity: Identity { fs: real.fs, ino: real.ino + n, birth: real.birth + n * 1_000_003 },
        path: format!("{}/projects/customer-{}/repository-{n}", world.root.display(), n % 97).into(),
    }));
    std::fs::write(world.state.join(FILE), render(&entries)).expect("write");
}

fn processes(ten: &World, many: &World) {
    let shim = |w: &World, dir: &str| start(w, &w.state.join("shims/claude"), dir, &[]);
    let measures: Vec<Measure<'_>> = vec![
        ("the host's claude, direct", Box::new(|| start(ten, &ten.path("bin/claude"), "out", &[]))),
        ("  through the shim, 10 trees", Box::new(|| shim(ten, "out"))),
        ("  through the shim, 10,000 trees", Box::new(|| shim(many, "out"))),
        ("decision only (where), 10 trees", Box::new(|| start(ten, &ten.state.join("where"), "tr ee/sub", &[]))),
        ("decision only (where), 10,000 trees", Box::new(|| start(many, &many.state.join("where"), "tr ee/sub", &[]))),
        ("shim to vmclaude (a program that exits)", Box::new(|| shim(ten, "tr ee"))),
        ("vmclaude where", Box::new(|| start(ten, Path::new(VMCLAUDE), "tr ee", &["where"]))),
    ];
    println!("{:44} {:>8} {:>8} {:>8}", "processes", "median", "min", "extra");
    let mut times = vec![Vec::new(); measures.len()];
    for _ in 0..ROUNDS {
        for ((_, measure), times) in measures.iter().zip(&mut times) {
            times.extend((0..RUNS).map(|_| measure()));
        }
    }
    let base = median(&mut times[0]);
    for ((name, _), times) in measures.iter().zip(&mut times) {
        let middle = median(times);
        println!("{name:44} {middle:8.0} {:8.0} {:+8.0}", times[0], middle - base);
    }
}

fn start(world: &World, program: &Path, dir: &str, words: &[&str]) -> f64 {
    let mut command = Command::new(program);
    world.clean(&mut command).args(words).current_dir(world.path(dir));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    command.status().expect("runs");
    start.elapsed().as_secs_f64() * 1e6
}

/// Times inside the shell, which forks: a loop of many goes between two looks at its own clock.
const SHELL: &[(&str, usize, &str)] = &[
    ("the host's claude by its path", 200, "\"$H/claude\""),
    ("  through the function", 200, "claude"),
    ("  through the shim (command claude)", 200, "command claude"),
    ("prompt, same directory", 500, "__vmclaude_guard"),
    ("prompt, after cd", 100, "cd \"$T\"; __vmclaude_guard; cd \"$O\"; __vmclaude_guard"),
    ("loading the hook", 200, ". \"$HOOK\""),
];

fn shells(world: &World) {
    println!("{:44} {:>8} {:>8} {:>8}", "inside a shell, median", "zsh", "bash", "fish");
    for (name, count, what) in SHELL {
        let times = ["zsh", "bash", "fish"].map(|shell| {
            let mut times: Vec<f64> = (0..ROUNDS / 2).map(|_| inside(world, shell, *count, what)).collect();
            let goes = if what.contains("cd ") { 2.0 } else { 1.0 };
            median(&mut times) / goes
        });
        println!("{name:44} {:8.0} {:8.0} {:8.0}", times[0], times[1], times[2]);
    }
}

fn inside(world: &World, shell: &str, count: usize, what: &str) -> f64 {
    let hook = world.hook(shell);
    let script = match shell {
        "fish" => format!(
            "set HOOK \"{hook}\"; . $HOOK\nset a (date +%s%N)\nfor i in (seq {count}); {what}; end 2>/dev/null\nset b (date +%s%N)\nmath \"($b-$a)/1000/{count}\""
        ),
        _ => format!(
            "HOOK=\"{hook}\"; . \"$HOOK\"\n{}\na=$EPOCHREALTIME\nfor ((i=0;i<{count};i++)); do {what}; done 2>/dev/null\nb=$EPOCHREALTIME\necho $(( (${{b/./}} - ${{a/./}}) / {count} ))",
            if shell == "zsh" { "zmodload zsh/datetime; typeset -F6 SECONDS" } else { "" }
        ),
    };
    let mut command = world.shell(&[shell, "-c"]);
    let done = world.run(command.arg(script));
    let last = done.out.lines().last().unwrap_or_default().to_owned();
    let micros: f64 = last.parse().unwrap_or_else(|_| panic!("{shell} {what}: {done:?}"));
    // zsh's clock has nine digits behind the point.
    if shell == "zsh" { micros / 1000.0 } else { micros }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
