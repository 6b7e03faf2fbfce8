//! What is tried of containers: commands in them, and HTTP and TCP against real servers, in the
//! network of a container if this is root, and in the host's. Servers are threads of this test; no
//! test waits for a time.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use tepui_core::ids::ContainerId;
use tepui_core::protocol::check::{Family, HttpProbe, Probe, ProbeOutcome};
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent};
use tepui_core::protocol::status::Exit;
use tepui_core::protocol::task::CommandInfo;
use tepui_isolation::launch::Network;
use tepui_isolation::network::within;
use tepui_isolation::{Launch, Mode};

use common::*;

/// A container that runs, and where its servers are.
struct Subject {
    dir: tempfile::TempDir,
    agent: Agent,
    id: ContainerId,
    mode: Mode,
    /// Its network, if it is not the host's.
    network: Option<PathBuf>,
}

impl Subject {
    /// On the host's network.
    fn on_host() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let agent = Agent::start(dir.path(), Mode::Process);
        agent.launch(&id(1), sh("exec sleep 2000"));
        agent.started();
        Self {
            dir,
            agent,
            id: id(1),
            mode: Mode::Process,
            network: None,
        }
    }

    /// In a container on the host's network; `None` where there can be none.
    fn in_container() -> Option<Self> {
        let detected = Mode::detect();
        if detected.mode != Mode::Container {
            skipped(&detected.reason);
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let agent = Agent::start(dir.path(), Mode::Container);
        agent.launch(&id(1), sh("exec sleep 2000"));
        agent.started();
        Some(Self {
            dir,
            agent,
            id: id(1),
            mode: Mode::Container,
            network: None,
        })
    }

    /// In a network of its own; `None` where there can be none.
    fn in_own_network() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skipped("needs root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let agent = Agent::start(dir.path(), Mode::Container);
        let launch = Launch {
            network: Network::Isolated,
            ..Launch::default()
        };
        agent.launch_with(&id(1), sh("exec sleep 2000"), launch);
        let pid = agent.started();
        Some(Self {
            dir,
            agent,
            id: id(1),
            mode: Mode::Container,
            network: Some(format!("/proc/{pid}/ns/net").into()),
        })
    }

    fn everywhere() -> impl Iterator<Item = Self> {
        let (container, network) = (Self::in_container(), Self::in_own_network());
        [Some(Self::on_host()), container, network]
            .into_iter()
            .flatten()
    }

    /// Whether commands can be started in it: an agent without privileges cannot.
    fn can_be_entered(&self) -> bool {
        self.mode == Mode::Process || nix::unistd::geteuid().is_root()
    }

    fn listen(&self, address: &str) -> TcpListener {
        match &self.network {
            Some(network) => within(network, || TcpListener::bind(address).unwrap()).unwrap(),
            None => TcpListener::bind(address).unwrap(),
        }
    }

    /// A port where nobody listens.
    fn nobody(&self) -> u16 {
        port(&self.listen("127.0.0.1:0"))
    }

    fn order(&self, number: u64, probe: Probe, timeout: Option<Duration>) {
        self.agent.send(ContainerCommand::Probe {
            id: self.id.clone(),
            number,
            probe,
            timeout,
        });
    }

    fn give_up(&self, number: u64) {
        let id = self.id.clone();
        self.agent.send(ContainerCommand::Unprobe { id, number });
    }

    fn outcome(&self, wanted: u64) -> ProbeOutcome {
        match self.agent.next() {
            ContainerEvent::Probed {
                id,
                number,
                outcome,
            } => {
                assert_eq!((&id, number), (&self.id, wanted), "{outcome:?}");
                outcome
            }
            other => panic!("{other:?}"),
        }
    }

    fn tries(&self, probe: Probe) -> ProbeOutcome {
        self.order(7, probe, None);
        self.outcome(7)
    }

    fn end(self) {
        self.agent.destroy(&self.id);
        self.agent.exited();
        self.agent.shutdown();
    }
}

fn command(text: &str) -> Probe {
    Probe::Command(Box::new(sh(text)))
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

fn http(port: u16) -> Probe {
    Probe::Http(HttpProbe {
        tls: false,
        port,
        path: "/health?full=1".into(),
        family: Family::V4,
    })
}

fn tcp(port: u16) -> Probe {
    let family = Family::V4;
    Probe::Tcp { port, family }
}

/// Serves each connection by `answer`, until nobody is there to connect: as long as the test runs.
fn serve(listener: TcpListener, answer: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let port = port(&listener);
    thread::spawn(move || listener.incoming().flatten().for_each(answer));
    port
}

/// Reads a request to its end; returns its first line.
fn request(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let mut one = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut one).unwrap(), 1, "{bytes:?}");
        bytes.push(one[0]);
    }
    let text = String::from_utf8(bytes).unwrap();
    text.lines().next().unwrap().to_owned()
}

/// Answers each request with the same bytes, and hangs up.
fn says(answer: impl Into<Vec<u8>>) -> impl Fn(TcpStream) + Send + 'static {
    let answer = answer.into();
    move |mut stream| {
        request(&mut stream);
        // Who does not want all of it hangs up.
        let _ = stream.write_all(&answer);
    }
}

/// Takes connections, and says nothing until the test lets go of them.
fn hangs(listener: TcpListener) -> (u16, Receiver<TcpStream>) {
    let (sender, taken) = channel();
    let port = serve(listener, move |stream| {
        sender.send(stream).unwrap_or_default();
    });
    (port, taken)
}

#[test]
fn a_container_is_asked_in_its_own_network() {
    // TK-96
    let Some(subject) = Subject::in_own_network() else {
        return;
    };
    // The host has another server at the same address.
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = serve(outside, says("HTTP/1.1 500 not this one\r\n\r\n"));
    assert_eq!(subject.tries(tcp(port)), ProbeOutcome::Accepted(false));
    let inside = subject.listen(&format!("127.0.0.1:{port}"));
    serve(inside, says("HTTP/1.1 200 OK\r\n\r\n"));
    assert_eq!(subject.tries(http(port)), ProbeOutcome::Answered(200));
    assert_eq!(subject.tries(tcp(port)), ProbeOutcome::Accepted(true));
    subject.end();
}

#[test]
fn servers_are_asked_as_the_probe_says_by_either_family() {
    // TK-96, TK-98
    for subject in Subject::everywhere() {
        for (address, family) in [("127.0.0.1:0", Family::V4), ("[::1]:0", Family::V6)] {
            let listener = subject.listen(address);
            let port = port(&listener);
            let (lines, asked) = channel();
            serve(listener, move |mut stream| {
                lines.send(request(&mut stream)).unwrap();
                stream.write_all(b"HTTP/1.1 204 x\r\n\r\n").unwrap();
            });
            let path = "/a/b?c=d".to_owned();
            let probe = HttpProbe {
                tls: false,
                port,
                path,
                family,
            };
            let outcome = subject.tries(Probe::Http(probe));
            assert_eq!(outcome, ProbeOutcome::Answered(204));
            assert_eq!(asked.recv().unwrap(), "GET /a/b?c=d HTTP/1.1");
            let other = match family {
                Family::V4 => Family::V6,
                Family::V6 => Family::V4,
            };
            let outcome = subject.tries(Probe::Tcp {
                port,
                family: other,
            });
            assert_eq!(outcome, ProbeOutcome::Accepted(false));
        }
        subject.end();
    }
}

#[test]
fn whatever_a_server_does_the_outcome_says() {
    // TK-96
    for subject in Subject::everywhere() {
        let asks = |answer: Vec<u8>| {
            let port = serve(subject.listen("127.0.0.1:0"), says(answer));
            subject.tries(http(port))
        };
        for status in [200, 204, 302, 399, 400, 404, 500, 503] {
            let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 2\r\n\r\nok");
            assert_eq!(asks(answer.into()), ProbeOutcome::Answered(status));
        }
        // Its answer is known before it is all there, however long it is.
        let mut huge = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        huge.resize(16 << 20, b'x');
        assert_eq!(asks(huge), ProbeOutcome::Answered(200));
        for (answer, part) in [
            (b"SSH-2.0-x\r\n".to_vec(), "did not answer by HTTP/1"),
            (vec![0xff; 100], "did not answer by HTTP/1"),
            (Vec::new(), "hung up"),
            (b"HTTP/1.1 200 OK\r\n".to_vec(), "hung up"),
            (
                [b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'x'; 1 << 20]].concat(),
                "no end of the head",
            ),
        ] {
            let outcome = asks(answer);
            let ProbeOutcome::Failed(why) = &outcome else {
                panic!("{outcome:?}");
            };
            assert!(why.contains(part), "{why}");
        }
        let outcome = subject.tries(http(subject.nobody()));
        let is_refused =
            |why: &str| why.contains("connect to 127.0.0.1") && why.contains("refused");
        assert!(
            matches!(&outcome, ProbeOutcome::Failed(why) if is_refused(why)),
            "{outcome:?}"
        );
        let outcome = subject.tries(tcp(subject.nobody()));
        assert_eq!(outcome, ProbeOutcome::Accepted(false));
        subject.end();
    }
}

#[test]
fn redirects_lead_to_the_container_and_nowhere_else() {
    // TK-96
    for subject in Subject::everywhere() {
        let last = serve(subject.listen("127.0.0.1:0"), |mut stream| {
            let status = match request(&mut stream).as_str() {
                "GET /there HTTP/1.1" => 201,
                _ => 404,
            };
            let answer = format!("HTTP/1.1 {status} x\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let redirect = |to: &str| {
            let answer = format!("HTTP/1.1 307 x\r\nLocation: {to}\r\n\r\n");
            let port = serve(subject.listen("127.0.0.1:0"), says(answer));
            subject.tries(http(port))
        };
        let there = format!("http://localhost:{last}/there");
        assert_eq!(redirect(&there), ProbeOutcome::Answered(201));
        // That nobody is asked there shows in that nobody of that name has to be found.
        let elsewhere = "http://elsewhere.invalid/";
        assert_eq!(redirect(elsewhere), ProbeOutcome::Answered(307));
        let circle = redirect("/again");
        assert!(
            matches!(&circle, ProbeOutcome::Failed(why) if why.contains("10 times")),
            "{circle:?}"
        );
        subject.end();
    }
}

#[test]
fn by_tls_no_certificate_is_judged() {
    // TK-96
    let made = rcgen::generate_simple_self_signed(["nobody.invalid".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let key = key.unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_protocol_versions(&[version]).unwrap();
        let config = config.with_no_client_auth();
        let certificates = vec![made.cert.der().clone()];
        let config = config.with_single_cert(certificates, key.clone_key());
        let config = Arc::new(config.unwrap());
        for subject in Subject::everywhere() {
            let config = Arc::clone(&config);
            let port = serve(subject.listen("127.0.0.1:0"), move |stream| {
                let server = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = rustls::StreamOwned::new(server, stream);
                request(&mut stream);
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            });
            let probe = HttpProbe {
                tls: true,
                port,
                path: "/".into(),
                family: Family::V4,
            };
            let outcome = subject.tries(Probe::Http(probe.clone()));
            assert_eq!(outcome, ProbeOutcome::Answered(200));
            // One that does not talk TLS.
            let port = serve(subject.listen("127.0.0.1:0"), |mut stream| {
                let _ = stream.write_all(&b"nonsense\r\n".repeat(1000));
            });
            let outcome = subject.tries(Probe::Http(HttpProbe { port, ..probe }));
            assert!(matches!(outcome, ProbeOutcome::Failed(_)), "{outcome:?}");
            subject.end();
        }
    }
}

#[test]
fn who_is_silent_or_too_slow_is_timed_out_and_holds_up_nobody() {
    // TK-95, TK-96
    for subject in Subject::everywhere() {
        let (silent, taken) = hangs(subject.listen("127.0.0.1:0"));
        let good = serve(
            subject.listen("127.0.0.1:0"),
            says("HTTP/1.1 200 OK\r\n\r\n"),
        );
        // Without a timeout one waits for ever: the others do not.
        subject.order(1, http(silent), None);
        let waiting = taken.recv_timeout(PATIENCE).unwrap();
        assert_eq!(subject.tries(http(good)), ProbeOutcome::Answered(200));
        subject.order(2, http(silent), Some(Duration::from_millis(50)));
        assert_eq!(subject.outcome(2), ProbeOutcome::TimedOut);
        // Each byte would be a sign of life, but does not count.
        let trickling = serve(subject.listen("127.0.0.1:0"), |mut stream| {
            request(&mut stream);
            let head = "HTTP/1.1 200 OK\r\nA: ".bytes();
            for byte in head.chain(std::iter::repeat(b'x')) {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        subject.order(3, http(trickling), Some(Duration::from_millis(200)));
        assert_eq!(subject.outcome(3), ProbeOutcome::TimedOut);
        assert_eq!(subject.tries(tcp(silent)), ProbeOutcome::Accepted(true));
        // At last it answers all the same.
        let mut waiting = waiting;
        request(&mut waiting);
        waiting.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        assert_eq!(subject.outcome(1), ProbeOutcome::Answered(200));
        subject.end();
    }
}

/// Returns whether the other side has hung up.
fn hung_up(mut stream: TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn what_is_given_up_is_closed_and_never_answered() {
    // TK-97, TK-99
    for subject in Subject::everywhere() {
        let (silent, taken) = hangs(subject.listen("127.0.0.1:0"));
        subject.order(1, http(silent), None);
        let stream = taken.recv_timeout(PATIENCE).unwrap();
        subject.give_up(1);
        assert!(hung_up(stream));
        // Given up before it may have begun, and after it is over.
        subject.order(2, http(silent), None);
        subject.give_up(2);
        subject.give_up(2);
        subject.give_up(1);
        // The next that is heard is of the next that is asked.
        let outcome = subject.tries(tcp(subject.nobody()));
        assert_eq!(outcome, ProbeOutcome::Accepted(false));
        // The end of a container ends its tries.
        let (silent, taken) = hangs(subject.listen("127.0.0.1:0"));
        subject.order(3, http(silent), None);
        let stream = taken.recv_timeout(PATIENCE).unwrap();
        subject.agent.destroy(&subject.id);
        subject.agent.exited();
        assert!(hung_up(stream));
        subject.order(4, tcp(silent), None);
        let (id, next) = (id(2), sh("exit 3"));
        subject.agent.launch(&id, next);
        subject.agent.started();
        subject.agent.exited();
        subject.agent.shutdown();
    }
}

#[test]
fn a_server_that_begins_late_is_found_when_it_is_there() {
    // TK-95
    for subject in Subject::everywhere() {
        let port = subject.nobody();
        assert_eq!(subject.tries(tcp(port)), ProbeOutcome::Accepted(false));
        let late = subject.listen(&format!("127.0.0.1:{port}"));
        assert_eq!(subject.tries(tcp(port)), ProbeOutcome::Accepted(true));
        drop(late);
        subject.end();
    }
}

#[test]
fn as_many_as_there_may_be_are_tried_at_once_and_the_others_in_their_turn() {
    // TK-96
    let subject = Subject::on_host();
    let (silent, taken) = hangs(subject.listen("127.0.0.1:0"));
    let most = 256;
    for number in 0..most {
        subject.order(number, http(silent), None);
    }
    let streams: Vec<TcpStream> = (0..most)
        .map(|_| taken.recv_timeout(PATIENCE).unwrap())
        .collect();
    let port = subject.nobody();
    let none = Some(Duration::ZERO);
    subject.order(1000, tcp(port), none);
    assert_eq!(subject.outcome(1000), ProbeOutcome::TimedOut);
    subject.order(1001, tcp(port), None);
    subject.give_up(3);
    assert_eq!(subject.outcome(1001), ProbeOutcome::Accepted(false));
    drop(streams);
    for _ in 1..most {
        let event = subject.agent.next();
        assert!(
            matches!(
                &event,
                ContainerEvent::Probed { number, outcome: ProbeOutcome::Failed(_), .. }
                    if *number != 3
            ),
            "{event:?}"
        );
    }
    subject.end();
}

#[test]
fn an_agent_that_comes_back_goes_on_and_hears_nothing_of_before() {
    // TK-100
    for subject in Subject::everywhere() {
        let (silent, taken) = hangs(subject.listen("127.0.0.1:0"));
        subject.order(1, http(silent), None);
        let stream = taken.recv_timeout(PATIENCE).unwrap();
        let Subject {
            dir,
            agent,
            id,
            mode,
            network,
        } = subject;
        agent.detach();
        assert!(hung_up(stream));
        let agent = Agent::start(dir.path(), mode);
        let told = agent.recover(std::slice::from_ref(&id));
        assert!(
            matches!(&told[..], [ContainerEvent::Started { .. }]),
            "{told:?}"
        );
        let subject = Subject {
            dir,
            agent,
            id,
            mode,
            network,
        };
        assert_eq!(subject.tries(tcp(silent)), ProbeOutcome::Accepted(true));
        subject.end();
    }
}

#[test]
fn what_is_tried_of_nothing_is_not_answered() {
    // TK-96
    let subject = Subject::on_host();
    let listener = subject.listen("127.0.0.1:0");
    let port = port(&listener);
    subject.agent.send(ContainerCommand::Probe {
        id: id(99),
        number: 1,
        probe: tcp(port),
        timeout: None,
    });
    assert_eq!(subject.tries(tcp(port)), ProbeOutcome::Accepted(true));
    drop(listener);
    subject.end();
}

#[test]
fn a_command_runs_inside_the_container_and_its_exit_is_the_outcome() {
    // TK-96, TK-98, TK-99
    for subject in Subject::everywhere() {
        if !subject.can_be_entered() {
            let outcome = subject.tries(command("exit 0"));
            let is_said = |why: &str| why.contains("without privileges");
            assert!(
                matches!(&outcome, ProbeOutcome::Failed(why) if is_said(why)),
                "{outcome:?}"
            );
            subject.end();
            continue;
        }
        for (text, exit) in [
            ("exit 0", Exit::Code(0)),
            ("exit 3", Exit::Code(3)),
            ("kill -9 $$", Exit::Signal(9)),
            // What it writes is nobody's, and it reads nothing.
            ("seq 1 100000; seq 1 100000 >&2; cat", Exit::Code(0)),
            // It has the task's variables, and is where the task is.
            (
                "test $TEPUI_CONTAINER_ID = c000001 && test $PWD = $TEPUI_SANDBOX",
                Exit::Code(0),
            ),
        ] {
            let outcome = subject.tries(command(text));
            assert_eq!(outcome, ProbeOutcome::Exited(exit), "{text}");
        }
        let missing = Probe::Command(Box::new(CommandInfo::exec("/no/such/program", [""; 0])));
        let outcome = subject.tries(missing);
        assert!(matches!(outcome, ProbeOutcome::Failed(_)), "{outcome:?}");
        if let Some(network) = &subject.network {
            let inode = std::fs::metadata(network).unwrap().ino();
            let text = format!("test $(stat -L -c %i /proc/self/ns/net) = {inode}");
            let outcome = subject.tries(command(&text));
            assert_eq!(outcome, ProbeOutcome::Exited(Exit::Code(0)));
        }
        subject.end();
    }
}

#[test]
fn a_command_that_takes_too_long_or_is_given_up_is_killed_with_all_that_it_started() {
    // TK-95, TK-99
    for subject in Subject::everywhere() {
        if !subject.can_be_entered() {
            subject.end();
            continue;
        }
        let hang = || command("sleep 1000 & wait");
        let runs = || eventually("it runs", || !sleeps_in(&subject).is_empty());
        let is_gone = || eventually("it is gone", || sleeps_in(&subject).is_empty());
        subject.order(1, hang(), Some(Duration::from_millis(500)));
        assert_eq!(subject.outcome(1), ProbeOutcome::TimedOut);
        is_gone();
        subject.order(2, hang(), None);
        runs();
        subject.give_up(2);
        is_gone();
        assert_eq!(
            subject.tries(command("exit 0")),
            ProbeOutcome::Exited(Exit::Code(0))
        );
        // The end of the container is theirs.
        subject.order(3, hang(), None);
        runs();
        subject.end();
    }
}

/// The processes of commands, by what they were started as: the task's own sleep has another mark.
fn sleeps_in(subject: &Subject) -> Vec<u32> {
    let all = survivors(&subject.agent.dir);
    let is_one = |pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line == b"sleep\x001000\0" && is_alive(*pid)
    };
    all.into_iter().filter(is_one).collect()
}
