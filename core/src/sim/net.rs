//! A simulated network: connections with order, delay, cuts, and nodes that fall silent.
//!
//! Used by the world for what dials the master, and by an agent's executors. A message that is lost
//! takes its connection with it, as in QUIC: both ends notice after a while, and until then nothing
//! overtakes and nothing is missing in the middle. One that was changed on its way is found out by
//! its seal, and ends its connection.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use super::chance::{Purpose, stream};
use super::line::{Held, Line, Pace};
use super::options::Span;
use super::queue::{End, Event, Frame, Name, Queue};
use crate::ids::PeerId;
use crate::limits;
use crate::rng::Rng;
use crate::time::Time;

/// How long an end takes to notice that the other fell silent.
const NOTICE: Span = Span::millis(50, 10_000);
/// The same on one machine, where the other cannot fall silent without its socket being closed.
const NOTICE_LOCALLY: Span = Span::millis(0, 2);
/// The first connections to a server; those of the next begin so much later.
const PEERS: u32 = 40;
/// The same, if that was said in passing.
const RESET: Span = Span::millis(0, 100);

/// Which messages of a node are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Those from and to it.
    Both,
    /// Those that it sends.
    Outgoing,
    /// Those that are sent to it.
    Incoming,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Side {
    /// Whether it believes in the connection.
    open: bool,
    /// Whether its end is planned; and whether it has heard of it.
    told: bool,
    heard: bool,
    /// Nothing arrives here before what was sent earlier.
    last: Time,
    /// Whether everything sent here is lost.
    lossy: bool,
    /// Whether the next message that is sent here is changed on its way.
    garbles: bool,
    /// How many messages were sent here and have not arrived.
    unread: usize,
}

#[derive(Debug)]
struct Link {
    dialler: Name,
    client: Side,
    server: Side,
}

impl Link {
    fn side(&mut self, end: End) -> &mut Side {
        match end {
            End::Client => &mut self.client,
            End::Server => &mut self.server,
        }
    }

    /// Plans that one end hears of the connection's end, once.
    fn tell(&mut self, peer: PeerId, to: End, at: Time, queue: &mut Queue) {
        let side = self.side(to);
        if !core::mem::replace(&mut side.told, true) {
            // An attempt that is under way does not fail before it would have succeeded.
            let at = if side.open { at } else { at.max(side.last) };
            let frame = Frame::Close;
            queue.plan(
                at,
                Event::Arrive {
                    link: peer,
                    to,
                    frame,
                },
            );
        }
    }
}

/// All connections to one server.
#[derive(Debug)]
pub(super) struct Net {
    server: Name,
    links: BTreeMap<PeerId, Link>,
    made: u64,
    delay: Span,
    seed: u64,
    lines: BTreeMap<Name, Line>,
    cut_off: BTreeSet<Name>,
}

impl Net {
    /// Makes the network of those who dial `server`, the master or an agent.
    pub(super) fn new(server: Name, delay: Span, seed: u64) -> Self {
        let first = match server {
            Name::Agent(n) => u64::from(n) << PEERS,
            Name::Master | Name::Framework(_) | Name::Executor { .. } => 0,
        };
        Self {
            server,
            links: BTreeMap::new(),
            made: first,
            delay,
            seed,
            lines: BTreeMap::new(),
            cut_off: BTreeSet::new(),
        }
    }

    /// Returns whom a connection was made to.
    pub(super) fn server(peer: PeerId) -> Name {
        match u32::try_from(peer.0 >> PEERS) {
            Ok(agent) if agent > 0 => Name::Agent(agent),
            Ok(_) | Err(_) => Name::Master,
        }
    }

    fn line(&mut self, client: Name) -> &mut Line {
        let seed = self.seed;
        let first = || Line::new(stream(seed, Purpose::Delay, client));
        self.lines.entry(client).or_insert_with(first)
    }

    /// Draws how long the next message from or to a client takes.
    fn delay(&mut self, now: Time, client: Name) -> Duration {
        let usual = self.delay;
        self.line(client).delay(now, usual)
    }

    /// Begins a connection: first the server, then the client sees it standing.
    pub(super) fn dial(&mut self, now: Time, client: Name, queue: &mut Queue) -> Option<PeerId> {
        if self.cut_off.contains(&client) {
            return None;
        }
        self.made += 1;
        let peer = PeerId(self.made);
        let at_server = now + self.delay(now, client);
        let at_client = at_server + self.delay(now, client);
        let arriving = |last| Side {
            last,
            ..Side::default()
        };
        let link = Link {
            dialler: client,
            client: arriving(at_client),
            server: arriving(at_server),
        };
        self.links.insert(peer, link);
        for (to, at) in [(End::Server, at_server), (End::Client, at_client)] {
            let frame = Frame::Open;
            queue.plan(
                at,
                Event::Arrive {
                    link: peer,
                    to,
                    frame,
                },
            );
        }
        Some(peer)
    }

    /// Sends a message from one end. On a connection that this end knows to be over it is lost.
    /// Too much for a client that reads slowly ends the connection; returns whether.
    pub(super) fn send(
        &mut self,
        now: Time,
        peer: PeerId,
        from: End,
        bytes: Vec<u8>,
        queue: &mut Queue,
    ) -> bool {
        assert!(
            bytes.len() <= limits::FRAME_BYTES,
            "a machine sends {} bytes in one frame",
            bytes.len()
        );
        let to = from.other();
        let Some(client) = self.sends(peer, from) else {
            return false;
        };
        let arrival = now + self.delay(now, client);
        let pace = self.line(client).pace(now).filter(|_| to == End::Client);
        let Some(link) = self.links.get_mut(&peer) else {
            return false;
        };
        let side = link.side(to);
        side.last = side.last.max(arrival);
        if let Some(Pace { each, most }) = pace {
            if side.unread >= most {
                side.lossy = true;
                let last = side.last;
                link.tell(peer, from, now, queue);
                link.tell(peer, to, last, queue);
                return true;
            }
            side.last = side.last + each;
        }
        side.unread += 1;
        let frame = if core::mem::take(&mut side.garbles) {
            Frame::Garbled
        } else {
            Frame::Bytes(bytes)
        };
        queue.plan(
            side.last,
            Event::Arrive {
                link: peer,
                to,
                frame,
            },
        );
        false
    }

    /// Returns the client of a connection on which this end can send.
    fn sends(&mut self, peer: PeerId, from: End) -> Option<Name> {
        let link = self.links.get_mut(&peer)?;
        let sends = link.side(from).open && !link.side(from.other()).lossy;
        sends.then_some(link.dialler)
    }

    /// Holds a frame that has come to a clog, or gives it back.
    pub(super) fn hold(&mut self, now: Time, held: Held) -> Result<(), Held> {
        let (peer, _, _) = &held;
        match self.links.get(peer).map(|link| link.dialler) {
            Some(client) => self.line(client).hold(now, held),
            None => Err(held),
        }
    }

    /// Takes a frame in at its end. Returns the client, if the end hears the frame.
    pub(super) fn arrive(&mut self, peer: PeerId, to: End, frame: &Frame) -> Option<Name> {
        let link = self.links.get_mut(&peer)?;
        let dialler = link.dialler;
        let side = link.side(to);
        let hears = match frame {
            Frame::Open => {
                side.open = !side.lossy && !side.told;
                side.open
            }
            Frame::Bytes(_) | Frame::Garbled => {
                side.unread = side.unread.saturating_sub(1);
                side.open && !side.lossy
            }
            Frame::Close => {
                side.heard = true;
                let was_open = core::mem::replace(&mut side.open, false);
                if link.client.heard && link.server.heard {
                    self.links.remove(&peer);
                }
                // A client hears of an attempt that failed; the server never knew of it.
                was_open || to == End::Client
            }
        };
        hears.then_some(dialler)
    }

    /// One end closes the connection: the other hears what was sent, and then of the end.
    pub(super) fn close(&mut self, now: Time, peer: PeerId, by: End, queue: &mut Queue) {
        let Some(client) = self.links.get(&peer).map(|link| link.dialler) else {
            return;
        };
        let delay = self.delay(now, client);
        if let Some(link) = self.links.get_mut(&peer) {
            link.tell(peer, by, now, queue);
            let last = link.side(by.other()).last;
            link.tell(peer, by.other(), last.max(now + delay), queue);
        }
    }

    /// A node is gone without a word. The others notice after a while.
    pub(super) fn crash(&mut self, now: Time, node: Name, rng: &mut Rng, queue: &mut Queue) {
        let notice = match self.server {
            Name::Master => NOTICE,
            Name::Agent(_) | Name::Framework(_) | Name::Executor { .. } => NOTICE_LOCALLY,
        };
        for (peer, link) in &mut self.links {
            let dead = if node == self.server {
                End::Server
            } else if node == link.dialler {
                End::Client
            } else {
                continue;
            };
            link.side(dead).open = false;
            link.tell(*peer, dead, now, queue);
            let noticed = now + notice.draw(rng);
            let last = link.side(dead.other()).last;
            link.tell(*peer, dead.other(), last.max(noticed), queue);
        }
    }

    /// Returns who made a connection.
    pub(super) fn client(&self, peer: PeerId) -> Option<Name> {
        self.links.get(&peer).map(|link| link.dialler)
    }

    /// Names a connection that is not one of the network.
    pub(super) fn outside(&mut self) -> PeerId {
        self.made += 1;
        PeerId(self.made)
    }

    /// Returns how many messages wait for the client for which the most do.
    pub(super) fn most_unread(&self) -> usize {
        let unread = self.links.values().map(|link| link.client.unread);
        unread.max().unwrap_or(0)
    }

    /// Returns the newest connection, made or on its way.
    pub(super) fn newest(&self) -> PeerId {
        PeerId(self.made)
    }

    /// The server of some connections is gone without a word.
    pub(super) fn crash_those(
        &mut self,
        now: Time,
        is_dead: impl Fn(PeerId) -> bool,
        rng: &mut Rng,
        queue: &mut Queue,
    ) {
        for (peer, link) in self.links.iter_mut().filter(|(peer, _)| is_dead(**peer)) {
            link.server.open = false;
            link.tell(*peer, End::Server, now, queue);
            let noticed = now + NOTICE.draw(rng);
            let after = link.client.last;
            link.tell(*peer, End::Client, after.max(noticed), queue);
        }
    }

    /// Loses a client's messages from now on, in flight or new, until it is mended. Connections
    /// are over with it.
    pub(super) fn cut(
        &mut self,
        now: Time,
        client: Name,
        cut: Cut,
        rng: &mut Rng,
        queue: &mut Queue,
    ) {
        self.cut_off.insert(client);
        for (peer, link) in &mut self.links {
            if link.dialler != client {
                continue;
            }
            link.client.lossy |= matches!(cut, Cut::Both | Cut::Incoming);
            link.server.lossy |= matches!(cut, Cut::Both | Cut::Outgoing);
            for end in [End::Client, End::Server] {
                let noticed = now + NOTICE.draw(rng);
                link.tell(*peer, end, noticed, queue);
            }
        }
    }

    /// Ends every connection at once, as if all that lies between had been switched off and on.
    pub(super) fn reset(&mut self, now: Time, rng: &mut Rng, queue: &mut Queue) {
        for (peer, link) in &mut self.links {
            for end in [End::Client, End::Server] {
                link.side(end).lossy = true;
                link.tell(*peer, end, now + RESET.draw(rng), queue);
            }
        }
    }

    /// Changes the next message of a client's connection, in one direction. Returns whether there
    /// is a connection.
    pub(super) fn garble(&mut self, client: Name, to: End) -> bool {
        let mut links = self.links.values_mut();
        let link = links.find(|link| link.dialler == client && link.client.open);
        if let Some(link) = link {
            link.side(to).garbles = true;
            return true;
        }
        false
    }

    /// Lets a client's messages take up to so much longer.
    pub(super) fn slow(&mut self, client: Name, until: Time, more: Duration) {
        self.line(client).slow(until, more);
    }

    /// Lets a client read slowly.
    pub(super) fn read_slowly(&mut self, client: Name, until: Time, pace: Pace) {
        self.line(client).read_slowly(until, pace);
    }

    /// Lets nothing through between a client and the master for a while. Nothing is lost.
    pub(super) fn clog(&mut self, client: Name, until: Time, queue: &mut Queue) {
        self.line(client).clog(until);
        queue.plan(until, Event::Unclog { client });
    }

    /// Gives out what a clog held, if it is over.
    pub(super) fn unclog(&mut self, now: Time, client: Name) -> Vec<Held> {
        self.line(client).release(now)
    }

    /// Lets a client connect again.
    pub(super) fn mend(&mut self, client: Name) {
        self.cut_off.remove(&client);
    }

    /// Lets everybody connect again, and all messages through.
    pub(super) fn mend_all(&mut self, now: Time, queue: &mut Queue) {
        self.cut_off.clear();
        for (client, line) in &mut self.lines {
            line.mend();
            queue.plan(now, Event::Unclog { client: *client });
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    const CLIENT: Name = Name::Agent(1);
    /// Stands for what cannot be read.
    const GARBLED: u8 = 0xff;

    struct Scene {
        net: Net,
        queue: Queue,
        now: Time,
    }

    impl Scene {
        fn connected() -> (Self, PeerId) {
            let net = Net::new(Name::Master, Span::millis(1, 9), 3);
            let (queue, now) = (Queue::default(), Time::ZERO);
            let mut scene = Self { net, queue, now };
            let peer = scene.net.dial(now, CLIENT, &mut scene.queue).unwrap();
            assert_eq!(
                scene.heard(),
                vec![(End::Server, None), (End::Client, None)]
            );
            (scene, peer)
        }

        fn send(&mut self, peer: PeerId, from: End, byte: u8) {
            self.net
                .send(self.now, peer, from, vec![byte], &mut self.queue);
        }

        /// Runs the network dry; `None` is the beginning or the end of a connection.
        fn heard(&mut self) -> Vec<(End, Option<u8>)> {
            let mut heard = Vec::new();
            while let Some((at, event)) = self.queue.pop(Time::MAX) {
                assert!(at >= self.now);
                self.now = at;
                let Event::Arrive { link, to, frame } = event else {
                    panic!("the network plans nothing else: {event:?}");
                };
                if self.net.arrive(link, to, &frame).is_some() {
                    heard.push(match frame {
                        Frame::Bytes(bytes) => (to, Some(bytes[0])),
                        Frame::Garbled => (to, Some(GARBLED)),
                        Frame::Open | Frame::Close => (to, None),
                    });
                }
            }
            heard
        }
    }

    #[test]
    fn messages_of_a_connection_arrive_in_order_and_before_its_end() {
        let (mut scene, peer) = Scene::connected();
        for byte in 0..50 {
            scene.send(peer, End::Client, byte);
        }
        let now = scene.now;
        scene.net.close(now, peer, End::Client, &mut scene.queue);
        let heard = scene.heard();
        let at_server: Vec<_> = heard
            .iter()
            .filter(|(end, _)| *end == End::Server)
            .collect();
        assert_eq!(at_server.len(), 51);
        assert!((0..50).all(|i| at_server[usize::from(i)].1 == Some(i)));
        assert!(at_server[50].1.is_none());
        assert!(scene.net.links.is_empty());
    }

    #[test]
    fn a_cut_loses_what_is_in_flight_and_both_ends_notice() {
        for (cut, arrives) in [
            (Cut::Both, vec![]),
            (Cut::Outgoing, vec![(End::Client, Some(2))]),
            (Cut::Incoming, vec![(End::Server, Some(1))]),
        ] {
            let (mut scene, peer) = Scene::connected();
            scene.send(peer, End::Client, 1);
            scene.send(peer, End::Server, 2);
            let now = scene.now;
            let mut rng = Rng::new(3);
            scene.net.cut(now, CLIENT, cut, &mut rng, &mut scene.queue);
            assert_eq!(scene.net.dial(now, CLIENT, &mut scene.queue), None);
            let heard = scene.heard();
            let (ends, messages): (Vec<_>, Vec<_>) =
                heard.into_iter().partition(|(_, byte)| byte.is_none());
            assert_eq!((ends.len(), messages), (2, arrives), "{cut:?}");
            scene.net.mend(CLIENT);
            assert!(
                scene
                    .net
                    .dial(scene.now, CLIENT, &mut scene.queue)
                    .is_some()
            );
        }
    }

    #[test]
    fn a_crash_is_noticed_by_the_other_end_only() {
        let (mut scene, peer) = Scene::connected();
        scene.send(peer, End::Client, 1);
        scene.send(peer, End::Server, 2);
        let now = scene.now;
        let mut rng = Rng::new(3);
        scene
            .net
            .crash(now, Name::Master, &mut rng, &mut scene.queue);
        assert_eq!(
            scene.heard(),
            vec![(End::Client, Some(2)), (End::Client, None)]
        );
        assert!(scene.net.links.is_empty());
    }

    #[test]
    fn one_message_is_garbled_and_only_there() {
        let (mut scene, peer) = Scene::connected();
        assert!(scene.net.garble(CLIENT, End::Server));
        assert!(!scene.net.garble(Name::Agent(2), End::Server));
        scene.send(peer, End::Server, 1);
        for byte in 2..4 {
            scene.send(peer, End::Client, byte);
        }
        let heard = scene.heard();
        assert!(heard.contains(&(End::Client, Some(1))));
        let at_server = heard.iter().filter(|(end, _)| *end == End::Server);
        let at_server: Vec<_> = at_server.map(|(_, byte)| *byte).collect();
        assert_eq!(at_server, [Some(GARBLED), Some(3)]);
    }

    #[test]
    fn who_reads_slowly_is_given_up_when_too_much_waits() {
        let (mut scene, peer) = Scene::connected();
        let each = Duration::from_secs(1);
        let until = scene.now + Duration::from_secs(60);
        scene.net.read_slowly(CLIENT, until, Pace { each, most: 3 });
        let now = scene.now;
        let queue = &mut scene.queue;
        let mut send = |from, byte| scene.net.send(now, peer, from, vec![byte], queue);
        let sent: Vec<bool> = (0..5).map(|byte| send(End::Server, byte)).collect();
        assert_eq!(sent, [false, false, false, true, false]);
        // The other direction keeps up.
        assert!(!send(End::Client, 9));
        let heard = scene.heard();
        assert!(
            heard.contains(&(End::Server, Some(9))) || heard.len() == 2,
            "{heard:?}"
        );
        let ends = heard.iter().filter(|(_, byte)| byte.is_none()).count();
        assert_eq!(ends, 2, "{heard:?}");
        assert!(scene.net.links.is_empty());

        // One that reads what it is sent in time keeps its connection, however long it takes.
        let (mut scene, peer) = Scene::connected();
        let until = scene.now + Duration::from_secs(600);
        scene.net.read_slowly(CLIENT, until, Pace { each, most: 3 });
        for byte in 0..9 {
            scene.send(peer, End::Server, byte);
            let before = scene.now;
            assert_eq!(scene.heard(), [(End::Client, Some(byte))]);
            assert!(scene.now.since(before) >= each);
        }
    }

    #[test]
    fn a_reset_ends_everything_at_once() {
        let (mut scene, peer) = Scene::connected();
        scene.send(peer, End::Server, 1);
        let (now, mut rng) = (scene.now, Rng::new(1));
        scene.net.reset(now, &mut rng, &mut scene.queue);
        assert!(scene.heard().iter().all(|(_, byte)| byte.is_none()));
        assert!(scene.now.since(now) <= Duration::from_millis(100));
        assert!(scene.net.links.is_empty());
        let now = scene.now;
        assert!(scene.net.dial(now, CLIENT, &mut scene.queue).is_some());
    }
}
