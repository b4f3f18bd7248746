//! The host's side of the wire: start, relay, signals, exit.

use super::Authorities;
use super::apple::Proofs;
use super::house::House;
use super::machine::Machine;
use super::memory;
use super::notes::Notes;
use super::nowhere;
use super::signals::{self, Event};
use super::talk::Talk;
use super::volume;
use crate::error::{Failure, Result};
use crate::exit::{Exit, NOT_EXECUTABLE, NOT_FOUND};
use crate::files;
use crate::host::Host;
use crate::net::{self, Denials, Upstream};
use crate::plan::network::Mode;
use crate::plan::{self, Plan};
use crate::profile;
use crate::watch;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, split};
use tokio::sync::mpsc;
use vmclaude_init::wire::mux::{Side, Stream, Wire, greet};
use vmclaude_init::wire::proto::{self, Ended, MAX_TO_HOST, Network, Open, Start, ToGuest, ToHost, VERSION};

/// How long a VM may take from its start to its hello. Emulated ones on a busy machine take some seconds; one that takes longer than
/// this mostly never comes.
const HELLO_LIMIT: Duration = Duration::from_secs(60);

/// How long a guest that said hello may take to start the command: it mounts the share, and that may hang.
const START_LIMIT: Duration = Duration::from_secs(90);

/// Talks to the guest until its command has ended and everything it wrote is written here.
pub(super) async fn run(
    host: &Host,
    plan: &Plan,
    (machine, wire): (&mut Machine, Wire),
    mut events: mpsc::UnboundedReceiver<Event>,
    (denials, authorities): (Denials, Authorities),
    mut house: House,
) -> Result<Exit> {
    let (from_guest, to_guest) = split(wire.open(&Open::Control).map_err(lost)?);
    let policy = net::Policy::of(plan.network.clone(), Upstream::of(|name| host.var(name)), denials);
    let (uses, mut used) = mpsc::unbounded_channel();
    let agent = plan.setup.agent.clone().map(|socket| net::Agent { socket, uses });
    let policy = policy.with(plan.setup.api.clone(), agent);
    tokio::spawn(serve_guest(wire.clone(), Arc::new(policy)));
    let (mut talk, mut news) = Talk::new(wire.clone(), host, plan.clipboard);
    let mut proofs = machine.prove(plan)?;
    let start = start_message(host, plan, &talk, (authorities, &proofs))?;
    talk.begin(to_guest, start, START_LIMIT).await?;
    profile::mark("the guest knows what to run");
    talk.open_streams()?;
    // Behind them: the guest takes the first streams for its command's.
    notice_changes(plan, machine, &wire, house.notes());
    house.open_ports(wire.clone(), &plan.ports);
    let mut frames = frames(from_guest);
    let (mut killed, mut errors) = (0, 0);
    let mut starting = true;
    let late = tokio::time::sleep(START_LIMIT);
    tokio::pin!(late);
    let ended = loop {
        tokio::select! {
            Some(frame) = frames.recv() => match frame? {
                ToHost::Exit(ended) => {
                    profile::mark("the command has ended");
                    break ended;
                }
                ToHost::Failed(why) => {
                    talk.end().await;
                    machine.farewell();
                    return Err(Failure::new("the guest could not do it").because(why.escape_debug()));
                }
                ToHost::NoVolume(why) => {
                    talk.end().await;
                    machine.farewell();
                    return Err(no_volume(plan, &why));
                }
                ToHost::VolumeErrors(found) => errors = found,
                // Later it would not be our supervisor's word alone.
                ToHost::NotLocal(dir, why) if starting => house.not_local(&dir, &why),
                ToHost::ProxiesOnly(why) if starting => house.proxies_only(&why),
                ToHost::OutOfMemory(processes) => killed = processes,
                ToHost::Memory(named) => {
                    if let Some(memory) = machine.memory().and_then(|file| memory::find(file, &named)) {
                        wire.share_memory(Box::new(memory));
                        wire.use_memory();
                        talk.send(ToGuest::UseMemory)?;
                    }
                }
                frame => {
                    if frame == ToHost::Started {
                        starting = false;
                        proofs.drop_all();
                    }
                    if let ToHost::Log(line) = &frame {
                        house.journal(line);
                    }
                    talk.hear(frame).await?;
                }
            },
            () = &mut late, if starting => {
                return Err(lost(format!("it did not start the command within {} s", START_LIMIT.as_secs())));
            }
            Some(use_of_the_agent) = used.recv() => house.journal(&use_of_the_agent),
            Some(news) = news.recv() => talk.learn(news)?,
            frame = house.next() => talk.send(frame)?,
            signal = talk.hung_up() => return Ok(Exit::Signal(signal as i32)),
            Some(event) = events.recv() => {
                if let (Event::Child, Some(gone)) = (&event, machine.gone()) {
                    return Err(lost(gone));
                }
                if event == Event::Continued {
                    house.tell_time();
                }
                if let Some(exit) = talk.react(event)? {
                    return Ok(exit);
                }
            }
        }
    };
    house.weigh();
    let unwritten = talk.finish(&mut events).await;
    machine.farewell();
    if killed > 0 {
        house.out_of_memory(killed, plan.limits.memory, ended != Ended::Code(0));
    }
    if errors > 0 {
        house.volume_errors(plan, errors);
    }
    let exit = exit_of(plan, ended)?;
    Ok(unwritten.map_or(exit, |e| house.unwritten(&e, exit)))
}

/// Has the guest notice what the host changes, where that is wanted.
fn notice_changes(plan: &Plan, machine: &mut Machine, wire: &Wire, notes: Notes) {
    let server = machine.events();
    if !plan.watch.enabled || (server.is_none() && !machine.is_container()) {
        return;
    }
    let Ok(guest) = wire.open(&Open::Events) else { return };
    let say: watch::Say = Box::new(move |what, next| notes.add(super::notes::Note { what, next, loud: false }));
    let plan = plan.clone();
    tokio::spawn(async move {
        let done = match server {
            #[cfg(target_os = "linux")]
            Some(server) => watch::repeat(&plan, server, guest, say).await,
            _ => watch::look(&plan, guest, say).await,
        };
        if let Err(e) = done {
            tracing::warn!("changes on the host are not told to the guest: {e}");
        }
    });
}

/// Waits for the guest's hello and starts moving the wire's bytes.
pub(super) async fn connect(mut near: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Wire> {
    let version = tokio::time::timeout(HELLO_LIMIT, greet(&mut near)).await;
    let version = version.map_err(|_| lost(format!("it did not answer within {} s", HELLO_LIMIT.as_secs())))?;
    match version.map_err(lost)? {
        VERSION => {}
        other => {
            return Err(Failure::new("the image does not fit this vmclaude")
                .because(format!("its supervisor speaks version {other} of the wire, this program version {VERSION}"))
                .next("vmclaude image build"));
        }
    }
    let wire = Wire::new(Side::Host);
    let driven = wire.clone();
    tokio::spawn(async move {
        // The end of a session is an end of the wire as well; who waits for more says that it was lost.
        if let Err(e) = driven.drive(near).await {
            tracing::info!("the wire: {e}");
        }
    });
    Ok(wire)
}

/// Serves what the guest opens until the wire ends.
async fn serve_guest(wire: Wire, policy: Arc<net::Policy>) {
    while let Ok((open, stream)) = wire.accept().await {
        tokio::spawn(net::serve_stream(open, stream, policy.clone()));
    }
}

/// The failure of a session whose VM is gone.
pub(super) fn lost(why: impl std::fmt::Display) -> Failure {
    Failure::new("the virtual machine was lost").because(why)
}

/// The volume is damaged: nothing of it is removed before a person says so.
pub(super) fn no_volume(plan: &Plan, why: &str) -> Failure {
    let failure = Failure::new("the project's volume cannot be used").because(why.escape_debug());
    plan.volume().into_iter().fold(failure, |failure, file| failure.next(volume::remedy(file)))
}

fn start_message(
    host: &Host,
    plan: &Plan,
    talk: &Talk,
    (authorities, proofs): (Authorities, &Proofs),
) -> Result<Start> {
    let seed: [u8; 64] = files::random()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let bytes = |text: &std::ffi::OsStr| text.as_bytes().to_vec();
    let files =
        |all: &[(PathBuf, Vec<u8>)]| all.iter().map(|(to, what)| (bytes(to.as_os_str()), what.clone())).collect();
    Ok(Start {
        argv: plan.argv.iter().map(|a| bytes(a)).collect(),
        env: plan.env.iter().map(|(k, v)| (bytes(k), bytes(v))).collect(),
        cwd: bytes(plan.cwd.as_os_str()),
        user: (plan.user.uid, plan.user.gid),
        umask: host.umask,
        stdio: talk.stdio(),
        terminal: talk.size(),
        binds: plan.mounts.iter().map(|m| (m.tag.clone(), bytes(m.guest.as_os_str()), m.writable)).collect(),
        local: plan.local.as_ref().map(|local| proto::Local {
            dirs: local.dirs.iter().map(|dir| bytes(dir.as_os_str())).collect(),
            kept: local.volume.is_some(),
        }),
        links: plan.links.iter().map(|(a, b)| (bytes(a.as_os_str()), bytes(b.as_os_str()))).collect(),
        system: files(&plan.setup.system),
        // Whoever reads them cannot fail; a panic there would be a fault of ours, and no reason to run nothing.
        certificates: authorities.join().unwrap_or_default(),
        seeds: files(&plan.setup.seeds),
        approve: plan.setup.approve.as_ref().map(|(file, end)| (bytes(file.as_os_str()), end.clone())),
        proofs: proofs.places(),
        own: plan.setup.own.iter().map(|dir| bytes(dir.as_os_str())).collect(),
        agent: plan.setup.agent.is_some().then(|| plan::state::AGENT.as_bytes().to_vec()),
        api: plan.setup.api.is_some().then_some(plan::auth::PORT),
        forwards: plan.network.doors(plan.setup.api.is_some()).iter().map(|a| (a.ip(), a.port())).collect(),
        network: (plan.network.mode != Mode::None).then(|| Network {
            ipv6: net::has_ipv6(),
            datagrams: plan.network.mode == Mode::Open,
            search: net::search_domains(),
        }),
        seed: seed.to_vec(),
        now: (now.as_secs(), now.subsec_nanos()),
    })
}

/// Control frames in a queue, because reading one must not be interrupted half-way. The last one may be an error.
fn frames(mut from: ReadHalf<Stream>) -> mpsc::Receiver<Result<ToHost>> {
    let (send, receive) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let frame = match proto::receive(&mut from, MAX_TO_HOST).await {
                Ok(frame) => frame.ok_or_else(|| lost("its wire ended")),
                Err(e) => Err(lost(e)),
            };
            let ended = frame.is_err();
            if send.send(frame).await.is_err() || ended {
                return;
            }
        }
    });
    receive
}

fn exit_of(plan: &Plan, ended: Ended) -> Result<Exit> {
    match ended {
        Ended::Code(code) => Ok(Exit::Code(code)),
        Ended::Signal(signal) => match signals::number(&signal) {
            Some(number) => Ok(Exit::Signal(number)),
            None => Ok(Exit::Code(128u8.saturating_add(signal.number))),
        },
        Ended::NotFound(name) => {
            Err(Failure::new(format!("{}: command not found in the VM", name.escape_debug())).code(NOT_FOUND))
        }
        Ended::NotExecutable(why) => Err(Failure::new(format!("{}", why.escape_debug())).code(NOT_EXECUTABLE)),
        Ended::NoDirectory(why) => Err(nowhere::failure(plan, &why)),
    }
}
