//! What ends with time: sessions, certificates, authorities. Both sides go by the virtual clock, which the tests move by days.

use super::revocation::{list, pem, with_crl};
use super::*;
use rcgen::{CertificateRevocationListParams, date_time_ymd};

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// Virtual time begins with 2026.
fn valid_until(mut params: CertificateParams, day: u8) -> CertificateParams {
    (params.not_before, params.not_after) = (date_time_ymd(2025, 12, 31), date_time_ymd(2026, 1, day));
    params
}

impl World {
    fn context(&self) -> Context {
        Context::at(self.reactor.wall())
    }

    fn server(&self, model: &DownstreamTls) -> Arc<Server> {
        Server::load(model, &mut self.context(), None).expect("it can be loaded")
    }

    fn connector(&self, model: &UpstreamTls) -> Rc<Connector> {
        let client = Client::load(model, &mut self.context()).expect("it can be loaded");
        Connector::new(&Current::new(client), None, None)
    }

    fn pass(&self, seconds: u64) {
        let reactor = self.reactor.clone();
        self.run(async move { reactor.sleep(Duration::from_secs(seconds)).await });
    }

    /// Whether a handshake goes on with a session.
    fn resumes(&self, connector: &Rc<Connector>, server: &Arc<Server>) -> bool {
        let (client, accepted) = self.agree(connector, server);
        // Tickets come behind the handshake.
        assert!(!client.has_received_bytes());
        assert_eq!(client.facts().resumed, accepted.facts().resumed);
        client.facts().resumed
    }

    /// What becomes of a handshake, in words.
    fn failures(&self, connector: &Rc<Connector>, server: &Arc<Server>) -> [String; 2] {
        let (client, accepted) = self.shake(self.pipe(), connector, server);
        [client.err(), accepted.err()].map(|failure| failure.map(|why| why.to_string()).unwrap_or_default())
    }
}

/// A session lasts for twelve hours from its first handshake, however often it goes on (HAProxy 9f1d59099): each resumption brings
/// new tickets.
#[test]
fn a_session_ends_twelve_hours_after_its_first_handshake() {
    let files = Files::new();
    let random = downstream(vec![files.issue(&["a.example"])]);
    let path = files.dir.path().join("tickets.key");
    std::fs::write(&path, [1; 80]).expect("written");
    let shared = DownstreamTls { session_ticket_keys: vec![file(&path)], ..random.clone() };
    for model in [random, shared] {
        for max_version in [TlsVersion::V1_2, TlsVersion::V1_3] {
            let world = World::new(1);
            let parameters = TlsParameters { max_version, ..parameters() };
            let connector = world.connector(&UpstreamTls { parameters, ..upstream(&files, "a.example") });
            let server = world.server(&model);
            for (hours, resumes) in [(0, false), (5, true), (3, true), (3, true), (2, false), (11, true), (2, false)] {
                world.pass(hours * HOUR);
                assert_eq!(world.resumes(&connector, &server), resumes, "{max_version:?} after {hours} more hours");
            }
        }
    }
}

/// Also where the endpoint would go on with it for ever: twelve hours after the first handshake no session is offered that came of it.
#[test]
fn no_session_is_offered_for_longer_than_twelve_hours() {
    let (files, world) = (Files::new(), World::new(1));
    let connector = world.connector(&upstream(&files, "a.example"));
    let offered = || connector.prepare(None).expect("a name").config;
    let first = offered();
    for minutes in [90, 90, 4 * 60, 4 * 60, 59] {
        world.pass(minutes * 60);
        assert!(Arc::ptr_eq(&offered(), &first));
    }
    world.pass(60);
    let second = offered();
    assert!(!Arc::ptr_eq(&second, &first), "sessions of its own");
    world.pass(12 * HOUR - 60);
    assert!(Arc::ptr_eq(&offered(), &second));
}

/// One that is kept and not used: neither is it offered, nor would it be taken.
#[test]
fn a_ticket_that_is_too_old_is_of_no_use() {
    let files = Files::new();
    for max_version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        for (age, resumes) in [(12 * HOUR - 60, true), (12 * HOUR + 60, false), (30 * DAY, false)] {
            let world = World::new(1);
            let parameters = TlsParameters { max_version, ..parameters() };
            let connector = world.connector(&UpstreamTls { parameters, ..upstream(&files, "a.example") });
            let server = world.server(&downstream(vec![files.issue(&["a.example"])]));
            assert!(!world.resumes(&connector, &server));
            world.pass(age);
            assert_eq!(world.resumes(&connector, &server), resumes, "{max_version:?}, {age} seconds");
        }
    }
}

#[test]
fn certificates_of_both_sides_expire() {
    let (files, world) = (Files::new(), World::new(1));
    let issue = |name: &str, day: u8| {
        let key = KeyPair::generate().expect("a key");
        files.issue_with(&valid_until(Files::params(&[name]), day), name, &key)
    };
    let asked = ClientCertificate { validation: by(&files), required: true };
    let server =
        world.server(&DownstreamTls { client_certificate: Some(asked), ..downstream(vec![issue("a.example", 20)]) });
    let connector =
        world.connector(&UpstreamTls { certificate: Some(issue("client", 10)), ..upstream(&files, "a.example") });
    world.pass(8 * DAY);
    assert_eq!(world.failures(&connector, &server), ["", ""]);
    // The tenth of January.
    world.pass(2 * DAY);
    let [_, accepted] = world.failures(&connector, &server);
    assert!(accepted.contains("invalid peer certificate") && accepted.contains("expired"), "{accepted}");
    world.pass(10 * DAY);
    let [connected, _] = world.failures(&connector, &server);
    assert!(connected.contains("invalid peer certificate") && connected.contains("expired"), "{connected}");
}

#[test]
fn certificates_become_valid_and_authorities_expire() {
    let files = Files::of(valid_until(CertificateParams::default(), 20));
    let world = World::new(1);
    let mut params = Files::params(&["a.example"]);
    params.not_before = date_time_ymd(2026, 1, 5);
    let certificate = files.issue_with(&params, "a.example", &KeyPair::generate().expect("a key"));
    // What a check would warn of is known by the same clock.
    let warned = |day: u64| {
        let mut context = world.context();
        Server::load(&downstream(vec![certificate.clone()]), &mut context, None).expect("it can be loaded");
        assert_eq!(!context.warnings.is_empty(), day < 4, "{:?}", context.warnings);
    };
    let (server, connector) =
        (world.server(&downstream(vec![certificate.clone()])), world.connector(&upstream(&files, "a.example")));
    warned(0);
    let [connected, _] = world.failures(&connector, &server);
    assert!(connected.contains("not valid yet"), "{connected}");
    world.pass(5 * DAY);
    warned(5);
    assert_eq!(world.failures(&connector, &server), ["", ""]);
    world.pass(15 * DAY);
    // A session needs no certificate.
    let connector = world.connector(&upstream(&files, "a.example"));
    let [connected, _] = world.failures(&connector, &server);
    assert!(connected.contains("has expired") && connected.contains("authority"), "{connected}");
}

/// Once, and by kind: what has ended before it is loaded is told then.
#[test]
fn what_ends_while_it_is_in_use_is_told() {
    let files = Files::of(valid_until(CertificateParams::default(), 20));
    let world = World::new(1);
    let certificate = files.issue_with(
        &valid_until(Files::params(&["a.example"]), 10),
        "a.example",
        &KeyPair::generate().expect("a key"),
    );
    let list = CertificateRevocationListParams { next_update: date_time_ymd(2026, 1, 15), ..list(&[]) };
    let validation = with_crl(&files, files.write("crl.pem", pem(&files, list)));
    let asked = ClientCertificate { validation, required: true };
    let mut context = world.context();
    let model = DownstreamTls { client_certificate: Some(asked), ..downstream(vec![certificate]) };
    Server::load(&model, &mut context, None).expect("it can be loaded");
    assert!(context.warnings.is_empty(), "{:?}", context.warnings);
    let start = context.now();
    let day = |day: u64| start + i64::try_from(day * DAY).expect("few");
    let mut told = Vec::new();
    for at in 0..30 {
        told.extend(context.ended(day(at), day(at + 1)).into_iter().map(|what| (at, what)));
    }
    let expected = [
        (9, "a certificate in ", "a.example.pem has expired"),
        (13, "a revocation list in ", "crl.pem is out of date"),
        (19, "an authority in ", "ca.pem has expired"),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for ((at, said), (expected_at, start, end)) in told.iter().zip(expected) {
        assert!(*at == expected_at && said.starts_with(start) && said.contains(end), "{told:?}");
    }
}

/// However often a session goes on, it ends with the certificate that the endpoint showed when it began: with those that live for
/// an hour, too.
#[test]
fn a_session_with_an_endpoint_ends_with_its_certificate() {
    let (files, world) = (Files::new(), World::new(1));
    let key = KeyPair::generate().expect("a key");
    let certificate = files.issue_with(&valid_until(Files::params(&["a.example"]), 10), "a.example", &key);
    let untrusted = Validation { accept_untrusted: true, ..Validation::default() };
    for max_version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let world = if max_version == TlsVersion::V1_2 { &world } else { &World::new(2) };
        let to =
            UpstreamTls { parameters: TlsParameters { max_version, ..parameters() }, ..upstream(&files, "a.example") };
        let lax = UpstreamTls { validation: untrusted.clone(), ..to.clone() };
        let (connector, lax) = (world.connector(&to), world.connector(&lax));
        let server = world.server(&downstream(vec![certificate.clone()]));
        // An hour before the end.
        world.pass(9 * DAY - HOUR);
        assert!(!world.resumes(&connector, &server) && !world.resumes(&lax, &server));
        world.pass(HOUR / 2);
        assert!(world.resumes(&connector, &server) && world.resumes(&lax, &server));
        world.pass(HOUR / 2 + 1);
        let [connected, _] = world.failures(&connector, &server);
        assert!(connected.contains("(Expired)"), "{connected}");
        assert!(world.resumes(&lax, &server), "where it does not count");
    }
}
