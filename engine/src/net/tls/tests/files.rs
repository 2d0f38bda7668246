//! Files that cannot be used: what is said of them.

use super::*;
use rcgen::{PKCS_ECDSA_P384_SHA384, RsaKeySize};
use ringway_config::model::Crl;

fn fault(certificate: Certificate) -> String {
    let Err(faults) = Server::load(&downstream(vec![certificate]), &mut Context::default(), None) else {
        panic!("it is refused")
    };
    let [fault] = &faults[..] else { panic!("{faults:?}") };
    assert_eq!(fault.place.line, 7);
    fault.message.clone()
}

#[test]
fn each_fault_is_named_with_its_remedy() {
    let files = Files::new();
    let good = files.issue(&["a.example"]);
    let write = |name: &str, bytes: &[u8]| {
        let path = files.dir.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        file(&path)
    };
    let with_key = |key: PemFile| Certificate { key, ..good.clone() };
    let with_chain = |chain: PemFile| Certificate { chain, ..good.clone() };
    let der = files.ca.der().to_vec();
    let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let old_encrypted = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIB\n-----END RSA PRIVATE KEY-----\n";
    let junk = b"-----BEGIN CERTIFICATE-----\nMIIBAAAA\n-----END CERTIFICATE-----\n";
    let cases = [
        (with_chain(file(Path::new("/nowhere/cert.pem"))), "cannot read /nowhere/cert.pem: No such file"),
        (with_key(file(Path::new("/nowhere/key.pem"))), "cannot read /nowhere/key.pem: No such file"),
        (with_key(files.issue(&["b.example"]).key), "does not belong to the first certificate in"),
        (with_key(good.chain.clone()), "there is no private key in"),
        (with_chain(good.key.clone()), "there is no certificate in"),
        (with_chain(write("empty", b"")), "there is no certificate in"),
        (with_chain(write("der", &der)), "openssl x509 -inform DER"),
        (with_chain(write("junk", junk)), "cannot be used: it cannot be read (BadEncoding)"),
        (
            with_chain(write("cut", b"-----BEGIN CERTIFICATE-----\nMIIB\n")),
            "its end, -----END CERTIFICATE-----, is missing",
        ),
        (with_key(write("encrypted", encrypted)), "openssl pkey -in"),
        (with_key(write("old", old_encrypted)), "openssl pkey -in"),
    ];
    for (certificate, message) in cases {
        let said = fault(certificate);
        assert!(said.contains(message), "{said}");
    }
    let validation = Validation { ca: Some(good.key.clone()), ..Validation::default() };
    let client = ClientCertificate { validation, required: true };
    let model = DownstreamTls { client_certificate: Some(client), ..downstream(vec![good]) };
    let Err(faults) = Server::load(&model, &mut Context::default(), None) else { panic!("it is refused") };
    assert!(faults[0].message.contains("there is no certificate in"), "{faults:?}");
}

/// Not the first one only: of each certificate, of each key, of authorities and of their lists.
#[test]
fn all_faults_of_a_table_are_told_at_once() {
    let files = Files::new();
    let (good, other) = (files.issue(&["a.example"]), files.issue(&["b.example"]));
    let missing = |name: &str| file(&Path::new("/nowhere").join(name));
    let crl = |file: PemFile| Some(Crl { file, only_leaf: false, allows_expired: false });
    let both = Certificate { chain: missing("cert.pem"), key: missing("cert.key"), ocsp_staple: None };
    let mismatched = Certificate { key: other.key.clone(), ..good.clone() };
    let validation = Validation { ca: Some(missing("ca.pem")), crl: crl(good.key.clone()), ..Validation::default() };
    let client_certificate = Some(ClientCertificate { validation: validation.clone(), required: true });
    let model = DownstreamTls { client_certificate, ..downstream(vec![both.clone(), good, mismatched]) };
    let said = |faults: Option<Vec<Fault>>| faults.into_iter().flatten().map(|fault| fault.message).collect::<Vec<_>>();
    let of = said(Server::load(&model, &mut Context::default(), None).err());
    let expected = [
        "cannot read /nowhere/cert.pem",
        "cannot read /nowhere/cert.key",
        "does not belong to the first certificate in",
        "cannot read /nowhere/ca.pem",
        "there is no revocation list in",
    ];
    assert!(of.len() == 5 && of.iter().zip(expected).all(|(said, part)| said.contains(part)), "{of:?}");
    let model = UpstreamTls { validation, certificate: Some(both), ..upstream(&files, "a.example") };
    let of = said(Client::load(&model, &mut Context::default()).err());
    let expected = ["ca.pem", "there is no revocation list", "cert.pem", "cert.key"];
    assert!(of.len() == 4 && of.iter().zip(expected).all(|(said, part)| said.contains(part)), "{of:?}");
}

#[test]
fn every_kind_of_key_is_taken() {
    let (files, world) = (Files::new(), World::new(1));
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    let keys = [
        rsa,
        KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key"),
        KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key"),
    ];
    for (number, key) in keys.iter().enumerate() {
        let certificate = files.issue_with(&Files::params(&["a.example"]), &number.to_string(), key);
        world.agree(&connector(&upstream(&files, "a.example")), &server(&downstream(vec![certificate])));
    }
}

/// Clients that know one kind of signature only get the certificate that they can check.
#[test]
fn ecdsa_goes_before_rsa_and_both_stand_side_by_side() {
    let (files, world) = (Files::new(), World::new(1));
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    let rsa = files.issue_with(&Files::params(&["a.example"]), "rsa", &rsa);
    let server = server(&downstream(vec![rsa, files.issue(&["a.example"])]));
    let cases = [
        (CipherSuite::EcdheEcdsaAes128GcmSha256, "ECDHE-ECDSA-AES128-GCM-SHA256"),
        (CipherSuite::EcdheRsaAes128GcmSha256, "ECDHE-RSA-AES128-GCM-SHA256"),
    ];
    for (suite, name) in cases {
        let parameters = TlsParameters { max_version: TlsVersion::V1_2, cipher_suites: vec![suite], ..parameters() };
        let model = UpstreamTls { parameters, ..upstream(&files, "a.example") };
        assert_eq!(world.agree(&connector(&model), &server).0.facts().cipher, name);
    }
    let both = TlsParameters { max_version: TlsVersion::V1_2, ..parameters() };
    let (client, _) =
        world.agree(&connector(&UpstreamTls { parameters: both, ..upstream(&files, "a.example") }), &server);
    assert_eq!(client.facts().cipher, "ECDHE-ECDSA-AES128-GCM-SHA256");
}

#[test]
fn keys_of_tickets_have_a_size() {
    let files = Files::new();
    let named = |name: &str, bytes: &[u8]| {
        let path = files.dir.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        file(&path)
    };
    let keys =
        vec![named("short", &[0; 32]), named("text", &[b'A'; 108]), named("empty", b""), named("good", &[9; 48])];
    let model = DownstreamTls { session_ticket_keys: keys, ..downstream(vec![files.issue(&["a.example"])]) };
    let Err(faults) = Server::load(&model, &mut Context::default(), None) else { panic!("it is refused") };
    let said: Vec<_> = faults.iter().map(|fault| &*fault.message).collect();
    assert!(
        said.len() == 3 && said[0].contains("has 32 bytes, and a key of tickets has 80 or 48; openssl rand 80 >"),
        "{said:?}"
    );
    assert!(said[1].contains("openssl base64 -d -A") && said[2].contains("openssl rand 80 >"), "{said:?}");
}
