//! `vmclaude image`.

use super::args::{ImageRm, ImageVerb};
use crate::error::Result;
use crate::exit::Exit;
use crate::host::Host;
use crate::image::{self, Image, store};
use crate::report;
use crate::settings::{Engine, Settings};

/// Builds, lists or removes images.
///
/// # Errors
/// The builder's and the store's.
pub(super) fn run(host: &Host, verb: &ImageVerb, settings: &Settings) -> Result<Exit> {
    if settings.engine == Engine::Apple {
        return apple(host, verb, settings);
    }
    match verb {
        ImageVerb::Build(b) => {
            let request = image::Request { claude: b.claude.as_deref(), fresh: b.fresh, packages: &settings.packages };
            let image = image::build(host, request)?;
            report::note(&format!("the current image is {}", describe(&image)));
            // A convenience: the image is built, and without a template machines boot.
            if let Err(e) = crate::run::qemu::make_template(host, settings) {
                tracing::warn!("{e}");
            }
        }
        ImageVerb::List(output) => list(host, output.json)?,
        ImageVerb::Rm(rm) => remove(host, rm)?,
    }
    Ok(Exit::OK)
}

/// The one image of Apple's `container`.
fn apple(host: &Host, verb: &ImageVerb, settings: &Settings) -> Result<Exit> {
    let asked = crate::run::apple::asked(host, settings)?;
    match verb {
        ImageVerb::Build(b) => {
            let (claude, fresh) = (b.claude.as_deref(), b.fresh);
            let request = image::apple::Request { claude, fresh, packages: &settings.packages };
            if host.tty[2] {
                report::note("Apple's container builds the image; this takes some minutes");
            }
            let known = image::apple::make(host, &asked, request, &|| crate::run::apple::may_fetch(host))?;
            report::note(&format!("the current image is {}: Claude Code {}", known.reference, known.claude));
        }
        ImageVerb::List(output) => {
            let known: Vec<_> = image::apple::Known::read(&host.dirs).into_iter().collect();
            if output.json {
                return report::json(&known).map(|()| Exit::OK);
            }
            let line = |k: &image::apple::Known| format!("* {}: Claude Code {}, {}\n", k.reference, k.claude, k.digest);
            report::text(&known.iter().map(line).collect::<String>())?;
        }
        ImageVerb::Rm(rm) => image::apple::remove(host, &asked, (!rm.all).then_some(&rm.ids[..]))?,
    }
    Ok(Exit::OK)
}

fn describe(image: &Image) -> String {
    let m = &image.manifest;
    let mib = image.disk() >> 20;
    format!("{}: Claude Code {}, kernel {}, Node.js {}, {mib} MiB", m.id, m.claude, m.kernel, m.node)
}

fn list(host: &Host, json: bool) -> Result<()> {
    let (images, current) = store::list(&host.dirs)?;
    if json {
        let entry = |i: &Image| serde_json::json!({ "current": current.as_ref() == Some(&i.manifest.id), "dir": i.dir, "manifest": i.manifest });
        let all: Vec<_> = images.iter().map(entry).collect();
        return report::json(&all);
    }
    let mark = |i: &Image| if current.as_ref() == Some(&i.manifest.id) { '*' } else { ' ' };
    let whole = images.iter().map(|i| format!("{} {}\n", mark(i), describe(i)));
    let unread = store::names(&host.dirs)?.into_iter().filter(|name| images.iter().all(|i| i.manifest.id != *name));
    let unread = unread.map(|name| format!("  {name}: cannot be read (vmclaude image rm {name})\n"));
    report::text(&whole.chain(unread).collect::<String>())
}

fn remove(host: &Host, rm: &ImageRm) -> Result<()> {
    let ids = match rm.all {
        true => store::names(&host.dirs)?,
        false => rm.ids.clone(),
    };
    ids.iter().try_for_each(|id| store::remove(&host.dirs, id))
}
