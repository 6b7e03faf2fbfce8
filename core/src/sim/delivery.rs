//! What comes in at a node, and what leaves it: bytes become inputs, effects become bytes.
//!
//! Part of the world; the only place where messages are read and written. Deliberately not here:
//! how bytes travel ([`super::net`]).

use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::Kind;
use super::log::Entry;
use super::net::Net;
use super::queue::{End, Frame, Name};
use super::world::{Link, World, at};
use crate::auth::{PeerRole, Principal};
use crate::ids::PeerId;
use crate::protocol::container::ContainerCommand;
use crate::protocol::scheduler::Event;
use crate::{agent, master, scheduler};

/// What the seal of a message says that was changed on its way.
pub(super) const GARBLED: postcard::Error = postcard::Error::DeserializeBadCrc;

/// How long a master that has resigned takes to start again.
const RESTART: Duration = Duration::from_secs(1);

impl World {
    pub(super) fn on_arrive(&mut self, peer: PeerId, to: End, frame: Frame) {
        let Some(client) = self.net.arrive(peer, to, &frame) else {
            return;
        };
        match to {
            End::Server => self.on_arrive_at_master(client, peer, &frame),
            End::Client => self.on_arrive_at_client(client, peer, &frame),
        }
    }

    fn on_arrive_at_master(&mut self, client: Name, peer: PeerId, frame: &Frame) {
        let is_of_zombie = self.is_of_zombie(peer);
        if self.master.machine().is_none() && !is_of_zombie {
            // Nobody listens: the attempt fails.
            let now = self.shared.now;
            self.net
                .close(now, peer, End::Server, &mut self.shared.queue);
            return;
        }
        let input = match (frame, client) {
            (Frame::Open, _) => {
                self.greet(client, peer);
                let principal = principal(client);
                master::Input::Connected { peer, principal }
            }
            (Frame::Close, _) => {
                self.forget_versions(peer);
                master::Input::Disconnected { peer }
            }
            (Frame::Garbled, _) => return self.refuse(Name::Master, peer, End::Server, GARBLED),
            (Frame::Bytes(bytes), Name::Agent(_)) => match decode(bytes) {
                Ok(message) => {
                    self.check_version(peer, End::Server, &message);
                    master::Input::Agent { peer, message }
                }
                Err(error) => return self.refuse(Name::Master, peer, End::Server, error),
            },
            (Frame::Bytes(bytes), Name::Framework(_) | Name::Master | Name::Executor { .. }) => {
                match decode(bytes) {
                    Ok(call) => {
                        self.check_version(peer, End::Server, &call);
                        master::Input::Scheduler { peer, call }
                    }
                    Err(error) => return self.refuse(Name::Master, peer, End::Server, error),
                }
            }
        };
        if is_of_zombie {
            self.zombie_hears(input);
            return;
        }
        self.master_hears(input);
        self.flush_master();
    }

    /// Has whoever watches the master know what it has heard by now, also if it said nothing.
    pub(super) fn master_turned(&mut self) {
        if let Some(master) = self.master.machine() {
            self.watch.turned(master);
        }
    }

    /// What cannot be read ends its connection, and the machine never hears of it.
    fn refuse(&mut self, name: Name, peer: PeerId, by: End, error: postcard::Error) {
        let shared = &mut self.shared;
        shared
            .recorder
            .note(shared.now, name, Entry::Refusal, &(peer, error));
        self.net.close(shared.now, peer, by, &mut shared.queue);
    }

    fn on_arrive_at_client(&mut self, client: Name, peer: PeerId, frame: &Frame) {
        let Some((life, link)) = self.link_of(client, peer) else {
            // An earlier life's connection.
            return;
        };
        let was = *link;
        match frame {
            Frame::Open if was == Link::Dialling(peer) => *link = Link::Up(peer),
            Frame::Bytes(_) | Frame::Garbled if was == Link::Up(peer) => {}
            Frame::Close => {
                *link = Link::Down;
                self.plan_dial(client, life, self.options.redial);
                if was == Link::Dialling(peer) {
                    return;
                }
            }
            Frame::Open | Frame::Bytes(_) | Frame::Garbled => return,
        }
        match client {
            Name::Agent(n) => self.on_arrive_at_agent(n, peer, frame),
            Name::Framework(n) => self.on_arrive_at_framework(n, peer, frame, life),
            Name::Master | Name::Executor { .. } => {}
        }
    }

    /// Finds who has a connection, made or on its way: in which life, and what it knows of it.
    fn link_of(&mut self, client: Name, peer: PeerId) -> Option<(u32, &mut Link)> {
        let (life, link) = match client {
            Name::Agent(n) => {
                let seat = &mut self.agents[at(n)];
                (seat.node.life, &mut seat.link)
            }
            Name::Framework(n) => {
                let one = self.frameworks[at(n)].of_peer(peer)?;
                (one.node.life, &mut one.link)
            }
            Name::Master | Name::Executor { .. } => return None,
        };
        link.is_of(peer).then_some((life, link))
    }

    /// Returns the link of a client in this life, if it lives.
    pub(super) fn link(&mut self, client: Name, life: u32) -> Option<&mut Link> {
        match client {
            Name::Agent(n) => {
                let seat = &mut self.agents[at(n)];
                let lives = seat.node.machine().is_some() && seat.node.life == life;
                lives.then_some(&mut seat.link)
            }
            Name::Framework(n) => self.scheduler_link(n, life),
            Name::Master | Name::Executor { .. } => None,
        }
    }

    fn on_arrive_at_agent(&mut self, n: u32, peer: PeerId, frame: &Frame) {
        let client = Name::Agent(n);
        let input = match frame {
            Frame::Open => agent::Input::MasterFound { peer },
            Frame::Close => agent::Input::MasterLost { peer },
            Frame::Bytes(bytes) => match decode(bytes) {
                Ok(message) => {
                    self.check_version(peer, End::Client, &message);
                    agent::Input::Master { peer, message }
                }
                Err(error) => return self.refuse(client, peer, End::Client, error),
            },
            Frame::Garbled => return self.refuse(client, peer, End::Client, GARBLED),
        };
        self.agent_hears(n, peer, input);
        self.flush_agent(n);
    }

    fn on_arrive_at_framework(&mut self, n: u32, peer: PeerId, frame: &Frame, life: u32) {
        let client = Name::Framework(n);
        let input = match frame {
            Frame::Open => scheduler::Input::Connected { peer },
            Frame::Close => scheduler::Input::Disconnected { peer },
            Frame::Bytes(bytes) => match decode(bytes) {
                Ok(event) => {
                    if matches!(event, Event::Subscribed { .. }) {
                        self.frameworks[at(n)].remind(life);
                    }
                    self.check_version(peer, End::Client, &event);
                    self.check_event(n, &event);
                    scheduler::Input::Master { peer, event }
                }
                Err(error) => return self.refuse(client, peer, End::Client, error),
            },
            Frame::Garbled => return self.refuse(client, peer, End::Client, GARBLED),
        };
        let is_deposed = self.is_of_zombie(peer);
        if let Some(one) = self.frameworks[at(n)].of_life(life) {
            let heard = one.hear(input, is_deposed, &mut self.shared);
            self.note(client, heard);
        }
        self.flush_framework(n);
    }

    /// Takes in what arrives between an agent and its executors.
    pub(super) fn on_arrive_locally(&mut self, peer: PeerId, to: End, frame: &Frame) {
        let Name::Agent(n) = Net::server(peer) else {
            return;
        };
        match to {
            End::Client => {
                self.at_containers(n, |containers, shared| {
                    containers.arrive(peer, frame, shared);
                });
                self.check_containers(n);
            }
            End::Server => self.on_arrive_from_executor(n, peer, frame),
        }
    }

    fn on_arrive_from_executor(&mut self, agent: u32, peer: PeerId, frame: &Frame) {
        let seat = &mut self.agents[at(agent)];
        let executors = seat.containers.executors();
        let client = executors.net().arrive(peer, End::Server, frame);
        let Some(Name::Executor { n, .. }) = client else {
            return;
        };
        let container = executors.container(n).cloned();
        let input = match (frame, container) {
            (Frame::Open, Some(container)) if seat.node.machine().is_some() => {
                agent::Input::ExecutorConnected { peer, container }
            }
            // Nobody listens, or nobody is there any more who has dialled.
            (Frame::Open, Some(_) | None) => return self.close_executor(agent, peer),
            (Frame::Bytes(bytes), _) => match decode(bytes) {
                Ok(call) => agent::Input::Executor { peer, call },
                Err(_) => return self.close_executor(agent, peer),
            },
            (Frame::Garbled, _) => return self.close_executor(agent, peer),
            (Frame::Close, _) => agent::Input::ExecutorDisconnected { peer },
        };
        self.agent_hears_locally(agent, input);
        self.flush_agent(agent);
    }

    fn close_executor(&mut self, agent: u32, peer: PeerId) {
        let net = self.agents[at(agent)].containers.executors().net();
        let queue = &mut self.shared.queue;
        net.close(self.shared.now, peer, End::Server, queue);
    }

    pub(super) fn send(&mut self, peer: PeerId, from: End, bytes: Vec<u8>) {
        let shared = &mut self.shared;
        let queue = &mut shared.queue;
        if self.net.send(shared.now, peer, from, bytes, queue) {
            // Only the master gives up those who read slowly.
            shared.hit(Name::Master, Kind::Overload);
        }
    }

    pub(super) fn flush_master(&mut self) {
        let mut resigns = false;
        while let Some(effect) = self.master.release(&mut self.shared) {
            resigns |= self.carry_out(effect);
        }
        if resigns {
            // Somebody starts the daemon again.
            let mut rng = self.orders.fork();
            self.crash(Name::Master, &mut rng);
            self.plan_restart(Name::Master, RESTART);
            return;
        }
        self.check(Name::Master);
    }

    /// Does what a master wants; returns whether it resigns.
    pub(super) fn carry_out(&mut self, effect: master::Effect) -> bool {
        match effect {
            master::Effect::Agent { peer, message } => {
                self.say(peer, End::Server, &message);
            }
            master::Effect::Scheduler { peer, event } => {
                self.say(peer, End::Server, &event);
            }
            master::Effect::Respond { peer, response } => self.respond(peer, &response),
            master::Effect::Disconnect { peer, .. } => {
                let queue = &mut self.shared.queue;
                self.net.close(self.shared.now, peer, End::Server, queue);
            }
            master::Effect::Resign { .. } => return true,
        }
        false
    }

    pub(super) fn flush_agent(&mut self, n: u32) {
        while let Some(effect) = self.agents[at(n)].node.release(&mut self.shared) {
            self.check_grace(n, &effect);
            let now = self.shared.now;
            let queue = &mut self.shared.queue;
            match effect {
                agent::Effect::Master { peer, message } => {
                    self.note_sent(&message);
                    self.agents[at(n)].keep_said(&message);
                    self.say(peer, End::Client, &message);
                }
                agent::Effect::Container(command) => {
                    let is_launch = matches!(command, ContainerCommand::Launch { .. });
                    let is_recovery = matches!(command, ContainerCommand::Recover { .. });
                    self.answer_try(n, &command);
                    self.check_given(n, &command);
                    self.at_containers(n, |containers, shared| {
                        containers.command(command, shared);
                    });
                    if is_launch {
                        self.check_containers(n);
                    }
                    if is_recovery {
                        self.check_adoption(n);
                    }
                }
                agent::Effect::Disconnect { peer, .. } if Net::server(peer) == Name::Agent(n) => {
                    self.close_executor(n, peer);
                }
                agent::Effect::Disconnect { peer, .. } => {
                    self.net.close(now, peer, End::Client, queue);
                }
                agent::Effect::DeleteSandbox { container, .. } => {
                    self.delete_sandbox(n, container);
                }
                agent::Effect::DeleteVolumes { order, volumes } => {
                    self.check_destroyed(n, &volumes);
                    self.delete_volumes(n, order);
                }
                agent::Effect::Echo(departure) => {
                    self.tell_agent(n, agent::Input::Departed(departure));
                }
                agent::Effect::Executor { peer, event } => {
                    let net = self.agents[at(n)].containers.executors().net();
                    net.send(now, peer, End::Server, encode(&event), queue);
                }
                agent::Effect::Disk(command) => {
                    let provider = &mut self.agents[at(n)].provider;
                    provider.command(command, &mut self.shared);
                    self.check_disks(n);
                }
                agent::Effect::Stop { reason: _ } | agent::Effect::Left => {
                    return self.on_agent_stopped(n);
                }
            }
        }
        self.check(Name::Agent(n));
    }
}

fn principal(client: Name) -> Principal {
    let role = match client {
        Name::Master => PeerRole::Master,
        Name::Agent(_) => PeerRole::Agent,
        Name::Framework(_) | Name::Executor { .. } => PeerRole::Framework,
    };
    let name = format!("{client}");
    Principal { role, name }
}

pub(super) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_allocvec(message).expect("a message can be written to memory")
}

/// Reads a message, all of it and nothing after it.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    let (message, rest) = postcard::take_from_bytes(bytes)?;
    if !rest.is_empty() {
        return Err(postcard::Error::DeserializeBadEncoding);
    }
    Ok(message)
}
