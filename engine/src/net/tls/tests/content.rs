//! Files in other forms than PEM, as openssl, keytool and ssh-keygen write them: what is said of each, and that the command in it makes
//! what can be used.

use super::*;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Runs it in `dir`.
fn sh(dir: &Path, script: &str) {
    let output = Command::new("sh").args(["-ec", script]).current_dir(dir).output().expect("a shell");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A certificate with its key, `cert.pem` and `key.pem`, and the same in all other forms.
fn material() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    sh(
        dir.path(),
        "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem
         openssl req -x509 -new -key key.pem -subj /CN=a.example -addext subjectAltName=DNS:a.example \
             -addext basicConstraints=critical,CA:FALSE -days 30 -out cert.pem
         openssl x509 -in cert.pem -outform DER -out cert.der
         openssl x509 -in cert.pem -trustout -out trusted.pem
         openssl crl2pkcs7 -nocrl -certfile cert.pem -out chain.p7b
         openssl crl2pkcs7 -nocrl -certfile cert.pem -outform DER -out chain.p7c
         openssl pkcs12 -export -inkey key.pem -in cert.pem -passout pass:secret -out 'my store.p12'
         openssl pkcs8 -topk8 -nocrypt -in key.pem -outform DER -out pkcs8.der
         openssl pkcs8 -topk8 -in key.pem -passout pass:secret -outform DER -out encrypted.der
         openssl pkcs8 -topk8 -in key.pem -passout pass:secret -out encrypted.pem
         openssl rsa -traditional -aes128 -passout pass:secret -in key.pem -out old-encrypted.pem
         openssl rsa -traditional -in key.pem -outform DER -out pkcs1.der
         openssl ecparam -name prime256v1 -genkey -noout -outform DER -out sec1.der
         openssl req -new -key key.pem -subj /CN=a.example -out request.pem
         openssl req -in request.pem -outform DER -out request.der
         openssl pkey -in key.pem -pubout -out public.pem
         openssl pkey -in key.pem -pubout -outform DER -out public.der
         cp key.pem openssh.key; chmod 600 openssh.key; ssh-keygen -q -p -N '' -f openssh.key
         ssh-keygen -y -f openssh.key >openssh.pub
         keytool -importkeystore -srckeystore 'my store.p12' -srcstoretype PKCS12 -srcstorepass secret \
             -destkeystore store.jks -deststoretype JKS -deststorepass secret
         iconv -f ASCII -t UTF-16 key.pem >utf16.pem
         ssh-keygen -q -t ed25519 -N '' -f ed25519.key
         ssh-keygen -q -t ed25519 -N secret -f 'encrypted ed25519.key'
         printf 'PuTTY-User-Key-File-3: ssh-ed25519\\n' >ed25519.ppk
         printf '\\n' >empty
         printf 'key = 1\\n' >other.toml",
    );
    dir
}

/// What is said of a file as the certificate or as the key of the other one.
fn said(dir: &Path, name: &str, wanted: Wanted) -> String {
    let [mut chain, mut key] = ["cert.pem", "key.pem"].map(|name| file(&dir.join(name)));
    match wanted {
        Wanted::Key => key = file(&dir.join(name)),
        _ => chain = file(&dir.join(name)),
    }
    let model = downstream(vec![Certificate { chain, key, ocsp_staple: None }]);
    match Server::load(&model, &mut Context::default(), None) {
        Ok(_) => "it is taken".into(),
        Err(faults) => {
            let [fault] = &faults[..] else { panic!("{faults:?}") };
            assert_eq!((fault.place.line, fault.place.column), (7, 3));
            fault.message.clone()
        }
    }
}

/// The command in a message, with the password that it asks for.
fn command(said: &str) -> Option<String> {
    let after = said.split_once("; ")?.1;
    let (command, _) = after.split_once(" makes PEM of it").or(after.split_once(" decrypts it"))?;
    let command = command.replace("keytool ", "keytool -srcstorepass secret -deststorepass secret ");
    let command = ["pkcs12", "pkcs8", "pkey"].iter().fold(command, |command, tool| {
        command.replace(&format!("openssl {tool} "), &format!("openssl {tool} -passin pass:secret "))
    });
    Some(command)
}

#[test]
fn each_kind_is_named_and_its_command_makes_what_is_wanted() {
    let kept = material();
    let dir = kept.path();
    let key = [
        ("pkcs8.der", "a private key in DER"),
        ("pkcs1.der", "a private key in DER"),
        ("encrypted.der", "an encrypted private key in DER"),
        ("encrypted.pem", "an encrypted private key, and the proxy cannot ask for its password"),
        ("old-encrypted.pem", "an encrypted private key, and the proxy cannot ask for its password"),
        ("my store.p12", "PKCS#12"),
        ("store.jks", "a Java keystore"),
        ("openssh.key", "a private key in OpenSSH's own form"),
        ("utf16.pem", "text in UTF-16"),
    ];
    let certificate = [
        ("cert.der", "a certificate in DER"),
        ("trusted.pem", "a certificate in OpenSSL's own form"),
        ("chain.p7b", "PKCS#7"),
        ("chain.p7c", "PKCS#7"),
        ("my store.p12", "PKCS#12"),
        ("store.jks", "a Java keystore"),
    ];
    let all =
        key.map(|case| (case, Wanted::Key)).into_iter().chain(certificate.map(|case| (case, Wanted::Certificate)));
    for ((name, kind), wanted) in all {
        let told = said(dir, name, wanted);
        assert!(told.contains(&format!("{name}: it is {kind}")), "{told}");
        let run = tempfile::tempdir().expect("a directory");
        sh(run.path(), &format!("umask 022; {}", command(&told).unwrap_or_else(|| panic!("no command in: {told}"))));
        let made = match wanted {
            Wanted::Key => ["key.pem", "utf16.utf8.pem"],
            _ => ["cert.pem"; 2],
        };
        let made =
            made.map(|name| run.path().join(name)).into_iter().find(|path| path.exists()).expect("it makes a file");
        for file in std::fs::read_dir(run.path()).expect("it is there").flatten() {
            let mode = file.metadata().expect("it is there").permissions().mode() & 0o777;
            let is_secret = wanted == Wanted::Key || file.file_name() == "store.p12";
            assert!(!is_secret || mode & 0o077 == 0, "{file:?} has mode {mode:o}: {told}");
        }
        std::fs::copy(&made, dir.join("made.pem")).expect("copied");
        assert_eq!(said(dir, "made.pem", wanted), "it is taken", "{told}");
    }
}

#[test]
fn what_no_command_makes_is_named_with_advice() {
    let kept = material();
    let dir = kept.path();
    let cases = [
        ("cert.pem", Wanted::Key, "it is a certificate; the key is the file that the request for it was made with"),
        ("cert.der", Wanted::Key, "it is a certificate in DER, not PEM; the key is"),
        ("key.pem", Wanted::Certificate, "it is a private key; the certificate is what the authority has issued"),
        ("pkcs8.der", Wanted::Certificate, "it is a private key in DER, not PEM; the certificate is"),
        ("encrypted.pem", Wanted::Certificate, "it is an encrypted private key"),
        ("request.pem", Wanted::Certificate, "it is a certificate signing request; send it to an authority"),
        ("request.der", Wanted::Certificate, "it is a certificate signing request; send it to an authority"),
        ("request.pem", Wanted::Key, "it is a certificate signing request; the key is the file"),
        ("public.pem", Wanted::Key, "it is a public key; the private key is the file"),
        ("public.der", Wanted::Key, "it is a public key; the private key is the file"),
        ("openssh.pub", Wanted::Key, "it is a public key; the private key is the file"),
        ("public.pem", Wanted::Certificate, "it is a public key; the certificate is the file"),
        ("empty", Wanted::Key, "it is empty; whatever writes it"),
        ("empty", Wanted::Certificate, "it is empty; whatever writes it"),
        ("other.toml", Wanted::Key, "-----BEGIN PRIVATE KEY----- is missing"),
        ("other.toml", Wanted::Certificate, "-----BEGIN CERTIFICATE----- is missing"),
        ("ed25519.key", Wanted::Key, "openssl genpkey -algorithm ED25519 -out key.pem makes a new one"),
        ("encrypted ed25519.key", Wanted::Key, "openssl genpkey -algorithm ED25519 -out key.pem makes a new one"),
        ("ed25519.ppk", Wanted::Key, "openssl genpkey -algorithm ED25519 -out key.pem makes a new one"),
        // It is of another certificate, but it is known as a key.
        ("sec1.der", Wanted::Key, "it is a private key in DER, not PEM; openssl pkey -inform DER"),
    ];
    for (name, wanted, expected) in cases {
        let told = said(dir, name, wanted);
        assert!(told.contains(expected), "{told}");
    }
}

/// Run where the file is, a command must not truncate what it reads.
#[test]
fn no_command_writes_to_what_it_reads() {
    let kept = material();
    let dir = kept.path();
    for (from, name, wanted) in [
        ("encrypted.pem", "key.pem", Wanted::Key),
        ("utf16.pem", "file.pem", Wanted::Key),
        ("utf16.pem", "a.utf8.pem", Wanted::Key),
        ("openssh.key", "key.pem", Wanted::Key),
        ("store.jks", "store.p12", Wanted::Key),
        ("trusted.pem", "cert.pem", Wanted::Certificate),
    ] {
        let run = tempfile::tempdir().expect("a directory");
        let path = run.path().join(name);
        std::fs::copy(dir.join(from), &path).expect("copied");
        let before = std::fs::read(&path).expect("it is there");
        let told = super::super::content::describe(&before, &path, wanted);
        sh(run.path(), &command(&told).unwrap_or_else(|| panic!("no command in: {told}")));
        assert_eq!(std::fs::read(&path).expect("it is there"), before, "{told}");
    }
}

#[test]
fn revocation_lists_in_other_files_are_missed_by_name() {
    let kept = material();
    let lists = [
        ("cert.pem", "there is no revocation list in"),
        ("cert.der", "it is a certificate in DER, not PEM; the list is the file that the authority publishes"),
        ("my store.p12", "it is PKCS#12"),
        ("empty", "it is empty"),
    ];
    for (name, expected) in lists {
        let path = kept.path().join(name);
        let message = super::super::revocation::look_at(&file(&path)).expect_err("it is refused").message;
        assert!(message.contains(expected), "{message}");
    }
}

/// Keys that can be read and are of no use.
#[test]
fn keys_of_other_kinds_and_lengths_are_named() {
    let kept = material();
    let dir = kept.path();
    let cases = [
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024", "has 1024 bits, which is too short"),
        ("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2040", "has 2040 bits, which is too short"),
        ("genrsa -traditional 1024", "has 1024 bits, which is too short"),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1", "EC on the curve secp256k1"),
        ("ecparam -name secp224r1 -genkey -noout", "EC on the curve P-224"),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1", "EC on a Brainpool curve"),
        ("genpkey -algorithm X25519", "X25519"),
        ("genpkey -algorithm ED448", "Ed448"),
        ("genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048", "RSA for RSA-PSS only"),
    ];
    for (made, expected) in cases {
        sh(dir, &format!("openssl {made} >odd.pem"));
        let told = said(dir, "odd.pem", Wanted::Key);
        assert!(told.contains(expected), "{made}: {told}");
    }
}
