//! Datagrams: each pair of ends is a stream on the wire for as long as something comes and goes.

use super::packet::{self, Packet};
use super::{RESOLVER, SOON};
use crate::relay::Async;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::time::timeout;
use vmclaude_init::wire::crowd::Crowd;
use vmclaude_init::wire::mux::{Stream, Wire};
use vmclaude_init::wire::proto::{self, Dialled, Open};

/// Pairs with questions for names at one time, and all other pairs. One more is the end of the oldest.
static NAMES: Crowd = Crowd::new(64);
static FLOWS: Crowd = Crowd::new(128);
/// Datagrams that wait on their way into a stream; what comes then is lost, as datagrams are.
const WAITING: usize = 32;
/// Packets that wait to be given to the kernel.
const TO_KERNEL: usize = 256;
/// How long a pair stays without a datagram from the guest: for names, and for everything else.
const IDLE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(90));
/// The longest packet.
const PACKET: usize = 65_535;

type Ends = (SocketAddr, SocketAddr);

/// What every flow shares.
#[derive(Clone)]
struct Flows {
    wire: Wire,
    carry: bool,
    out: mpsc::Sender<Vec<u8>>,
    table: Arc<Mutex<HashMap<Ends, mpsc::Sender<Vec<u8>>>>>,
}

/// Serves the interface until it fails; `carry`: also what is no question for a name.
pub(super) async fn serve(device: std::fs::File, wire: Wire, carry: bool) -> io::Result<()> {
    let (mut from_kernel, to_kernel) = split(Async::new(device)?);
    let (out, packets) = mpsc::channel(TO_KERNEL);
    tokio::spawn(write(to_kernel, packets));
    let flows = Flows { wire, carry, out, table: Arc::default() };
    let mut buffer = vec![0; PACKET];
    loop {
        let length = from_kernel.read(&mut buffer).await?;
        let packet = &buffer[..length];
        match packet::parse(packet) {
            Packet::Udp(from, to, content) => flows.take((from, to), content, packet),
            Packet::Reject => flows.reject(packet),
            Packet::Ignore => {}
        }
    }
}

/// One write is one packet; an error is the loss of one.
async fn write(mut device: WriteHalf<Async>, mut packets: mpsc::Receiver<Vec<u8>>) {
    while let Some(packet) = packets.recv().await {
        let _ = device.write(&packet).await;
    }
}

impl Flows {
    fn table(&self) -> MutexGuard<'_, HashMap<Ends, mpsc::Sender<Vec<u8>>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reject(&self, packet: &[u8]) {
        if let Some(answer) = packet::unreachable(packet) {
            let _ = self.out.try_send(answer);
        }
    }

    /// A datagram of the guest's: into its flow, or into a new one.
    fn take(&self, ends: Ends, content: &[u8], packet: &[u8]) {
        let mut table = self.table();
        if let Some(flow) = table.get(&ends) {
            let _ = flow.try_send(content.to_vec());
            return;
        }
        let (_, to) = ends;
        let open = match to.port() {
            53 => Open::Dns(false),
            _ if self.carry && RESOLVER != to.ip() => Open::Udp(to.ip(), to.port()),
            _ => return self.reject(packet),
        };
        let (flow, datagrams) = mpsc::channel(WAITING);
        let _ = flow.try_send(content.to_vec());
        table.insert(ends, flow);
        drop(table);
        let (flows, first) = (self.clone(), packet[..packet.len().min(256)].to_vec());
        let crowd = if matches!(open, Open::Dns(_)) { &NAMES } else { &FLOWS };
        tokio::spawn(async move {
            if crowd.attempt(flows.run(ends, &open, datagrams)).await.is_some_and(|ran| !ran.unwrap_or(false)) {
                flows.reject(&first);
            }
            flows.table().remove(&ends);
        });
    }

    /// One flow to its end; whether the host took it.
    async fn run(&self, ends: Ends, open: &Open, datagrams: mpsc::Receiver<Vec<u8>>) -> io::Result<bool> {
        let mut stream = self.wire.open(open)?;
        let answer = timeout(SOON, proto::receive(&mut stream, proto::MAX_TO_GUEST)).await?;
        if answer? != Some(Dialled::Ok) {
            return Ok(false);
        }
        let idle = if matches!(open, Open::Dns(_)) { IDLE.0 } else { IDLE.1 };
        let (from_host, to_host) = split(stream);
        tokio::select! {
            done = send(datagrams, to_host, idle) => done.map(|()| true),
            done = self.receive(ends, from_host) => done,
        }
    }

    /// What comes back; whether anything did before the host ended the stream.
    async fn receive(&self, (from, to): Ends, mut stream: ReadHalf<Stream>) -> io::Result<bool> {
        let mut answered = false;
        let mut content = vec![0; PACKET];
        loop {
            let Ok(length) = stream.read_u16().await else { return Ok(answered) };
            let content = &mut content[..usize::from(length)];
            stream.read_exact(content).await?;
            answered = true;
            if let Some(packet) = packet::udp(to, from, content) {
                let _ = self.out.try_send(packet);
            }
        }
    }
}

async fn send(mut from: mpsc::Receiver<Vec<u8>>, mut to: WriteHalf<Stream>, idle: Duration) -> io::Result<()> {
    while let Ok(Some(content)) = timeout(idle, from.recv()).await {
        let length = u16::try_from(content.len()).map_err(io::Error::other)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend(content);
        to.write_all(&framed).await?;
    }
    to.shutdown().await
}
