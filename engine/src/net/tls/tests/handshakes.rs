//! Which peers may speak with each other, and what they agree on.

use super::*;

fn failures(client: &Outcome, server: &Outcome) -> (Option<FailureKind>, Option<FailureKind>) {
    let kind = |outcome: &Outcome| outcome.as_ref().err().map(Failure::kind);
    (kind(client), kind(server))
}

#[test]
fn the_best_of_what_both_know_is_agreed_on() {
    let (files, world) = (Files::new(), World::new(1));
    let server = server(&downstream(vec![files.issue(&["a.example"])]));
    let (client, accepted) = world.agree(&connector(&upstream(&files, "a.example")), &server);
    for facts in [client.facts(), accepted.facts()] {
        assert_eq!((facts.version, facts.cipher), ("TLSv1.3", "TLS_AES_128_GCM_SHA256"));
        assert_eq!((facts.group, facts.resumed), ("X25519MLKEM768", false));
    }
    assert_eq!(accepted.facts().server_name.as_deref(), Some("a.example"));
    assert_eq!((client.facts().has_peer_certificate, accepted.facts().has_peer_certificate), (true, false));
    let old = TlsParameters { max_version: TlsVersion::V1_2, groups: vec![Group::P256], ..parameters() };
    let old = UpstreamTls { parameters: old, ..upstream(&files, "a.example") };
    let (client, _) = world.agree(&connector(&old), &server);
    let facts = client.facts();
    assert_eq!((facts.version, facts.cipher, facts.group), ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256", "P-256"));
}

#[test]
fn a_handshake_may_come_in_pieces_of_any_size() {
    let files = Files::new();
    let server = server(&downstream(vec![files.issue(&["a.example"])]));
    for limit in [1, 2, 3, 5, 6, 100, 517, 1500] {
        let world = World::new(limit as u64);
        let (client_end, server_end) = world.pipe();
        client_end.set_read_limit(limit);
        server_end.set_read_limit(limit);
        let connector = connector(&upstream(&files, "a.example"));
        let (client, accepted) = world.shake((client_end, server_end), &connector, &server);
        assert!(client.is_ok() && accepted.is_ok(), "{limit}");
    }
}

/// RFC 8446 section 4.1.4.
#[test]
fn a_client_whose_first_key_is_for_another_group_tries_again() {
    let (files, world) = (Files::new(), World::new(1));
    let only = |groups| TlsParameters { groups, ..parameters() };
    let model = downstream(vec![files.issue(&["a.example"])]);
    let server = server(&DownstreamTls { parameters: only(vec![Group::P256]), ..model });
    let model = upstream(&files, "a.example");
    let both = UpstreamTls { parameters: only(vec![Group::X25519, Group::P256]), ..model.clone() };
    let (client, _) = world.agree(&connector(&both), &server);
    assert_eq!(client.facts().group, "P-256");
    let other = UpstreamTls { parameters: only(vec![Group::X25519]), ..model };
    let (client, accepted) = world.shake(world.pipe(), &connector(&other), &server);
    assert_eq!(failures(&client, &accepted), (Some(FailureKind::Connection), Some(FailureKind::Connection)));
}

#[test]
fn an_endpoint_must_be_the_one_that_is_meant_and_be_vouched_for() {
    let (files, strangers, world) = (Files::new(), Files::new(), World::new(1));
    let good = server(&downstream(vec![files.issue(&["a.example"])]));
    let mut params = Files::params(&["a.example"]);
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let expired = files.issue_with(&params, "expired", &KeyPair::generate().expect("a key"));
    let cases = [
        (
            &good,
            upstream(&files, "b.example"),
            FailureKind::Name,
            "it is for a.example, not for b.example (NotValidForName)",
        ),
        (&good, upstream(&strangers, "a.example"), FailureKind::Untrusted, "UnknownIssuer"),
        (&server(&downstream(vec![expired])), upstream(&files, "a.example"), FailureKind::Untrusted, "expired"),
    ];
    for (server, model, kind, words) in cases {
        let (client, accepted) = world.shake(world.pipe(), &connector(&model), server);
        assert_eq!(failures(&client, &accepted), (Some(kind), Some(FailureKind::Connection)), "{words}");
        let said = client.err().map(|failure| failure.to_string()).unwrap_or_default();
        assert!(said.contains(words), "{said}");
        let told = accepted.err().map(|failure| failure.to_string()).unwrap_or_default();
        assert!(told.contains("alert"), "{told}");
        let validation = Validation { accept_untrusted: true, ..Validation::default() };
        let anyone = UpstreamTls { validation, ..model };
        world.agree(&connector(&anyone), server);
    }
}

#[test]
fn a_client_may_have_to_show_who_it_is() {
    let (files, strangers, world) = (Files::new(), Files::new(), World::new(1));
    let model = |required| DownstreamTls {
        client_certificate: Some(ClientCertificate { validation: by(&files), required }),
        ..downstream(vec![files.issue(&["a.example"])])
    };
    let (required, optional) = (server(&model(true)), server(&model(false)));
    let nobody = upstream(&files, "a.example");
    let known = UpstreamTls { certificate: Some(files.issue(&["client"])), ..nobody.clone() };
    let unknown = UpstreamTls { certificate: Some(strangers.issue(&["client"])), ..nobody.clone() };
    let refused = |model: &UpstreamTls, server| world.shake(world.pipe(), &connector(model), server).1.err();
    let kind = |model, server| refused(model, server).map(|failure| failure.kind());
    assert_eq!(kind(&nobody, &required), Some(FailureKind::NoCertificate));
    assert_eq!(kind(&unknown, &required), Some(FailureKind::Untrusted));
    assert_eq!(kind(&unknown, &optional), Some(FailureKind::Untrusted));
    assert!(!world.agree(&connector(&nobody), &optional).1.facts().has_peer_certificate);
    for server in [&required, &optional] {
        assert!(world.agree(&connector(&known), server).1.facts().has_peer_certificate);
    }
}

#[test]
fn sessions_go_on_where_both_want_that_and_no_client_certificate_is_asked_for() {
    let (files, world) = (Files::new(), World::new(1));
    let model = downstream(vec![files.issue(&["a.example"])]);
    let to = upstream(&files, "a.example");
    let mutual = ClientCertificate { validation: by(&files), required: false };
    let cases = [
        (true, model.clone(), to.clone()),
        (false, DownstreamTls { session_tickets: false, ..model.clone() }, to.clone()),
        (false, DownstreamTls { client_certificate: Some(mutual), ..model.clone() }, to.clone()),
        (false, model.clone(), UpstreamTls { session_resumption: false, ..to.clone() }),
    ];
    for (resumes, model, to) in cases {
        for max_version in [TlsVersion::V1_2, TlsVersion::V1_3] {
            let to = UpstreamTls { parameters: TlsParameters { max_version, ..parameters() }, ..to.clone() };
            let (connector, server) = (connector(&to), server(&model));
            for later in [false, true, true] {
                let (client, accepted) = world.agree(&connector, &server);
                // Tickets come behind the handshake.
                assert!(!client.has_received_bytes());
                assert_eq!(client.facts().resumed, resumes && later, "{model:?} {to:?}");
                assert_eq!(accepted.facts().resumed, client.facts().resumed);
            }
        }
    }
    // Another connector, another server, or a server that was loaded again for something else.
    let (connector, old) = (connector(&to), server(&model));
    let load = |model| Server::load(model, &mut Context::default(), Some(&old)).expect("it can be loaded");
    let strict = DownstreamTls { strict_sni: true, ..model.clone() };
    let of_this_side = DownstreamTls {
        alpn_protocols: vec!["http/1.1".into()],
        handshake_timeout: Duration::from_secs(3),
        ocsp_staple_policy: OcspStaplePolicy::Strict,
        ..model.clone()
    };
    let more = DownstreamTls {
        certificates: [model.certificates.clone(), vec![files.issue(&["b.example"])]].concat(),
        ..model.clone()
    };
    for (server, resumes) in [
        (server(&model), false),
        (load(&strict), false),
        (load(&more), false),
        (load(&model), true),
        (load(&of_this_side), true),
    ] {
        // Its tickets are the newest ones.
        assert!(!world.agree(&connector, &old).0.has_received_bytes());
        let (client, _) = world.agree(&connector, &server);
        assert_eq!(client.facts().resumed, resumes);
    }
}

#[test]
fn the_certificate_is_for_the_name_that_was_asked_for() {
    let (files, world) = (Files::new(), World::new(1));
    let model = downstream(vec![
        files.issue(&["first.example"]),
        files.issue(&["*.wild.example"]),
        files.issue(&["b.wild.example", "B2.Example"]),
    ]);
    let lax = server(&model);
    let strict = server(&DownstreamTls { strict_sni: true, ..model });
    for name in ["first.example", "a.wild.example", "b.wild.example", "b2.example"] {
        for server in [&lax, &strict] {
            world.agree(&connector(&upstream(&files, name)), server);
        }
    }
    for name in ["a.b.wild.example", "wild.example", "other.example"] {
        let (client, _) = world.shake(world.pipe(), &connector(&upstream(&files, name)), &lax);
        assert_eq!(client.err().map(|failure| failure.kind()), Some(FailureKind::Name), "it got the first one");
        let (client, accepted) = world.shake(world.pipe(), &connector(&upstream(&files, name)), &strict);
        let said = client.err().map(|failure| failure.to_string()).unwrap_or_default();
        assert!(said.contains("UnrecognisedName"), "{said}");
        assert!(matches!(accepted, Err(Failure::UnknownName(asked)) if *asked == *name));
    }
}

#[test]
fn a_client_that_offers_another_protocol_is_served_all_the_same() {
    let (files, world) = (Files::new(), World::new(1));
    let model = downstream(vec![files.issue(&["a.example"])]);
    let other = server(&DownstreamTls { alpn_protocols: vec!["other".into()], ..model });
    world.agree(&connector(&upstream(&files, "a.example")), &other);
}

#[test]
fn what_is_no_handshake_gets_a_clear_end() {
    let (files, world) = (Files::new(), World::new(1));
    let server = server(&downstream(vec![files.issue(&["a.example"])]));
    let cases: [(&[u8], &str); 4] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"\0\0\0", ""),
        // A record that is too long, and one that holds no hello: an alert.
        (&[22, 3, 1, 0xff, 0xff, 1, 2, 3, 4], "\u{15}\u{3}\u{3}\0\u{2}\u{2}"),
        (&[22, 3, 1, 0, 4, 2, 0, 0, 0], "\u{15}\u{3}\u{3}\0\u{2}\u{2}"),
    ];
    for (sent, answer) in cases {
        let (client, end) = world.pipe();
        client.write(sent);
        let (reactor, server, handshakes) = (world.reactor.clone(), server.clone(), world.handshakes.clone());
        let outcome = world.run(async move { accept(end, &server, &handshakes, &reactor).await });
        assert_eq!(outcome.err().map(|failure| failure.kind()), Some(FailureKind::Connection));
        let mut bytes = Vec::new();
        while let Poll::Ready(Ok(Some(buf))) = client.poll_recv() {
            bytes.extend_from_slice(&buf);
        }
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        assert!(text.starts_with(answer), "{sent:?}: {text:?}");
        assert!(!answer.is_empty() || text.is_empty());
    }
}

/// Two servers with the same file stand for two processes.
#[test]
fn a_session_goes_on_wherever_its_key_is_and_only_in_the_same_context() {
    let (files, world) = (Files::new(), World::new(1));
    let key = |name: &str, byte: u8| {
        let path = files.dir.path().join(name);
        std::fs::write(&path, [byte; 80]).expect("written");
        file(&path)
    };
    let (old, new) = (key("old.key", 1), key("new.key", 2));
    let certificates = vec![files.issue(&["a.example"]), files.issue(&["b.example"])];
    let with = |keys: &[&PemFile]| DownstreamTls {
        session_ticket_keys: keys.iter().map(|key| (*key).clone()).collect(),
        ..downstream(certificates.clone())
    };
    let first = with(&[&old]);
    let asked = |required| Some(ClientCertificate { validation: by(&files), required });
    let params = Files::params(&["a.example", "c.example"]);
    let renamed = files.issue_with(&params, "renamed", &KeyPair::generate().expect("a key"));
    let renamed = vec![renamed, certificates[1].clone()];
    let others = [
        ("another process", first.clone(), true),
        ("the key is the second one", with(&[&new, &old]), true),
        ("the key is gone", with(&[&new]), false),
        ("random keys", with(&[]), false),
        ("other names", DownstreamTls { certificates: renamed, ..first.clone() }, false),
        ("other certificates", DownstreamTls { certificates: certificates[..1].to_vec(), ..first.clone() }, false),
        ("stricter", DownstreamTls { strict_sni: true, ..first.clone() }, false),
        ("no tickets", DownstreamTls { session_tickets: false, ..first.clone() }, false),
        ("clients are asked", DownstreamTls { client_certificate: asked(false), ..first.clone() }, false),
    ];
    for max_version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let parameters = TlsParameters { max_version, ..parameters() };
        let to = UpstreamTls { parameters, ..upstream(&files, "a.example") };
        for (what, model, resumes) in &others {
            let connector = connector(&to);
            // Its tickets are the newest ones.
            assert!(!world.agree(&connector, &server(&first)).0.has_received_bytes());
            let (client, _) = world.agree(&connector, &server(model));
            assert_eq!(client.facts().resumed, *resumes, "{what}, {max_version:?}");
        }
    }
}

/// Keys change together or not at all, and what serves by them serves by the new ones.
#[test]
fn keys_of_tickets_are_renewed() {
    let (files, world) = (Files::new(), World::new(1));
    let paths = ["new.key", "old.key"].map(|name| files.dir.path().join(name));
    let write = |bytes: [&[u8]; 2]| {
        paths.iter().zip(bytes).for_each(|(path, bytes)| std::fs::write(path, bytes).expect("written"));
    };
    write([&[1; 80], &[2; 48]]);
    let keys = paths.iter().map(|path| file(path)).collect();
    let model = DownstreamTls { session_ticket_keys: keys, ..downstream(vec![files.issue(&["a.example"])]) };
    let mut context = Context::default();
    let before = Server::load(&model, &mut context, None).expect("it can be loaded");
    let context = context.finish();
    assert!(context.files().is_superset(&paths.clone().into()));
    let connector = connector(&upstream(&files, "a.example"));
    let resumes = |server: &Arc<Server>| {
        let (client, _) = world.agree(&connector, server);
        assert!(!client.has_received_bytes());
        client.facts().resumed
    };
    assert!(!resumes(&before) && resumes(&before));
    let renew = |context: &Arc<Context>| {
        let mut after = Context::after(context);
        let server = Server::load(&model, &mut after, Some(&before)).expect("it can be loaded");
        let counts = (after.renewed.len(), after.refused.len());
        (server, counts, after.finish())
    };
    write([&[3; 79], &[1; 80]]);
    let (server, counts, context) = renew(&context);
    assert_eq!((counts, resumes(&server)), ((0, 1), true), "the old keys stay");
    write([&[3; 80], &[1; 80]]);
    let (server, counts, context) = renew(&context);
    assert_eq!((counts, resumes(&server)), ((2, 0), true), "the first one has become the second");
    write([&[4; 80], &[5; 80]]);
    let (server, counts, _) = renew(&context);
    assert_eq!((counts, resumes(&server)), ((2, 0), false));
}

/// The library keeps 64 KiB of it, with the records that it comes in.
#[test]
fn a_first_message_that_is_too_large_is_told_as_that() {
    let (files, world) = (Files::new(), World::new(1));
    let server = server(&downstream(vec![files.issue(&["a.example"])]));
    let message = [&[1, 0, 0x3f, 0, 3, 3][..], &[0; 16_000]].concat();
    let records: Vec<u8> = message.iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
    let (client, end) = pipe(&world.reactor, 128 * 1024);
    client.write(&records);
    let (reactor, handshakes) = (world.reactor.clone(), world.handshakes.clone());
    let outcome = world.run(async move { accept(end, &server, &handshakes, &reactor).await });
    let said = outcome.err().map(|failure| failure.to_string());
    assert_eq!(said.as_deref(), Some("the client's first message is larger than 64 KiB"));
}
